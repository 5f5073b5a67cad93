r"""Quadrant probabilities of two correlated standard normal variables, and their inverse.

Symbols: Phi, phi; g, k thresholds; r correlation (Drezner & Wesolowsky 1990, from Plackett 1954):

    P(X < g, Y < k) = Phi(g) Phi(k)
        + 1 / (2 pi) int_0^{asin r} exp(-(g^2 + k^2 - 2 g k sin t) / (2 cos^2 t)) dt
"""

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor

__all__ = ["both_positive", "correlation_for"]

_NODES = 96
_CHUNK = 2**21 // _NODES
_STEPS = 60  # of the bisection: its interval ends below one rounding


@cache
def _rule() -> tuple[Tensor, Tensor]:
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return torch.from_numpy(nodes), torch.from_numpy(weights)


def both_positive(g: Tensor, k: Tensor, correlation: Tensor) -> Tensor:
    """P(g + X > 0, k + Y > 0) = P(X < g, Y < k); shapes broadcast, float64, to about 1e-12.

    >>> half = torch.tensor(0.5, dtype=torch.float64)
    >>> both_positive(0 * half, 0 * half, half)
    tensor(0.3333, dtype=torch.float64)
    """
    g, k, r = (v.double() for v in torch.broadcast_tensors(g, k, correlation))
    flat = zip(*(v.reshape(-1).split(_CHUNK) for v in (g, k, r)), strict=True)
    return torch.cat([_quadrant(*part) for part in flat]).reshape(g.shape)


def _quadrant(g: Tensor, k: Tensor, r: Tensor) -> Tensor:
    nodes, weights = (v.to(g.device) for v in _rule())
    half = 0.5 * torch.asin(r)  # angles half (1 + node), so that the rule is fine near |r| = 1
    edge = (0.5 * math.pi - 2.0 * half.abs()).unsqueeze(-1)  # left up to pi / 2
    top = (0.5 * math.pi) ** 0.25
    low = edge.clamp_min(1e-300) ** 0.25
    u = 0.5 * (low + top) + 0.5 * (top - low) * nodes  # pi/2 - |t| = u^4
    angle = 0.5 * math.pi - u**4
    jacobian = 4.0 * u**3 * 0.5 * (top - low)
    sine, cosine = torch.sin(angle) * r.sign().unsqueeze(-1), torch.cos(angle)
    gap = (g - k).square().unsqueeze(-1) + 2.0 * (g * k).unsqueeze(-1) * (1.0 - sine)
    density = torch.exp(-gap / (2.0 * cosine.square().clamp_min(1e-300)))
    area = (density * jacobian * weights).sum(-1) * r.sign() / (2.0 * math.pi)
    total: Tensor = torch.special.ndtr(g) * torch.special.ndtr(k) + area
    return total


def correlation_for(g: Tensor, both: Tensor) -> Tensor:
    """L (n, n), ones on the diagonal: off it, P(g_i + X > 0, g_j + Y > 0) = both_ij.

    A probability beyond what correlations in (-1, 1) reach gets the nearest, +-(1 - 1e-12).

    >>> g = torch.zeros(2, dtype=torch.float64)
    >>> correlation_for(g, torch.full((2, 2), 1 / 3, dtype=torch.float64))
    tensor([[1.0000, 0.5000],
            [0.5000, 1.0000]], dtype=torch.float64)
    """
    i, j = torch.triu_indices(len(g), len(g), 1, device=g.device)
    found = []
    for a, b in zip(i.split(_CHUNK), j.split(_CHUNK), strict=True):
        target = both[a, b].double()
        low = torch.full_like(target, -math.pi / 2)  # of asin r
        high = -low
        for _ in range(_STEPS):
            middle = 0.5 * (low + high)
            below = _quadrant(g[a].double(), g[b].double(), torch.sin(middle)) < target
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        found.append(torch.sin(0.5 * (low + high)).clamp(-1.0 + 1e-12, 1.0 - 1e-12))
    correlation = torch.eye(len(g), dtype=torch.float64, device=g.device)
    pairs = torch.cat(found) if found else correlation.new_empty(0)
    correlation[i, j] = pairs
    correlation[j, i] = pairs
    return correlation
