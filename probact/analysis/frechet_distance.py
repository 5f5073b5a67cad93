r"""Frechet distance between the Gaussians of two samples of features (Dowson & Landau 1982).

Symbols: a (N, D), b (M, D) features; m_a, S_a mean and unbiased covariance of a, L_a L_a' = S_a.

    d^2 = |m_a - m_b|^2 + tr S_a + tr S_b - 2 tr (S_a S_b)^(1/2)
        = |m_a - m_b|^2 + min_O |L_a - L_b O|^2        over orthogonal O

The second form is what is computed: the minimum is at O = U V' from the singular value
decomposition L_b' L_a = U s V'. Nothing cancels in it, no matrix root is taken, and it holds for
singular covariances. With the features of Inception it is the FID of Heusel et al. (2017). Those
of a classifier trained on the data set itself, `probact.capture(net, images).x`, serve the same
way, but values in one feature space say nothing about values in another.

T = L_b O L_a^-1 maps the Gaussian of a on that of b. A row x of a moves d^2 by psi(x) / N,

    psi(x) = 2 (m_a - m_b)'(x - m_a) + (x - m_a)'(I - T)(x - m_a) - tr S_a (I - T)

which gives the standard error of large samples (the infinitesimal jackknife).
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from probact.arrays import as_matrix, check_count, check_seed

__all__ = ["FrechetDistance", "extrapolated_frechet_distance", "frechet_distance"]


class FrechetDistance(NamedTuple):
    """d^2 in squared units of the features, and its standard error over the rows of both."""

    value: float
    standard_error: float
    mean_part: float  # |m_a - m_b|^2
    covariance_part: float  # the rest


def frechet_distance(a: Any, b: Any) -> FrechetDistance:
    """Squared Frechet distance d^2 of features a (N, D) and b (M, D), in float64.

    d^2 of finite samples is too large on average, by about c/N + c'/M: of two samples of one law
    it is not zero. Compare values at equal N and M, or see `extrapolated_frechet_distance`. The
    standard error holds where d^2 is far above this bias; near it the law of d^2 is skewed and the
    error reads too small.

    Raises:
        TypeError: no arrays.
        ValueError: not finite matrices with the same columns, or fewer than two rows.

    >>> a = torch.tensor([[0.0], [2.0]], dtype=torch.float64)  # mean 1, variance 2
    >>> d = frechet_distance(a, 2.0 * a + 3.0)  # mean 5, variance 8
    >>> round(d.value, 12), d.mean_part, round(d.covariance_part, 12)
    (18.0, 16.0, 2.0)
    """
    return _distance(*_checked(a, b))


def extrapolated_frechet_distance(
    a: Any, b: Any, *, num_splits: int = 4, seed: int = 0
) -> FrechetDistance:
    """d^2 of a (N, D) and b (M, D) with its bias of order 1/N + 1/M taken out.

    2 d^2(a, b) less the mean of d^2 over random halves of both, whose bias is twice as large: the
    line in 1/N of Chong & Forsyth (2020), drawn through two points. It may come out negative for
    samples of one law. num_splits divisions in two; the standard error is that of large samples.

    Raises: TypeError, ValueError as `frechet_distance`, for samples whose halves have D rows or
    fewer, where the bias follows no such line, num_splits < 1 or a bad seed.

    >>> a = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
    >>> b = torch.randn(400, 3, generator=torch.Generator().manual_seed(1))
    >>> frechet_distance(a, b).value > abs(extrapolated_frechet_distance(a, b).value)
    True
    """
    a, b = _checked(a, b)
    check_count(num_splits, "num_splits")
    check_seed(seed)
    for name, x in (("a", a), ("b", b)):
        if len(x) // 2 <= x.shape[1]:
            raise ValueError(
                f"{name} must have at least {2 * x.shape[1] + 2} rows in {x.shape[1]} dimensions:"
                f" the bias is no multiple of 1/N below; got {len(x)}"
            )
    whole = _distance(a, b)
    generator = Generator().manual_seed(int(seed))
    parts = []
    for _ in range(num_splits):
        left = [_random_halves(x, generator) for x in (a, b)]
        parts += [_distance(*pair) for pair in zip(*left, strict=True)]
    mean_part = 2.0 * whole.mean_part - sum(p.mean_part for p in parts) / len(parts)
    covariance_part = 2.0 * whole.covariance_part - sum(p.covariance_part for p in parts) / len(
        parts
    )
    return FrechetDistance(
        mean_part + covariance_part, whole.standard_error, mean_part, covariance_part
    )


def _checked(a: Any, b: Any) -> tuple[Tensor, Tensor]:
    """Both as float64 where a lives."""
    a, b = as_matrix(a, "a").double(), as_matrix(b, "b").double()
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"a and b must have the same columns, got shapes {tuple(a.shape)} and {tuple(b.shape)}"
        )
    for name, x in (("a", a), ("b", b)):
        if len(x) < 2:
            raise ValueError(f"{name} must have at least 2 rows for a covariance, got {len(x)}")
    return a, b.to(a.device)


def _random_halves(x: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    order = torch.randperm(len(x), generator=generator).to(x.device)
    half = len(x) // 2
    return x[order[:half]], x[order[half : 2 * half]]


def _distance(a: Tensor, b: Tensor) -> FrechetDistance:
    largest = float(torch.maximum(a.abs().max(), b.abs().max()))
    if largest > 1e150:
        raise ValueError(f"a and b must be below 1e150 for their squares, got {largest:g}")
    unit = 2.0 ** math.frexp(largest)[1]  # so that no square overflows or vanishes
    a, b = a / unit, b / unit
    gap = a.mean(0) - b.mean(0)
    (a, q_a, root_a), (b, q_b, root_b) = _factored(a), _factored(b)
    u, _, v = torch.linalg.svd(root_b @ root_a.mT)  # (D, D)
    turn = u @ v  # O
    image_of_a = q_a @ (turn.mT @ root_b)  # rows T (x - m_a)
    image_of_b = q_b @ (turn @ root_a)
    mean_part = gap.square().sum()
    covariance_part = (root_a - turn.mT @ root_b).square().sum()
    psi_a = 2.0 * a @ gap + (a * (a - image_of_a)).sum(1)
    psi_b = -2.0 * b @ gap + (b * (b - image_of_b)).sum(1)
    variance = psi_a.var() / len(a) + psi_b.var() / len(b)
    parts = mean_part + covariance_part, variance.sqrt(), mean_part, covariance_part
    return FrechetDistance(*(float(part) * unit**2 for part in parts))


def _factored(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Centred rows = q L', q (N, D) with q'q = (N - 1) I on its range, and L' (D, D)."""
    size, dim = x.shape
    centred = x - x.mean(0)
    q, root = torch.linalg.qr(centred)  # (N, R), (R, D) with R = min(N, D)
    scale = (size - 1) ** 0.5
    padding = dim - len(root)  # rows of zeros keep L square where N < D
    q = torch.nn.functional.pad(q * scale, (0, padding))
    root = torch.nn.functional.pad(root / scale, (0, 0, 0, padding))
    return centred, q, root
