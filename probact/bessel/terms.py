r"""The expansion behind `special`: five Bessel quantities of one (kappa, nu) at once.

Symbols and scheme are those of `special`: the logarithm of Debye's expansion at the order
N = nu + m >= 20, then m steps down in the order. With S = hypot(N, kappa), y = kappa / S,
p = N / S, w = S/N - 1 and the sums Q, E of `debye`,

    K = N (w - log(1 + w/2)) - log(1 + w)/2 - (1 - p) Q,
    A / kappa = 1 / (N + S) - 1 / (2 S^2) - p^3 E / N^2.
"""

import math
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor

from probact.bessel.debye import MIN_ORDER, debye_sums

__all__ = ["SphereTerms", "bessel_terms"]

_BLOCK = 8192  # elements that stay in cache on a CPU


class SphereTerms(NamedTuple):
    """The five quantities of one (kappa, d), each of kappa's shape."""

    log_mgf: Tensor  # K
    log_mgf_gap: Tensor  # kappa - K
    ratio_over_kappa: Tensor  # A / kappa, 1/d at kappa = 0
    defect: Tensor  # kappa (1 - A)
    slope: Tensor  # A'


def bessel_terms(kappa: Tensor, nu: Fraction, *, with_slope: bool = True) -> SphereTerms:
    """The five terms, without gradients; the slope, a third of the work, is nan if not wanted."""
    if kappa.numel() > _BLOCK and kappa.device.type == "cpu":
        pieces = torch.split(kappa.reshape(-1), _BLOCK)
        blocks = [bessel_terms(piece, nu, with_slope=with_slope) for piece in pieces]
        return SphereTerms(*(torch.cat(c).reshape(kappa.shape) for c in zip(*blocks, strict=True)))
    steps = max(0, math.ceil(MIN_ORDER - nu))
    order = nu + steps
    n = float(order)
    s = torch.hypot(kappa, torch.full_like(kappa, n))  # S = sqrt(N^2 + kappa^2)
    y, p = kappa / s, n / s
    w = (kappa / n) * (kappa / (n + s))  # S/N - 1
    q, e, e_slope = debye_sums(order, p)
    half_log = 0.5 * torch.log1p(w) + (w / (1.0 + w)) * q  # -(P(p) - P(1)) is (1 - p) Q(p)
    log_half = torch.log1p(0.5 * w)
    log_mgf = n * (w - log_half) - half_log
    gap = n * (kappa + n * w) / (s + kappa) + n * log_half + half_log
    rho = 1.0 / (n + s) - 0.5 / s / s - (p / n) * (p / n) * p * e
    defect = kappa * (n + n * (n / (s + kappa))) / (n + s) + 0.5 * y * y + y * y * p * e
    slope = torch.full_like(kappa, math.nan)
    if with_slope:
        p1 = -y * p * (p / n)  # dp / dkappa
        p2 = -p * (p * p - 2.0 * y * y) / s / s
        slope = p / (n + s) + 0.5 * (y - p) * (y + p) / s / s + e_slope * p1 * p1 + e * p2
    terms = SphereTerms(log_mgf, gap, rho, defect, slope)
    return _down(kappa, nu, steps, terms, with_slope) if steps else terms


def _down(
    kappa: Tensor, nu: Fraction, steps: int, terms: SphereTerms, with_slope: bool
) -> SphereTerms:
    """`steps` orders down to nu by I_{n-1} = 2n/kappa I_n + I_{n+1}: all sums are of one sign."""
    log_mgf, gap, rho, defect, slope = terms
    ratio, lift = kappa * rho, torch.zeros_like(kappa)
    for j in range(steps, 0, -1):
        b = 2.0 * (float(nu) + j)
        rest = kappa * ratio
        lift = lift + torch.log1p(rest / b)
        rho = 1.0 / (b + rest)
        ratio = kappa * rho
        defect = (b - defect) * ratio
        if with_slope:
            slope = rho * rho * (b - kappa * (kappa * slope))
    return SphereTerms(log_mgf + lift, gap - lift, rho, defect, slope)
