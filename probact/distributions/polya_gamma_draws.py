r"""Exact draws of the Polya-Gamma law PG(1, z) (Polson, Scott & Windle 2013, section 4.1).

Symbols: omega the draw, x = 4 omega, h = |z| / 2. The density of x is cosh(h) exp(-h^2 x / 2)
times the alternating series of the Jacobi law (Devroye 2009), of which there are two,

    sum_n (-1)^n a_n(x),   a_n = pi (n + 1/2) (2 / (pi x))^(3/2) exp(-2 (n + 1/2)^2 / x)
                    or     a_n = pi (n + 1/2) exp(-(n + 1/2)^2 pi^2 x / 2)

and a_0 dominates it: the first form up to t = 0.64, an inverse Gaussian of mean 1 / h, the second
above, an exponential of rate pi^2 / 8 + h^2 / 2. Rejection accepts with the rest of the series,
1 - 3 q^2 + 5 q^6 - ..., where q = exp(-2 / x) or exp(-pi^2 x / 2): above .994 whatever z, so the
law is exact. On a CPU a compiled loop draws; elsewhere, or where asked, tensor operations do.
"""

import math
from functools import cache
from typing import Any

import torch
from torch import Generator, Tensor

from probact.distributions.polya_compiled.draws import draw_polya_gamma, right_masses
from probact.special import widen

__all__ = ["draw_in_loop", "draw_with_tensors"]

_CUT = 0.64
_UNRESOLVED = 20.0  # h from which the right part has a mass below 1e-40
_SEEDS = 2**63 - 1


def draw_in_loop(tilt: Tensor, generator: Generator | None = None) -> Tensor:
    """Draws of the shape and type of a tilt on the CPU, by the compiled loop.

    >>> draw_in_loop(torch.zeros(2, 3)).shape
    torch.Size([2, 3])
    """
    seed = int(torch.randint(_SEEDS, (), generator=generator))
    rows = tilt.detach().double().reshape(-1).numpy()
    draws = draw_polya_gamma(seed, rows, _masses())
    return torch.from_numpy(draws).reshape(tilt.shape).to(tilt.dtype)


@cache
def _masses() -> Any:
    return right_masses()


def draw_with_tensors(tilt: Tensor, generator: Generator | None = None) -> Tensor:
    """Draws of the shape and type of a tilt on its device, in some twenty rounds.

    >>> draw_with_tensors(torch.zeros(2, 3)).shape
    torch.Size([2, 3])
    """
    half = widen(0.5 * tilt.detach().abs()).reshape(-1)
    out = torch.where(torch.isfinite(half), 0.0, torch.nan).to(half)
    left_over = torch.isfinite(half).nonzero()[:, 0]  # indices still to fill
    half = half[left_over]
    mass = _right_mass(half)
    is_right = _uniforms(half, generator) < mass
    while left_over.numel():
        x, proposed = _propose(half, is_right, generator)
        accepted = proposed & (_uniforms(half, generator) < _series(x))
        out[left_over[accepted]] = 0.25 * x[accepted]
        # a side, once chosen, is kept until it has proposed
        is_right = torch.where(proposed, _uniforms(half, generator) < mass, is_right)
        again = ~accepted
        left_over, half, mass = left_over[again], half[again], mass[again]
        is_right = is_right[again]
    return out.reshape(tilt.shape).to(tilt.dtype)


def _right_mass(half: Tensor) -> Tensor:
    """Mass (n,) of the dominating term to the right of t."""
    h = half.clamp_max(_UNRESOLVED)
    rate, root = _rate(h), math.sqrt(0.5 / _CUT)
    near = torch.exp(-h) * torch.erfc(root * (1.0 - _CUT * h))
    far = torch.exp(h) * torch.erfc(root * (1.0 + _CUT * h))
    mass = 1.0 / (1.0 + 2.0 / math.pi * rate * torch.exp(rate * _CUT) * (near + far))
    return torch.where(half > _UNRESOLVED, 0.0, mass)


def _rate(half: Tensor) -> Tensor:
    return 0.125 * math.pi**2 + 0.5 * half * half


def _series(x: Tensor) -> Tensor:
    """1 - 3 q^2 + 5 q^6 - 7 q^12: the next term is below 1e-26."""
    q2 = torch.exp(-2.0 * torch.where(x > _CUT, 0.5 * math.pi**2 * x, 2.0 / x))
    return 1.0 - q2 * (3.0 - q2 * q2 * (5.0 - 7.0 * q2**3))


def _propose(half: Tensor, is_right: Tensor, generator: Generator | None) -> tuple[Tensor, Tensor]:
    """x (n,) from the chosen side, and whether the draw of it succeeded."""
    e = torch.empty_like(half).exponential_(generator=generator)
    small, kept_small = _propose_small(half, e, generator)
    large, kept_large = _propose_large(half, generator)
    is_small = half * _CUT < 1.0
    left = torch.where(is_small, small, large)
    kept = torch.where(is_small, kept_small, kept_large)
    return torch.where(is_right, _CUT + e / _rate(half), left), is_right | kept


def _propose_small(half: Tensor, e: Tensor, generator: Generator | None) -> tuple[Tensor, Tensor]:
    """Left part at h < 1 / t: the reciprocal of a chi-squared variable below t, then tilted."""
    other = torch.empty_like(half).exponential_(generator=generator)
    x = _CUT / (1.0 + _CUT * e).square()
    tilted = _uniforms(half, generator) <= torch.exp(-0.5 * half * half * x)
    return x, (e * e <= 2.0 / _CUT * other) & tilted


def _propose_large(half: Tensor, generator: Generator | None) -> tuple[Tensor, Tensor]:
    """Left part at h >= 1 / t: inverse Gaussian (Michael, Schucany & Haas 1976), kept below t."""
    mean = 1.0 / half.clamp_min(1.0)  # smaller h have other proposals
    normal = torch.empty_like(half).normal_(generator=generator)
    y = mean * normal.square()
    x = 2.0 * mean / (2.0 + y + torch.sqrt(y * (4.0 + y)))
    other = _uniforms(half, generator) * (mean + x) > mean
    x = torch.where(other, mean * (mean / x), x)
    return x, x < _CUT


def _uniforms(like: Tensor, generator: Generator | None) -> Tensor:
    return torch.rand(like.shape, dtype=like.dtype, device=like.device, generator=generator)
