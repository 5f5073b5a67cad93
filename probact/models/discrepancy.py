r"""Maximum mean discrepancy of two samples (Gretton et al. 2012; Jamroz et al. 2020, eq. 12).

Symbols: x (N, d), y (M, d) samples; k(a, b) = C / (C + |a - b|^2) inverse multiquadratic kernel of
scale C > 0, positive definite and bounded by k(a, a) = 1.

    MMD^2(p, q) = E k(x, x') + E k(y, y') - 2 E k(x, y) >= 0,   0 only for p = q
"""

import torch
from torch import Tensor

__all__ = ["inverse_multiquadratic", "mmd"]


def inverse_multiquadratic(
    x: Tensor, y: Tensor, scale: float, *, furthest: float | None = None
) -> Tensor:
    """k(x_i, y_j) (N, M) of x (N, d) and y (M, d); squared distances count up to `furthest`.

    >>> inverse_multiquadratic(torch.zeros(1, 2), torch.tensor([[0.0, 0.0], [1.0, 1.0]]), 2.0)
    tensor([[1.0000, 0.5000]])
    """
    # |x - y|^2 = |x|^2 + |y|^2 - 2 <x, y> in one GEMM, which may round below zero
    square = x.square().sum(1)[:, None] + y.square().sum(1) - 2.0 * x @ y.T
    return scale / (scale + square.clamp(0.0, furthest))


def mmd(
    x: Tensor,
    y: Tensor,
    scale: float,
    *,
    unbiased: bool = True,
    furthest: float | None = None,
) -> Tensor:
    """Estimate () of MMD^2, differentiable, from x (N, d) and y (M, d).

    unbiased: the U-statistic of eq. 12, without the pairs of a point with itself; its mean is
    MMD^2, so that it falls below zero for like laws. Otherwise the V-statistic, >= 0, whose mean
    is larger by E[1 - k(x, x')] / N + E[1 - k(y, y')] / M.

    Raises: ValueError for samples that are no matrices of equally many columns, of fewer than two
    rows (one for the V-statistic), or a scale or furthest that is not positive.

    >>> x = torch.tensor([[0.0], [1.0]])
    >>> mmd(x, x, 1.0), mmd(x, x, 1.0, unbiased=False)
    (tensor(-0.5000), tensor(0.))
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(
            f"x and y must be (N, d) and (M, d), got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    least = 2 if unbiased else 1
    if min(len(x), len(y)) < least:
        raise ValueError(f"x and y must have {least} rows or more, got {len(x)} and {len(y)}")
    for name, value in (("scale", scale), ("furthest", furthest)):
        if value is not None and not value > 0.0:
            raise ValueError(f"{name} must be positive, got {value}")
    pairs = ((x, x), (y, y), (x, y))
    xx, yy, xy = (inverse_multiquadratic(*pair, scale, furthest=furthest) for pair in pairs)
    if not unbiased:
        return xx.mean() + yy.mean() - 2.0 * xy.mean()
    return _off_diagonal_mean(xx) + _off_diagonal_mean(yy) - 2.0 * xy.mean()


def _off_diagonal_mean(kernel: Tensor) -> Tensor:
    """Mean () of a symmetric matrix (n, n) without its diagonal."""
    n = len(kernel)
    return torch.triu(kernel, diagonal=1).sum() * (2.0 / (n * (n - 1)))
