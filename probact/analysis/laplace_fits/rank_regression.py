r"""Regressions on ranks: what "fit a line to the logarithms of the sorted weights" estimates.

Symbols: y_(1) <= ... <= y_(L) the distances of the weights on one side of a threshold from it;
s scale, so that y is exponential of mean s under the asymmetric Laplace law with the mode as
threshold; gamma_E Euler's constant.

Algorithm 1 of the paper on the final layer's weights regresses log y on an even grid u in [0, 1].
Its line says that y is log-uniform, of quantile function exp(b + a u) and density 1 / (a y): no
half of a Laplace law. For an exponential y, log y(u) = log s + log(-log(1 - u)) is no line, and
the least-squares values tend to

    a = 6 log 2 = 4.159 for every rate,   b = log s - gamma_E - 3 log 2,   R^2 = 0.876

so that the slope does not see the rate. It is a shape: 6 log 2 / a estimates the shape of a
Weibull law, 1 for the exponential. The scale is in exp(b + a/2 + gamma_E), the log-moment
estimator, which has 6 / pi^2 = 0.61 of the efficiency of the mean. Nor does R^2 tell laws apart:
half-normal 0.83, half-Cauchy 0.88, lognormal 0.96.

Two lines that an exponential law does make: log(1 - u) = -y / s, and y = -s log(1 - u).
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from probact.analysis.laplace_fits.mle import fit_asymmetric_laplace
from probact.analysis.laplace_fits.weight_rows import (
    as_weight_rows,
    check_sorted,
    row_blocks,
    sort_rows,
)
from probact.arrays import as_number

__all__ = ["RankRegression", "rank_log_regression"]

_METHODS = ("log", "log_survival", "qq")


class RankRegression(NamedTuple):
    """Least-squares lines of K rows, each (K,) in float64; NaN where num < 3."""

    slope: Tensor
    intercept: Tensor
    r2: Tensor
    scale: Tensor  # what the line says about s
    weibull_shape: Tensor  # 6 log 2 / slope with method "log", else NaN
    num: Tensor  # L, int64


def rank_log_regression(
    weights: Any, *, threshold: float | str = 0.0, side: str = "+", method: str = "log"
) -> RankRegression:
    """Line through the sorted weights above (side "+") or below ("-") a threshold in each row.

    To redraw the paper's figures, not to estimate: `fit_asymmetric_laplace` estimates.

    Args:
        weights: (K, n).
        threshold: a number (the paper's is 0), or "mode": that of each row's fit.
        side: "+" or "-".
        method: "log", the paper's Algorithm 1, log y on u = (i - 1) / (L - 1); "log_survival",
            log(1 - u) on y; "qq", y on -log(1 - u); these two with u = (i - 1/2) / L.

    Raises:
        TypeError, ValueError: as `fit_asymmetric_laplace`; an unknown threshold, side or method.

    >>> y = -torch.log1p(-(torch.arange(1000.0) + 0.5) / 1000)  # exponential, rate 1
    >>> [round(float(rank_log_regression(rate * y[None]).slope), 2) for rate in (1.0, 50.0)]
    [4.15, 4.15]
    """
    if side not in ("+", "-"):
        raise ValueError(f'side must be "+" or "-", got {side!r}')
    if method not in _METHODS:
        raise ValueError(f"method must be one of {_METHODS}, got {method!r}")
    rows = as_weight_rows(weights)
    if isinstance(threshold, str):
        if threshold != "mode":
            raise ValueError(f'threshold must be a number or "mode", got {threshold!r}')
        origin = fit_asymmetric_laplace(rows).loc
    else:
        number = as_number(threshold, "threshold", -math.inf)
        origin = torch.full((len(rows),), number, dtype=torch.float64, device=rows.device)
    parts, start = [], 0
    for block in row_blocks(rows):
        ordered = sort_rows(block)
        check_sorted(ordered, rows)
        offset = ordered.double() - origin[start : start + len(block), None]
        parts.append(_regress(offset if side == "+" else -offset.flip(-1), method))
        start += len(block)
    return RankRegression(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _regress(ordered: Tensor, method: str) -> RankRegression:
    """Of the positive entries of sorted rows (k, n), which come last."""
    kept = ordered > 0.0
    count = kept.sum(-1)
    num = count.double().unsqueeze(-1)  # (k, 1)
    n = ordered.shape[1]
    rank = torch.arange(1, n + 1, dtype=torch.float64, device=ordered.device) - (n - num)
    y = torch.where(kept, ordered, 1.0)
    log_survival = torch.log1p(-torch.where(kept, (rank - 0.5) / num, 0.0))
    if method == "log":
        slope, intercept, r2 = _line((rank - 1.0) / (num - 1.0), y.log(), kept)
        scale = (intercept + 0.5 * slope + np.euler_gamma).exp()
    elif method == "log_survival":
        slope, intercept, r2 = _line(y, log_survival, kept)
        scale = -1.0 / slope
    else:
        slope, intercept, r2 = _line(-log_survival, y, kept)
        scale = slope
    shape = 6.0 * math.log(2.0) / slope if method == "log" else torch.full_like(slope, torch.nan)
    enough = count >= 3
    values = torch.stack([slope, intercept, r2, scale, shape])
    slope, intercept, r2, scale, shape = torch.where(enough, values, torch.nan)
    return RankRegression(slope, intercept, r2, scale, shape, count)


def _line(x: Tensor, y: Tensor, kept: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Slope, intercept and R^2 (k,) of y on x over the kept entries of each row."""
    num = kept.sum(-1, keepdim=True)
    x, y = torch.where(kept, x, 0.0), torch.where(kept, y, 0.0)
    mean_x, mean_y = x.sum(-1, keepdim=True) / num, y.sum(-1, keepdim=True) / num
    dx, dy = torch.where(kept, x - mean_x, 0.0), torch.where(kept, y - mean_y, 0.0)
    xx, xy, yy = dx.square().sum(-1), (dx * dy).sum(-1), dy.square().sum(-1)
    slope = xy / xx
    return slope, mean_y.squeeze(-1) - slope * mean_x.squeeze(-1), xy.square() / (xx * yy)
