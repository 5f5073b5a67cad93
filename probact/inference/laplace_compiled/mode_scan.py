"""Draws of the mode of an asymmetric Laplace law given its rates, class after class, compiled.

Symbols: x (K, n) sorted weights; up, down (K,) the right and the left rate; bounds [low, high]
(K,). With i weights below the mode its log density has the slope up (n - i) - down i: it is
concave, and segment i lies between the knots i and i + 1: the lower bound, the weights, the upper
bound.
"""

from typing import Any

import numpy as np

from probact.compiled import compiled

__all__ = ["mode_scan"]

NEGLIGIBLE = np.exp(-40.0)  # of the mass found, below the rounding of its sum


def _knot(row: Any, i: int, low: float, high: float) -> float:
    """Knot i of n + 2; weights beyond a bound lie on it."""
    if i == 0:
        return low
    if i == len(row) + 1:
        return high
    value: float = row[i - 1]
    return min(max(value, low), high)


def _top(up: float, down: float, n: int) -> int:
    """The knot of highest density: to its left the slope is > 0, to its right <= 0."""
    top = min(max(int(np.ceil(up * n / (up + down))), 1), n)
    while top < n and up * (n - top) - down * top > 0.0:
        top += 1
    while top > 1 and up * (n - top + 1) - down * (top - 1) <= 0.0:
        top -= 1
    return top


def _side(
    row: Any,
    up: float,
    down: float,
    low: float,
    high: float,
    first: int,
    step: int,
    total: float,
    mass: Any,
) -> tuple[int, float]:
    """Masses of segments from `first` on, away from the top (density 1); the last, and the total.

    Beyond a knot of density e, where the slope is s, lies at most the mass e / |s|.
    """
    n = len(row)
    density, i = 1.0, first
    while True:
        width = knot(row, i + 1, low, high) - knot(row, i, low, high)
        t = step * (up * (n - i) - down * i) * width
        fall = np.expm1(t)
        mass[i] = density * width * (fall / t if t != 0.0 else 1.0)
        density += density * fall
        total += mass[i]
        following = i + step
        if following < 0 or following > n:
            return i, total
        slope = up * (n - following) - down * following
        if density < NEGLIGIBLE * total * abs(slope):
            return i, total
        i = following


def _inside(left: float, right: float, slope: float, u: float) -> float:
    """A point of [left, right] under the density exp(slope z), by its inverse cdf at u."""
    t = slope * (right - left)
    if t == 0.0:
        drawn = left + u * (right - left)
    elif t < 0.0:
        drawn = left + np.log1p(u * np.expm1(t)) / slope
    else:
        drawn = right + np.log1p((1.0 - u) * np.expm1(-t)) / slope
    return min(max(drawn, left), right)


def _mode_scan(
    x: Any,
    rate_right: Any,
    rate_left: Any,
    low: Any,
    high: Any,
    uniforms: Any,
    loc: Any,
    visited: Any,
) -> None:
    """Fill loc (K,) from uniforms (2, K), and visited (K,), the number of segments looked at."""
    n = x.shape[1]
    mass = np.empty(n + 1)
    for k in range(len(x)):
        row, up, down, lo, hi = x[k], rate_right[k], rate_left[k], low[k], high[k]
        peak = top(up, down, n)
        last, total = side(row, up, down, lo, hi, peak, 1, 0.0, mass)
        first, total = side(row, up, down, lo, hi, peak - 1, -1, total, mass)
        visited[k] = last - first + 1
        level, i = uniforms[0, k] * total, first
        below = mass[i]
        while i < last and level >= below:
            i += 1
            below += mass[i]
        left, right = knot(row, i, lo, hi), knot(row, i + 1, lo, hi)
        loc[k] = inside(left, right, up * (n - i) - down * i, uniforms[1, k])


knot = compiled(_knot)
top = compiled(_top)
side = compiled(_side)
inside = compiled(_inside)
mode_scan = compiled(_mode_scan)
