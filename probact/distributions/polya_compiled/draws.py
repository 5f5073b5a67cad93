r"""Exact draws of PG(1, z), one at a time (Polson, Scott & Windle 2013, after Devroye 2009).

Symbols and method are those of `probact.distributions.polya_gamma_draws`: h = |z| / 2,
x = 4 omega. The random numbers are those of SplitMix64 (Steele, Lea & Flood 2014), whose one-word
state belongs to one call: numba's and numpy's own streams are never touched.
"""

import math
from functools import partial
from typing import Any

import numpy as np

from probact.compiled import compiled

__all__ = ["draw_polya_gamma", "right_masses"]

_CUT = 0.64  # t, where the two series of the density meet
_UNRESOLVED = 20.0  # h from which the right part has a mass below 1e-40
_SURE = 0.994  # 1 - 3 exp(-4 / t): what the series accepts whatever x
_STEPS = 64  # of the table, for each unit of h
_WEYL = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S12, _S27, _S30, _S31 = (np.uint64(n) for n in (12, 27, 30, 31))


@compiled
def right_masses() -> Any:
    """Masses of the right part at h = 0, 1/64, ..., which fall, so that neighbours bound it."""
    table = np.zeros(int(_UNRESOLVED) * _STEPS + 2)
    for i in range(len(table)):
        table[i] = _right_mass(i / _STEPS)
    return table


@compiled
def draw_polya_gamma(seed: int, tilt: Any, masses: Any) -> Any:
    """Draws (N,) of PG(1, z_n) for tilts (N,), float64; NaN where the tilt is not finite.

    `masses` is the table of `right_masses`.
    """
    out = np.empty(len(tilt))
    state = np.array([seed], np.uint64)
    for n, z in enumerate(tilt):
        half = 0.5 * abs(z)
        out[n] = 0.25 * _draw(half, masses, state) if half < math.inf else math.nan
    return out


@partial(compiled, error_model="numpy")
def _draw(half: float, masses: Any, state: Any) -> float:
    """x of the tilted Jacobi law, by rejection from its dominating first term."""
    x: float
    while True:
        if half < _UNRESOLVED and _is_right(half, masses, _uniform(state)):
            x = _CUT + _exponential(state) / _rate(half)
            power = 0.5 * math.pi**2 * x
        else:
            x = _draw_left(half, state)
            power = 2.0 / x
        u = _uniform(state)
        if u < _SURE or u < _series(power):
            return x


@compiled
def _is_right(half: float, masses: Any, u: float) -> bool:
    """Whether u is below the mass of the right part, computed only where the table leaves open."""
    i = int(half * _STEPS)
    below: bool = u < masses[i + 1]
    return below or (u < masses[i] and u < _right_mass(half))


@compiled
def _rate(half: float) -> float:
    return 0.125 * math.pi**2 + 0.5 * half * half


@partial(compiled, error_model="numpy")
def _right_mass(half: float) -> float:
    """Mass of the dominating term to the right of t."""
    rate: float = _rate(half)
    root = math.sqrt(0.5 / _CUT)
    near = math.exp(-half) * math.erfc(root * (1.0 - _CUT * half))
    far = math.exp(half) * math.erfc(root * (1.0 + _CUT * half))
    return 1.0 / (1.0 + 2.0 / math.pi * rate * math.exp(rate * _CUT) * (near + far))


@compiled
def _series(power: float) -> float:
    """1 - 3 q^2 + 5 q^6 - 7 q^12, q = exp(-power): the next term is below 1e-26."""
    q2: float = math.exp(-2.0 * power)
    return 1.0 - q2 * (3.0 - q2 * q2 * (5.0 - 7.0 * q2**3))


@partial(compiled, error_model="numpy")
def _draw_left(half: float, state: Any) -> float:
    """Inverse Gaussian of mean 1 / h and shape 1, below t."""
    x: float
    if half * _CUT < 1.0:
        while True:
            e = _exponential(state)
            if e * e <= 2.0 / _CUT * _exponential(state):
                x = _CUT / (1.0 + _CUT * e) ** 2
                if _uniform(state) <= math.exp(-0.5 * half * half * x):
                    return x
    mean = 1.0 / half
    while True:
        y = mean * _square_of_normal(state)
        x = mean * 2.0 / (2.0 + y + math.sqrt(y * (4.0 + y)))
        if _uniform(state) * (mean + x) > mean:
            x = mean * (mean / x)
        if x < _CUT:
            return x


@compiled
def _uniform(state: Any) -> float:
    """The next number in (0, 1), both ends excluded."""
    state[0] += _WEYL
    mixed = state[0]
    mixed = (mixed ^ (mixed >> _S30)) * _MIX_1
    mixed = (mixed ^ (mixed >> _S27)) * _MIX_2
    return (float((mixed ^ (mixed >> _S31)) >> _S12) + 0.5) * 2.0**-52


@compiled
def _exponential(state: Any) -> float:
    return -math.log(_uniform(state))


@compiled
def _square_of_normal(state: Any) -> float:
    """The square of a standard normal, by Marsaglia's polar method."""
    while True:
        x: float = 2.0 * _uniform(state) - 1.0
        square = x * x + (2.0 * _uniform(state) - 1.0) ** 2
        if 0.0 < square < 1.0:
            y: float = -2.0 * math.log(square) / square * x * x
            return y
