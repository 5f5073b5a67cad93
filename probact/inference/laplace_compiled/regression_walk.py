"""Metropolis updates of the regression of rates on class frequency, compiled.

Symbols: z (K,) log frequency; E (K,) exposures; n weights a row; b0, b1, a as in
`distributions.rate_regression`; u_k = log a - b0 - b1 z_k, so that a rate has the law
Gamma(a, e^u_k).
"""

import math
from typing import Any

import numpy as np

from probact.compiled import compiled

__all__ = ["log_marginal", "regression_walk"]

_SMALL = 16.0  # below it Stirling's series has too few digits
_WIDE = 4.0  # every second step in log a, whose law is wide where a is badly known


def _log_gamma_ratio(a: float, num: float) -> float:
    """log Gamma(a + num) - log Gamma(a), with its digits at large a; see `probact.gamma`."""
    if a < _SMALL:
        return math.lgamma(a + num) - math.lgamma(a)
    end = a + num
    series = 0.0
    for value, sign in ((end, 1.0), (a, -1.0)):
        square = 1.0 / (value * value)
        inner = 1 / 12 - square * (1 / 360 - square * (1 / 1260 - square * (1 / 1680)))
        series += sign * inner / value
    return (a - 0.5) * math.log1p(num / a) + num * (math.log(end) - 1.0) + series


def _log_marginal(point: Any, log_exposure: Any, z: Any, num: float) -> float:
    """sum_k log of Gamma(a + n) e^(a u_k) / (Gamma(a) (e^u_k + E_k)^(a + n)), nats.

    point holds b0, b1 and log a.
    """
    a = math.exp(point[2])
    total: float = len(z) * log_gamma_ratio(a, num)
    for k in range(len(z)):
        u = point[2] - point[0] - point[1] * z[k]
        past = log_exposure[k] - u
        soft = max(past, 0.0) + math.log1p(math.exp(-abs(past)))  # log(1 + E / e^u)
        total -= (a + num) * soft + num * u
    return total


def _log_prior(point: Any, loc: Any, scale: Any) -> float:
    """Normal laws of b0, b1 and log a, up to a constant; a scale of zero marks what is fixed."""
    total = 0.0
    for i in range(3):
        if scale[i] > 0.0:
            total -= 0.5 * ((point[i] - loc[i]) / scale[i]) ** 2
    return total


def _regression_walk(
    point: Any,
    log_exposure: Any,
    z: Any,
    num: float,
    loc: Any,
    scale: Any,
    noise: Any,
    levels: Any,
) -> int:
    """Change point (3,) = (b0, b1, log a) in place; how many of the updates were taken.

    noise (updates, 3) is normal, levels (updates, 2) uniform. (b0, b1) and log a move in turn; the
    width of a step in b0 and b1 depends on a alone, that in log a on the update's number.
    """
    classes, squares, taken = len(z), 0.0, 0
    for k in range(classes):
        squares += z[k] * z[k]
    size = np.array([float(classes), squares])
    leap = 2.4 / math.sqrt(0.5 * classes + scale[2] ** -2)
    proposal = np.empty(3)
    score = log_marginal(point, log_exposure, z, num) + log_prior(point, loc, scale)
    for i in range(len(noise)):
        for part in range(2):
            proposal[:] = point
            if part == 0:
                a = math.exp(point[2])
                known = a * num / (a + num + 1.0)  # information of a class on its b0 + b1 z
                for j in range(2):
                    if scale[j] > 0.0:
                        width = 1.7 / math.sqrt(known * size[j] + scale[j] ** -2)
                        proposal[j] += width * noise[i, j]
            else:
                proposal[2] += leap * (_WIDE if i % 2 else 1.0) * noise[i, 2]
            new = log_marginal(proposal, log_exposure, z, num) + log_prior(proposal, loc, scale)
            if math.log(levels[i, part]) < new - score:
                point[:], score = proposal, new
                taken += 1
    return taken


log_gamma_ratio = compiled(_log_gamma_ratio)
log_marginal = compiled(_log_marginal)
log_prior = compiled(_log_prior)
regression_walk = compiled(_regression_walk)
