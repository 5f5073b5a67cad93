r"""Probabilities of orthants of a normal vector.

Symbols: h ~ N(g, L) in R^n with L = C C'; s (n,) signs; the orthant {h : s_i h_i > 0 for all i}.
The estimate of Genz, Hajivassiliou and Keane draws h unit by unit inside the orthant (Genz 1992):

    P = E prod_i Phi(s_i (g_i + sum_{j<i} C_ij e_j) / C_ii),   e_i normal, cut to the orthant
"""

import math
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from probact.distributions.bivariate_normal import both_positive

__all__ = ["LogProbability", "log_orthant_probability"]

_CHUNK = 2**22
_RARE = 1e-8  # a pair's probability, which is known to about 1e-12


class LogProbability(NamedTuple):
    """log P (N,) in nats, and the standard error of its estimate, zero where it is closed."""

    value: Tensor
    standard_error: Tensor


def log_orthant_probability(
    loc: Tensor, correlation: Tensor, sign: Tensor, num_samples: int, generator: Generator
) -> LogProbability:
    """log P(sign_i h_i > 0 for all i) for rows of signs (N, n), h ~ N(loc, correlation).

    Closed for n = 1, and for n = 2 where it is not so small that the closed form is rounding;
    else from num_samples draws a row.

    >>> one, generator = torch.ones(1, 2, dtype=torch.float64), torch.Generator()
    >>> zero = torch.zeros(2, dtype=torch.float64)
    >>> log_orthant_probability(zero, torch.eye(2), one, 2, generator).value.exp()
    tensor([0.2500], dtype=torch.float64)
    """
    n = len(loc)
    if n == 1:
        value = torch.special.log_ndtr(sign[:, 0] * loc[0])
        return LogProbability(value, torch.zeros_like(value))
    if n == 2:
        r = correlation[0, 1] * sign[:, 0] * sign[:, 1]
        closed = both_positive(sign[:, 0] * loc[0], sign[:, 1] * loc[1], r)
        value, error = closed.clamp_min(1e-300).log(), torch.zeros_like(closed)
        rare = closed < _RARE
        if bool(rare.any()):
            factor = torch.linalg.cholesky(correlation)
            value[rare], error[rare] = _estimate(loc, factor, sign[rare], num_samples, generator)
        return LogProbability(value, error)
    factor = torch.linalg.cholesky(correlation)
    step = max(1, _CHUNK // (num_samples * n))
    parts = [_estimate(loc, factor, rows, num_samples, generator) for rows in sign.split(step)]
    return LogProbability(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _estimate(
    loc: Tensor, factor: Tensor, sign: Tensor, num_samples: int, generator: Generator
) -> LogProbability:
    rows, n = sign.shape
    noise = loc.new_zeros(rows, num_samples, n)
    log_weight = loc.new_zeros(rows, num_samples)
    for i in range(n):
        s = sign[:, i : i + 1]
        threshold = s * (loc[i] + noise[..., :i] @ factor[i, :i]) / factor[i, i]
        log_weight += torch.special.log_ndtr(threshold)
        uniforms = torch.rand(
            rows, num_samples, dtype=loc.dtype, device=loc.device, generator=generator
        )
        tail = (1.0 - uniforms).log() + torch.special.log_ndtr(threshold)
        noise[..., i] = -s * torch.special.ndtri(tail.exp().clamp(1e-300, 1.0 - 2.0**-53))
    value = log_weight.logsumexp(1) - math.log(num_samples)
    spread = (log_weight - value.unsqueeze(1)).exp().std(1)
    return LogProbability(value, spread / num_samples**0.5)
