r"""A standard normal variable Z given that it exceeds t: its mean and variance past t, and draws.

Symbols: Phi, phi distribution function and density of N(0, 1); M(t) = Phi(-t) / phi(t) Mills'
ratio; excess D = Z - t > 0. Where t is large, D is all that is left after t cancels: there come

    1 / M(t) = t + e(t),   e(t) = 1 / (t + 2 g),   g = 1 / (t + 3 / (t + 4 / ...))

from Laplace's continued fraction, with E D = e and Var D = e (2 g - e).
"""

import math

import torch
from torch import Tensor

__all__ = ["excess_moments", "excess_quantile", "log_excess_density", "log_excess_survival"]

_FAR = 4.0  # from here on, the fraction has full precision after _LEVELS
_LEVELS = 60
_STEPS = 4  # of Newton's method


def excess_moments(threshold: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of Z - t given Z > t.

    >>> excess_moments(torch.tensor([0.0, 1e6]))  # half-normal; exponential of rate t
    (tensor([7.9788e-01, 1.0000e-06]), tensor([3.6338e-01, 1.0000e-12]))
    """
    near, far = threshold.clamp_max(_FAR), threshold.clamp_min(_FAR)
    hazard = math.sqrt(2.0 / math.pi) / torch.special.erfcx(near / math.sqrt(2.0))
    tail = torch.zeros_like(far)
    for level in range(_LEVELS, 2, -1):
        tail = 1.0 / (far + level * tail)
    far_mean = 1.0 / (far + 2.0 * tail)
    near_mean = hazard - near
    mean = torch.where(threshold < _FAR, near_mean, far_mean)
    near_variance = 1.0 - hazard * near_mean
    variance = torch.where(threshold < _FAR, near_variance, far_mean * (2.0 * tail - far_mean))
    return mean, variance


def log_excess_density(threshold: Tensor, excess: Tensor) -> Tensor:
    """log density (nats) of Z - t at `excess` > 0, given Z > t.

    >>> log_excess_density(torch.tensor(0.0), torch.tensor(0.0)).exp()  # 2 phi(0)
    tensor(0.7979)
    """
    return -excess * (threshold + 0.5 * excess) - _log_mills(threshold)


def log_excess_survival(threshold: Tensor, excess: Tensor) -> Tensor:
    """log P(Z > t + excess | Z > t), nats.

    >>> log_excess_survival(torch.tensor(1e6), torch.tensor(1e-6))  # exponential of rate t
    tensor(-1.)
    """
    ratio = _log_mills(threshold + excess) - _log_mills(threshold)
    return -excess * (threshold + 0.5 * excess) + ratio


def _log_mills(t: Tensor) -> Tensor:
    """log M(t)."""
    above = torch.special.erfcx(t.clamp_min(0.0) / math.sqrt(2.0)).log()
    below = t.clamp_max(0.0)
    log_density = -0.5 * below.square() - 0.5 * math.log(2.0 * math.pi)
    by_ratio = torch.special.log_ndtr(-below) - log_density
    return torch.where(t > 0, above + 0.5 * math.log(math.pi / 2.0), by_ratio)


def excess_quantile(threshold: Tensor, log_survival: Tensor) -> Tensor:
    """d >= 0 with P(Z > t + d | Z > t) = exp(log_survival).

    >>> excess_quantile(torch.tensor(0.0), torch.tensor(0.5).log())
    tensor(0.6745)
    """
    near, far = threshold.clamp_max(_FAR), threshold.clamp_min(_FAR)
    log_tail = log_survival + torch.special.log_ndtr(-near)
    by_quantile = -torch.special.ndtri(log_tail.exp()) - near
    root = (far.square() - 2.0 * log_survival).sqrt()
    excess = -2.0 * log_survival / (root + far)  # of the leading term, t d + d^2 / 2
    for _ in range(_STEPS):
        error = log_excess_survival(far, excess) - log_survival
        excess = (excess + error * _log_mills(far + excess).exp()).clamp_min(0.0)
    return torch.where(threshold < _FAR, by_quantile.clamp_min(0.0), excess)
