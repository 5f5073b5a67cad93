"""The prior precision, and the noise, of largest evidence: a coarse grid, then a local search."""

import math
from collections.abc import Callable

import numpy as np
from scipy import optimize

from probact.heads import Head
from probact.models.gaussian_posterior import GaussianPosterior

__all__ = ["largest"]

Evaluate = Callable[[float, float | None, Head | None], GaussianPosterior]


def largest(
    evaluate: Evaluate, noise: float | None, bounds: tuple[float, float]
) -> tuple[float, float | None]:
    """(precision, noise) where the log evidence is largest; noise None stays None.

    evaluate(precision, noise, near): the posterior, its mode sought from the head `near`. The grid
    has a point a decade of the precision; without noise Brent's method goes on between the best
    point's neighbours, to 1 per cent of the precision; with noise Nelder and Mead's does.
    """
    low, high = (math.log(bound) for bound in bounds)
    near: Head | None = None

    def score(log_precision: float, log_noise: float | None) -> float:
        nonlocal near
        noise = None if log_noise is None else math.exp(log_noise)
        found = evaluate(math.exp(log_precision), noise, near)
        near = Head("mode", found.weight, found.bias)
        return -found.log_evidence

    log_noise = None if noise is None else math.log(noise)
    grid = np.arange(high, low - 1e-9, -math.log(10.0))  # from the prior's mode outwards
    scores = [score(float(point), log_noise) for point in grid]
    best = min(max(float(grid[int(np.argmin(scores))]), low), high)  # inside, despite rounding
    if log_noise is None:
        span = max(low, best - math.log(10.0)), min(high, best + math.log(10.0))
        found = optimize.minimize_scalar(
            lambda at: score(float(at), None), bounds=span, method="bounded",
            options={"xatol": 0.01},
        )  # fmt: skip
        return math.exp(float(found.x)), None
    corners = [
        [best, log_noise],
        [best, log_noise - 1.0],
        [best - math.copysign(1.0, best), log_noise],
    ]
    found = optimize.minimize(
        lambda at: score(float(at[0]), float(at[1])), [best, log_noise], method="Nelder-Mead",
        bounds=[(low, high), (log_noise - 15.0, log_noise + 5.0)],
        options={"xatol": 1e-4, "fatol": 1e-6, "maxiter": 500, "initial_simplex": corners},
    )  # fmt: skip
    return math.exp(float(found.x[0])), math.exp(float(found.x[1]))
