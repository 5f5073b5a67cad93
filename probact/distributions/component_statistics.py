"""Sufficient statistics of the rows of each component: how many, their mean, their scatter."""

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Statistics", "check_partition", "merged", "statistics_of"]

_PIECE = 1 << 14  # rows that are gathered at once


class Statistics(NamedTuple):
    """Of K components: size (K,), mean (K, D), scatter (K, D, D) about the mean.

    The scatter is (K, D), its diagonal, where the coordinates are independent.
    """

    size: Tensor
    mean: Tensor
    scatter: Tensor


def check_partition(labels: Tensor, rows: int) -> None:
    """Refuse labels that are not integers >= 0 of shape (rows,).

    Raises: ValueError naming labels.
    >>> check_partition(torch.tensor([0, 0, 5]), 3)
    """
    integral = isinstance(labels, Tensor) and not (
        labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool
    )
    if not integral or tuple(labels.shape) != (rows,):
        got = f"{labels.dtype} {tuple(labels.shape)}" if isinstance(labels, Tensor) else labels
        raise ValueError(f"labels must be integers of shape ({rows},), one per row, got {got}")
    if rows and int(labels.amin()) < 0:
        raise ValueError(f"labels must be >= 0, got {int(labels.amin())}")


def statistics_of(x: Tensor, labels: Tensor, *, diagonal: bool = False) -> Statistics:
    """Statistics of x (N, D) by the occupied labels (N,), in the order of the labels' values.

    Two passes: the scatter is summed about each component's own mean, so that data far from zero
    lose no digits.

    >>> statistics_of(torch.tensor([[0.0], [2.0], [9.0]]), torch.tensor([3, 3, 7]))[:2]
    (tensor([2., 1.]), tensor([[1.],
            [9.]]))
    """
    _, slot, count = labels.unique(return_inverse=True, return_counts=True)
    members = slot.argsort(stable=True).split(count.tolist())
    sums = [_sums(x, rows.split(_PIECE), diagonal) for rows in members]
    mean, scatter = (torch.stack(part) for part in zip(*sums, strict=True))
    return Statistics(count.to(x.dtype), mean, scatter)


def _sums(x: Tensor, pieces: Sequence[Tensor], diagonal: bool) -> tuple[Tensor, Tensor]:
    """Mean (D,) and scatter of some rows of x, gathered piece by piece."""
    mean = _sum(x[rows].sum(0) for rows in pieces) / sum(map(len, pieces))
    centred = (x[rows] - mean for rows in pieces)
    return mean, _sum(r.square().sum(0) if diagonal else r.mT @ r for r in centred)


def _sum(terms: Iterable[Tensor]) -> Tensor:
    """Sum of tensors of one shape, at least one, in their order."""
    return reduce(torch.add, terms)


def merged(one: Statistics, other: Statistics) -> Statistics:
    """Statistics of the rows of both, component by component; shapes broadcast.

    The scatters need not be about the mean alone: whatever was added to them stays.

    >>> x = torch.tensor([[0.0], [2.0], [9.0]])
    >>> z = torch.zeros(3, dtype=torch.int64)
    >>> merged(statistics_of(x[:1], z[:1]), statistics_of(x[1:], z[1:])).mean
    tensor([[3.6667]])
    """
    size = one.size + other.size
    share = (other.size / size).unsqueeze(-1)  # (..., 1)
    gap = other.mean - one.mean  # (..., D)
    spread = (one.size.unsqueeze(-1) * share).sqrt() * gap
    if one.scatter.ndim > one.mean.ndim:
        between = spread.unsqueeze(-1) * spread.unsqueeze(-2)
    else:
        between = spread.square()
    return Statistics(size, one.mean + share * gap, one.scatter + other.scatter + between)
