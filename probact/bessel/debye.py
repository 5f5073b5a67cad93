"""Debye's uniform expansion of log I_N(kappa) for large orders N, exact coefficients.

log I_N is a smooth part plus log sum_k U_k(p) N^-k = sum_k D_k(p) N^-k = P(p), where
p = N / hypot(N, kappa) (DLMF 10.41.3). P(p) - P(1) = -(1-p) Q(p) absorbs the Stirling correction
of the Gamma function exactly, so that sums built on Q vanish at kappa = 0; E = P'.
"""

import functools
from fractions import Fraction

import torch
from torch import Tensor

__all__ = ["MIN_ORDER", "debye_matrix", "debye_sums"]

MIN_ORDER = 20  # smallest N served; there 13 terms leave less than one ulp
_NUM_TERMS = 13

Polynomial = list[Fraction]  # coefficients of 1, p, p^2, ...


def debye_sums(order: Fraction, p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Q(p), E(p), E'(p) at the order N: Horner for big inputs, one product for small ones."""
    table = _debye_table(order)
    if p.numel() > 2048:
        q, e, e_slope = (_horner(row, p) for row in table)
        return q, e, e_slope
    matrix = debye_matrix(order, p.dtype, p.device)
    powers = torch.cumprod(p.unsqueeze(-1).expand(*p.shape, matrix.shape[0] - 1), -1)
    sums = powers @ matrix[1:] + matrix[0]
    return sums[..., 0], sums[..., 1], sums[..., 2]


def _horner(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    total = torch.full_like(x, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        total.mul_(x).add_(c)
    return total


@functools.lru_cache(maxsize=64)
def debye_matrix(order: Fraction, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Coefficients (terms, 3) of Q, E and E' in powers of p."""
    q, e, e_slope = _debye_table(order)
    rows = [list(c) + [0.0] * (len(e) - len(c)) for c in (q, e, e_slope)]
    with torch.inference_mode(False):  # the cache outlives the caller's mode
        return torch.tensor(rows, dtype=dtype, device=device).T.contiguous()


@functools.lru_cache(maxsize=256)
def _debye_table(order: Fraction) -> tuple[tuple[float, ...], ...]:
    """Coefficients of Q, E and E' in powers of p."""
    e: Polynomial = [Fraction(0)]
    for k, e_k in enumerate(_log_debye_derivatives(), start=1):
        e = _add(e, [c / order**k for c in e_k])
    p = [Fraction(0)] + [c / (i + 1) for i, c in enumerate(e)]
    tails = [sum(p[i:], Fraction(0)) for i in range(1, len(p))]  # (P(1) - P) / (1 - p)
    return tuple(tuple(float(c) for c in row) for row in (tails, e, _derivative(e)))


@functools.cache
def _log_debye_derivatives() -> list[Polynomial]:
    """e_k = D_k'(p), k = 1.., with sum_k D_k N^-k the logarithm of Debye's series sum_k U_k N^-k.

    e_{k+1} = p^2 (1-p^2)/2 (e_k' + sum_{i+j=k} e_i e_j) + (p - 2 p^3) e_k,  e_1 = (1 - 5 p^2)/8:
    the Riccati form of DLMF 10.41.9, exact rationals.
    """
    half = [Fraction(c) for c in (0, 0, 0.5, 0, -0.5)]
    linear = [Fraction(c) for c in (0, 1, 0, -2)]
    e = [[Fraction(1, 8), Fraction(0), Fraction(-5, 8)]]
    while len(e) < _NUM_TERMS:
        k = len(e)
        total = _derivative(e[-1])
        for i in range(k - 1):
            total = _add(total, _multiply(e[i], e[k - 2 - i]))
        e.append(_add(_multiply(half, total), _multiply(linear, e[-1])))
    return e


def _add(a: Polynomial, b: Polynomial) -> Polynomial:
    longer, shorter = (a, b) if len(a) >= len(b) else (b, a)
    return [c + (shorter[i] if i < len(shorter) else 0) for i, c in enumerate(longer)]


def _multiply(a: Polynomial, b: Polynomial) -> Polynomial:
    product = [Fraction(0)] * (len(a) + len(b) - 1)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            product[i + j] += x * y
    return product


def _derivative(a: Polynomial) -> Polynomial:
    return [i * c for i, c in enumerate(a)][1:] or [Fraction(0)]
