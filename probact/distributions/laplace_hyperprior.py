r"""Priors of the parameters of an asymmetric Laplace law per class.

Symbols: K classes; m_k mode, r_k and l_k rates of the right and the left tail; a, b concentration
and rate of a gamma law.

    r_k ~ Gamma(a_R, b_R),   l_k ~ Gamma(a_L, b_L),   m_k ~ Uniform(low, high)

The gamma law is conjugate to the rate of an exponential sample: it counts like `a` more weights,
whose distances from the mode sum to `b`.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from probact.arrays import as_matrix, as_tensor

__all__ = ["LaplaceHyperprior", "LaplaceParameters", "check_hyperprior", "weak_hyperprior"]


class LaplaceParameters(NamedTuple):
    """An asymmetric Laplace law per class, all (K,) float64."""

    loc: Tensor  # m
    rate_right: Tensor  # r
    rate_left: Tensor  # l

    @property
    def scale(self) -> Tensor:
        """s = 1 / lambda = (r l)^(-1/2)."""
        return self.rate_right.rsqrt() * self.rate_left.rsqrt()

    @property
    def asymmetry(self) -> Tensor:
        """kappa = (r / l)^(1/2)."""
        return self.rate_right.sqrt() * self.rate_left.rsqrt()


class LaplaceHyperprior(NamedTuple):
    """Gamma priors of both rates and bounds of the mode, all (K,) float64."""

    right_concentration: Tensor
    right_rate: Tensor
    left_concentration: Tensor
    left_rate: Tensor
    low: Tensor
    high: Tensor


def weak_hyperprior(weights: Any) -> LaplaceHyperprior:
    """Priors worth one weight on each side, at the scale of the rows of weights (K, n).

    a = 1; b is the mean distance of a row's weights from their median; the mode lies anywhere
    from one range below the smallest weight to one range above the largest. Moving or scaling
    the weights moves and scales the prior with them.

    Raises:
        TypeError: no array.
        ValueError: no finite matrix, or a row whose weights are all equal, which has no scale.

    >>> prior = weak_hyperprior(torch.tensor([[-1.0, 0.0, 3.0]]))
    >>> prior.right_rate, prior.low, prior.high
    (tensor([1.3333], dtype=torch.float64), tensor([-5.], dtype=torch.float64), \
tensor([7.], dtype=torch.float64))
    """
    x = as_matrix(weights, "weights").double()
    smallest, largest = x.amin(1), x.amax(1)
    span = largest - smallest
    if bool((span == 0).any()):
        count, row = int((span == 0).sum()), int((span == 0).nonzero()[0])
        raise ValueError(
            f"weights has {count} constant row{'s' * (count > 1)} (first: row {row}), "
            "which give no scale for a prior"
        )
    distance = (x - x.median(1, keepdim=True).values).abs().mean(1)
    one = torch.ones_like(span)
    return LaplaceHyperprior(one, distance, one, distance, smallest - span, largest + span)


def check_hyperprior(hyperprior: Any, num_classes: int, device: torch.device) -> LaplaceHyperprior:
    """The priors as (K,) float64 tensors on a device; numbers hold for all classes.

    Raises:
        TypeError: not six tensors or numbers.
        ValueError: names the first one that has another shape, is not finite, not > 0 where it
            must be, or bounds that leave no room.

    >>> check_hyperprior((2.0, 1.0, 2.0, 1.0, -1.0, 1.0), 3, torch.device("cpu")).high
    tensor([1., 1., 1.], dtype=torch.float64)
    """
    names = LaplaceHyperprior._fields
    if not isinstance(hyperprior, tuple) or len(hyperprior) != len(names):
        kind = type(hyperprior).__name__
        raise TypeError(f"hyperprior must be a LaplaceHyperprior, got {kind}")
    columns = []
    for name, value in zip(names, hyperprior, strict=True):
        given = [value] if isinstance(value, int | float) else value
        column = as_tensor(given, f"hyperprior.{name}").to(device, torch.float64)
        if column.ndim > 1 or column.numel() not in (1, num_classes):
            got = tuple(column.shape)
            raise ValueError(f"hyperprior.{name} must be ({num_classes},), got shape {got}")
        bad = ~torch.isfinite(column)
        if name not in ("low", "high"):
            bad |= column <= 0
        if bool(bad.any()):
            rule = "finite" if name in ("low", "high") else "finite and > 0"
            raise ValueError(f"hyperprior.{name} must be {rule}, got {column[bad][0].item()!r}")
        columns.append(column.expand(num_classes).contiguous())
    checked = LaplaceHyperprior(*columns)
    empty = checked.low >= checked.high
    if bool(empty.any()):
        row = int(empty.nonzero()[0])
        low, high = float(checked.low[row]), float(checked.high[row])
        raise ValueError(f"hyperprior.low must be below high, got {low} and {high} in row {row}")
    return checked
