"""Draws of partitions at the border: labels, or the posterior that holds them."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from probact.arrays import as_labels, as_tensor

__all__ = ["contingency", "label_draws", "one_partition", "slots"]


def label_draws(z: Any) -> Tensor:
    """Labels (chain, draw, N) as int64 of z (chain, draw, N), (draw, N), or a posterior's `z`.

    Raises: TypeError, ValueError for no posterior with z, no integers, or an empty axis.

    >>> label_draws([[0, 0, 1], [0, 1, 1]]).shape
    torch.Size([1, 2, 3])
    """
    given = isinstance(z, (Tensor, np.ndarray, list, tuple))
    labels = as_tensor(z if given else _posterior_labels(z), "z")
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(f"z must be integers, got dtype {labels.dtype}")
    if labels.ndim not in (2, 3) or 0 in labels.shape:
        raise ValueError(
            f"z must be (chain, draw, N) or (draw, N), none of them 0, got {tuple(labels.shape)}"
        )
    return labels.to(torch.int64).reshape(-1, *labels.shape[-2:])


def _posterior_labels(posterior: Any) -> np.ndarray:
    """The array of `posterior["posterior"]["z"]`: InferenceData, DataTree, or dicts of such."""
    try:
        return np.asarray(posterior["posterior"]["z"])
    except (KeyError, TypeError, IndexError, AttributeError):
        kind = type(posterior).__name__
        raise TypeError(f"z must be labels or a posterior with draws of z, got {kind}") from None


def one_partition(labels: Any, name: str, size: int | None = None) -> Tensor:
    """Labels (N,) as int64, numbered 0 .. K - 1 by the order of their values.

    >>> one_partition([5, 5, -1], "a")
    tensor([1, 1, 0])
    """
    value = as_tensor(labels, name)
    rows = value.numel() if size is None else size
    found = as_labels(value, name, rows)
    if rows == 0:
        raise ValueError(f"{name} must label one point or more, got none")
    _, numbered = found.unique(return_inverse=True)
    return torch.as_tensor(numbered)


def slots(draws: Tensor) -> Tensor:
    """Labels (S, N) of each draw numbered from 0, below N; as they are where they are so."""
    if int(draws.min()) >= 0 and int(draws.max()) < draws.shape[1]:
        return draws
    return torch.stack([draw.unique(return_inverse=True)[1] for draw in draws])


def contingency(a: Tensor, b: Tensor) -> Tensor:
    """Counts (S, K, L) of points with label k in a (N,) and label l in draw s of b (S, N)."""
    rows, columns = int(a.max()) + 1, int(b.max()) + 1
    draw = torch.arange(len(b), device=b.device).unsqueeze(1)
    cell = (draw * rows + a) * columns + b  # (S, N)
    counts = torch.bincount(cell.flatten(), minlength=len(b) * rows * columns)
    return counts.view(len(b), rows, columns)
