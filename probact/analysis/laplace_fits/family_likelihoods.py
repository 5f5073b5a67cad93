r"""Maximum log-likelihoods of rows of weights under the rivals of the asymmetric Laplace law.

Symbols: x (K, n) rows, centred at their median and scaled to mean absolute deviation one;
z = (x - mu) / s; v degrees of freedom; c skewness parameter. Three of them have no closed form:
Newton's method, in (1/s, mu/s) where the logistic likelihood is concave, in (1/s, mu/s, log c) and
in (mu, log s, log v).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from probact.analysis.laplace_fits.newton import newton_maximum
from probact.gamma import log_gamma_ratio

__all__ = [
    "Maximum",
    "exponential",
    "laplace",
    "logistic",
    "normal",
    "skew_logistic",
    "student_t",
]

_T_LOW = (-1e3, -20.0, math.log(0.5))  # mu, log s, log v
_SKEW_LOW = (1e-6, -1e9, -7.0)  # 1/s, mu/s, log c
_SKEW_HIGH = (1e9, 1e9, 7.0)
_T_HIGH = (1e3, 5.0, math.log(1e6))


class Maximum(NamedTuple):
    """The largest likelihood of K rows."""

    value: Tensor  # (K,) nats per weight
    converged: Tensor  # (K,) bool: the search for it
    parameters: Tensor  # (K, p): mu, s and the law's third one, if it has one
    mirrored: Tensor  # (K,) bool: they are those of the row's mirror image


def normal(x: Tensor) -> Maximum:
    """Normal law of two parameters.

    >>> normal(torch.tensor([[-1.0, 1.0]], dtype=torch.float64))[0]  # -(log 2 pi + 1) / 2
    tensor([-1.4189], dtype=torch.float64)
    """
    variance = x.var(-1, correction=0)
    value = -0.5 * (math.log(2.0 * math.pi) + variance.log() + 1.0)
    return _known(value, x.mean(-1), variance.sqrt())


def laplace(x: Tensor) -> Maximum:
    """Laplace law of two parameters, at the median.

    >>> laplace(torch.tensor([[-1.0, 0.0, 1.0]]))[0]  # -log(4/3) - 1
    tensor([-1.2877])
    """
    median = x.median(-1).values
    spread = (x - median.unsqueeze(-1)).abs().mean(-1)
    return _known(-(2.0 * spread).log() - 1.0, median, spread)


def exponential(x: Tensor) -> Maximum:
    """One-sided exponential law from the smallest weight up or from the largest down.

    >>> exponential(torch.tensor([[0.0, 0.0, 3.0]]))[0]  # -log 1 - 1
    tensor([-1.])
    """
    mean, low, high = x.mean(-1), x.amin(-1), x.amax(-1)
    mirrored = high - mean < mean - low
    spread = torch.where(mirrored, high - mean, mean - low)
    start = torch.where(mirrored, -high, low)
    return _known(-spread.log() - 1.0, start, spread)._replace(mirrored=mirrored)


def logistic(x: Tensor) -> Maximum:
    """Logistic law of two parameters.

    >>> x = torch.tensor([[-1.0, 1.0]], dtype=torch.float64)
    >>> logistic(x)[0]
    tensor([-1.4967], dtype=torch.float64)
    """
    start = x.new_tensor([1.5, 0.0]).expand(len(x), 2)
    low, high = x.new_tensor([1e-6, -1e9]), x.new_tensor([1e9, 1e9])
    theta, value, converged = newton_maximum(_logistic, start, x, low, high)
    return _searched(value, converged, _loc_scale(theta))


def skew_logistic(x: Tensor) -> Maximum:
    """Generalised logistic law of type I, three parameters (Johnson, Kotz & Balakrishnan 1995).

    Distribution function (1 + exp(-z))^-c for the row or for its mirror image, e^-7 <= c <= e^7:
    tails of rate 1/s to the right and c/s to the left, as the asymmetric Laplace law has two, but
    a smooth mode. c = 1 is the logistic law.

    >>> x = torch.tensor([[-1.0, -0.5, 0.0, 0.5, 3.0]], dtype=torch.float64)
    >>> skew_logistic(x)[0] - logistic(x)[0], bool(skew_logistic(x)[0] == skew_logistic(-x)[0])
    (tensor([0.4044], dtype=torch.float64), True)
    """
    start = x.new_tensor([1.5, 0.0, 0.0]).expand(len(x), 3)
    low, high = x.new_tensor(_SKEW_LOW), x.new_tensor(_SKEW_HIGH)
    theta, value, converged = newton_maximum(_skew_logistic, start, x, low, high)
    turned, other, too = newton_maximum(_skew_logistic, start, -x, low, high)
    mirrored = other > value
    theta = torch.where(mirrored.unsqueeze(-1), turned, theta)
    parameters = torch.cat([_loc_scale(theta[:, :2]), theta[:, 2:].exp()], -1)
    return Maximum(torch.maximum(value, other), converged & too, parameters, mirrored)


def student_t(x: Tensor) -> Maximum:
    """Student's t of three parameters, 0.5 <= v <= 1e6, whose upper end is the normal law.

    Where more than v / (v + 1) of the weights are equal the likelihood has no maximum: such rows
    end at the smallest scale and count as not converged.

    >>> x = torch.linspace(-2.0, 2.0, 9, dtype=torch.float64)[None]
    >>> bool((student_t(x)[0] - normal(x)[0]).abs() < 1e-4)  # short tails
    True
    """
    start = x.new_tensor([0.0, 0.0, math.log(5.0)]).expand(len(x), 3)
    low, high = x.new_tensor(_T_LOW), x.new_tensor(_T_HIGH)
    theta, value, converged = newton_maximum(_student_t, start, x, low, high)
    parameters = torch.cat([theta[:, :1], theta[:, 1:].exp()], -1)
    return _searched(value, converged & (theta[:, 1] > low[1]), parameters)


def _known(value: Tensor, mu: Tensor, s: Tensor) -> Maximum:
    return _searched(value, torch.ones_like(value, dtype=torch.bool), torch.stack([mu, s], -1))


def _searched(value: Tensor, converged: Tensor, parameters: Tensor) -> Maximum:
    return Maximum(value, converged, parameters, torch.zeros_like(converged))


def _loc_scale(theta: Tensor) -> Tensor:
    """mu and s from 1/s and mu/s, (K, 2)."""
    return torch.stack([theta[:, 1] / theta[:, 0], 1.0 / theta[:, 0]], -1)


def _logistic(theta: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean log-likelihood in a = 1/s and b = mu/s: log a - z - 2 log(1 + exp(-z)), z = a x - b."""
    a = theta[:, 0]
    z = a[:, None] * x - theta[:, 1:]
    t = torch.tanh(0.5 * z)
    bend = 0.5 * (1.0 - t * t)  # of the density's logarithm: d t / d z
    value = a.log() - (z.abs() + 2.0 * torch.log1p(torch.exp(-z.abs()))).mean(-1)
    gradient = torch.stack([1.0 / a - (x * t).mean(-1), t.mean(-1)], -1)
    aa = -(a**-2) - (x * x * bend).mean(-1)
    ab, bb = (x * bend).mean(-1), -bend.mean(-1)
    return value, gradient, torch.stack([aa, ab, ab, bb], -1).unflatten(-1, (2, 2))


def _skew_logistic(theta: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean log-likelihood in a = 1/s, b = mu/s and log c, with z = a x - b.

    Per weight log c + log a - z - (c + 1) log(1 + exp(-z)), of slope (c + 1) p - 1 in z where
    p = 1 / (1 + exp(z)).
    """
    a, c = theta[:, 0], theta[:, 2].exp()
    z = a[:, None] * x - theta[:, 1:2]
    p = torch.sigmoid(-z)
    softplus = (torch.log1p(torch.exp(-z.abs())) + (-z).clamp_min(0.0)).mean(-1)
    bend = p * (1.0 - p)
    xp, mean_p = (x * p).mean(-1), p.mean(-1)
    value = theta[:, 2] + a.log() - z.mean(-1) - (c + 1.0) * softplus
    slope_a = 1.0 / a - x.mean(-1) + (c + 1.0) * xp
    gradient = torch.stack([slope_a, 1.0 - (c + 1.0) * mean_p, 1.0 - c * softplus], -1)
    aa = -(a**-2) - (c + 1.0) * (x * x * bend).mean(-1)
    ab, bb = (c + 1.0) * (x * bend).mean(-1), -(c + 1.0) * bend.mean(-1)
    ac, bc = c * xp, -c * mean_p
    rows = [aa, ab, ac, ab, bb, bc, ac, bc, -c * softplus]
    return value, gradient, torch.stack(rows, -1).unflatten(-1, (3, 3))


def _student_t(theta: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean log-likelihood in mu, log s and log v, and its derivatives.

    With d = v + z^2 and w = z^2 / d: g = (v + 1) z / d is minus the slope in z, h its slope.
    """
    s, v = theta[:, 1].exp(), theta[:, 2].exp()
    z = (x - theta[:, :1]) / s[:, None]
    square, v_column = z * z, v[:, None]
    d = v_column + square
    w, inverse = square / d, 1.0 / d
    v1 = v + 1.0
    mean_w, mean_log = w.mean(-1), torch.log1p(square / v_column).mean(-1)
    bend = (v_column - square) * inverse * inverse  # h / (v + 1)
    turn = (square - 1.0) * inverse * inverse  # slope of g / z in v
    g, zg = v1 * (z * inverse).mean(-1), v1 * mean_w
    h, zh, zzh = (v1 * (f * bend).mean(-1) for f in (torch.ones_like(z), z, square))
    k, zk = (z * turn).mean(-1), (square * turn).mean(-1)
    peak = log_gamma_ratio(0.5 * v, 0.5) - 0.5 * (v.log() + math.log(math.pi)) - theta[:, 1]
    digamma = torch.digamma(0.5 * v1) - torch.digamma(0.5 * v)
    trigamma = torch.polygamma(1, 0.5 * v1) - torch.polygamma(1, 0.5 * v)
    dv = 0.5 * (digamma - 1.0 / v - mean_log + v1 * mean_w / v)
    spread = v1 * (w * inverse).mean(-1) / v
    ddv = 0.5 * (0.5 * trigamma + v**-2 + mean_w / v - mean_w / v**2 - spread)
    gradient = torch.stack([g / s, zg - 1.0, v * dv], -1)
    ms, mv, sv = -(zh + g) / s, v * k / s, v * zk
    rows = [-h / s**2, ms, mv, ms, -(zg + zzh), sv, mv, sv, v * v * ddv + v * dv]
    value = peak - 0.5 * v1 * mean_log
    return value, gradient, torch.stack(rows, -1).unflatten(-1, (3, 3))
