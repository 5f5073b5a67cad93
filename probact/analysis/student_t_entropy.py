r"""Differential entropies (nats) of Student's t laws, and of the marginals of their mixtures.

Symbols: v (K,) degrees of freedom `df`; m (K, D) locations; s (K, D) scales of the marginals;
w (K,) weights; p_i = sum_k w_k t_{v_k}(m_ki, s_ki) the marginals of a mixture.

A law in D dimensions has (Kotz & Nadarajah 2004, section 1.8)

    H = log|L| - log Gamma((v + D)/2) + log Gamma(v/2) + D/2 log(pi v)
        + (v + D)/2 [psi((v + D)/2) - psi(v/2)]

A mixture on the line has none in closed form; its integral is taken by Gauss-Legendre rules on
panels half as wide as the nearest component's scale, or as the distance to it where that is more.
"""

import math

import numpy as np
import torch
from torch import Tensor

from probact.distributions.student_t import log_student_t
from probact.gamma import log_gamma_ratio

__all__ = ["marginal_entropies", "student_t_entropy"]

_ORDER = 12  # nodes of a panel
_TAIL = 1e-17  # mass that the outermost panels leave out
_CHUNK = 2**22  # numbers (nodes, K, D) held at once
_MOST_PANELS = 100_000


def student_t_entropy(df: Tensor, log_scale: Tensor, dim: int) -> Tensor:
    """Entropy (...) of the t law with df (...) and log|L| (...) in `dim` dimensions.

    To 1e-9 up to df = 1e12, where it is that of a Gaussian.

    >>> student_t_entropy(torch.tensor(1.0), torch.tensor(0.0), 1)  # Cauchy: log(4 pi)
    tensor(2.5310)
    """
    half = 0.5 * df
    log_peak = log_gamma_ratio(half, 0.5 * dim) - 0.5 * dim * (math.log(math.pi) + df.log())
    return log_scale - log_peak + (half + 0.5 * dim) * _digamma_difference(half, dim)


def _digamma_difference(a: Tensor, dim: int) -> Tensor:
    """psi(a + dim/2) - psi(a), by steps of one, which lose nothing where a is large."""
    total = torch.zeros_like(a)
    for j in range(dim // 2):
        total = total + 1.0 / (a + j)
    if dim % 2 == 0:
        return total
    b = a + dim // 2
    # beyond, the difference of the two psi has too few digits: 2 psi(2b) = psi(b) + psi(b + 1/2)
    series = 0.5 / b + 0.125 / b**2 - 1.0 / (64.0 * b**4)
    return total + torch.where(b > 1e3, series, torch.digamma(b + 0.5) - torch.digamma(b))


def marginal_entropies(weights: Tensor, df: Tensor, loc: Tensor, spread: Tensor) -> Tensor:
    """Entropies (D,) of the mixtures p_i of weights and df (K,), loc and spread (K, D), float64.

    To about 1e-10; the longer the tails (df < 1), the farther the panels reach.

    >>> one = torch.ones(1, dtype=torch.float64)
    >>> marginal_entropies(one, one, 0.0 * one[:, None], one[:, None])  # Cauchy: log(4 pi)
    tensor([2.5310], dtype=torch.float64)
    """
    edges = _panel_edges(df, loc, spread)  # (P + 1, D)
    x, rule = (torch.from_numpy(v).to(loc) for v in np.polynomial.legendre.leggauss(_ORDER))
    middle, half = 0.5 * (edges[1:] + edges[:-1]), 0.5 * (edges[1:] - edges[:-1])  # (P, D)
    total = torch.zeros_like(loc[0])
    step = max(1, _CHUNK // (_ORDER * loc.numel()))
    for centre, width in zip(middle.split(step), half.split(step), strict=True):
        nodes = centre.unsqueeze(1) + width.unsqueeze(1) * x[:, None]  # (P, order, D)
        squared = ((nodes.unsqueeze(-2) - loc) / spread).square()  # (P, order, K, D)
        each = log_student_t(squared, spread.log(), df[:, None], 1)
        log_p = torch.logsumexp(weights.log()[:, None] + each, -2)
        total -= torch.einsum("pod,o,pd->d", log_p.exp() * log_p, rule, width)
    return total


def _panel_edges(df: Tensor, loc: Tensor, spread: Tensor) -> Tensor:
    """Edges (P + 1, D), each coordinate from far left to far right, where it stands still."""
    reach = torch.clamp(_TAIL ** (-1.0 / df), 40.0, 1e100)[:, None] * spread
    position, end = (loc - reach).amin(0), (loc + reach).amax(0)
    edges = [position]
    while bool((position < end).any()) and len(edges) < _MOST_PANELS:
        scale = torch.maximum(spread, (position - loc).abs()).amin(0)
        position = torch.minimum(position + 0.5 * scale, end)
        edges.append(position)
    if bool((position < end).any()):
        raise ValueError(
            f"the components' scales differ too much: {_MOST_PANELS} panels do not span a marginal"
        )
    return torch.stack(edges)
