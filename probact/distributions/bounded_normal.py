r"""Draws of a normal law on an interval, from its natural parameters.

Symbols: density exp(lambda x - tau x^2 / 2) on [low, high], tau >= 0; w = tau^(1/2) (high - low).

Where w is large, by the quantile of the normal law past the bound that is nearer to its bulk.
Where w < 0.05, tau = 0 among them, the density is an exponential one up to a factor in
[0.998, 1], by which proposals are accepted; of 8 the last one is taken anyhow, with a chance below
1e-23.
"""

import torch
from torch import Tensor

from probact.distributions.normal_tail import excess_quantile, log_excess_survival

__all__ = ["NUM_UNIFORMS", "bounded_normal", "within"]

_NARROW = 0.05
NUM_UNIFORMS = 16


def bounded_normal(
    precision: Tensor, linear: Tensor, low: Tensor, high: Tensor, uniforms: Tensor
) -> Tensor:
    """x (B,) given tau, lambda and bounds low < high, (B,) each, from uniforms (B, 16).

    >>> zero, one = torch.zeros(1), torch.ones(1)
    >>> bounded_normal(zero, zero, -one, one, torch.full((1, 16), 0.25))  # uniform
    tensor([-0.5000])
    >>> bounded_normal(one, 1e9 * one, -one, one, torch.full((1, 16), 0.5)).round(decimals=3)
    tensor([1.])
    """
    width = high - low
    narrow = precision.sqrt() * width < _NARROW
    tau = torch.where(narrow, torch.ones_like(precision), precision)
    inner = _by_quantile(tau, linear, low, high, uniforms[:, 0])
    flat = low + _by_rejection(precision, linear - precision * low, width, uniforms)
    drawn = torch.where(narrow, flat, inner)
    return within(drawn, low, high)


def within(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """x moved into [low, high), the support of torch's Uniform, which rounding may leave.

    >>> zero, one = torch.zeros(1), torch.ones(1)
    >>> bool(within(one, zero, one) < one)
    True
    """
    return torch.minimum(torch.maximum(x, low), torch.nextafter(high, low))


def _by_quantile(tau: Tensor, linear: Tensor, low: Tensor, high: Tensor, u: Tensor) -> Tensor:
    root, mean = tau.sqrt(), linear / tau
    mirrored = mean > 0.5 * (low + high)  # the bulk is nearer to the upper bound
    first = root * torch.where(mirrored, mean - high, low - mean)
    survival = log_excess_survival(first, root * (high - low)).exp()
    excess = excess_quantile(first, (u + (1.0 - u) * survival).log()) / root
    return torch.where(mirrored, high - excess, low + excess)


def _by_rejection(tau: Tensor, slope: Tensor, width: Tensor, uniforms: Tensor) -> Tensor:
    """Distance from the lower bound, density exp(slope x - tau x^2 / 2) on [0, width]."""
    drop = (slope * width).abs()
    steep = torch.where(slope == 0, torch.ones_like(slope), slope.abs())
    x = torch.zeros_like(slope)
    done = torch.zeros_like(slope, dtype=torch.bool)
    for u, accept in uniforms.T.split(2):
        inside = -torch.log1p(u * torch.expm1(-drop)) / steep  # from the higher end
        tried = torch.where(slope > 0, width - inside, inside)
        tried = torch.where(drop == 0, u * width, tried)
        x = torch.where(done, x, tried)
        done = done | (accept < torch.exp(-0.5 * tau * tried.square()))
    return x
