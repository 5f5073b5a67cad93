"""Random bits, uniforms and normals inside compiled loops: xoshiro256++ (Blackman & Vigna 2021).

The state (4,) uint64 belongs to one call: numba's and numpy's own streams are never touched.
"""

import math
from typing import Any

import numpy as np

from probact.compiled import compiled

__all__ = ["normal_pair", "seeded", "uniform"]

_S12, _S17, _S19, _S23, _S41, _S45 = (np.uint64(n) for n in (12, 17, 19, 23, 41, 45))
_S27, _S30, _S31 = (np.uint64(n) for n in (27, 30, 31))
_WEYL = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@compiled
def seeded(seed: int) -> Any:
    """State (4,) from a seed in [0, 2^63) by SplitMix64, as the generator's authors advise."""
    state = np.empty(4, np.uint64)
    counter = np.uint64(seed)
    for i in range(4):
        counter += _WEYL
        mixed = (counter ^ (counter >> _S30)) * _MIX_1
        mixed = (mixed ^ (mixed >> _S27)) * _MIX_2
        state[i] = mixed ^ (mixed >> _S31)
    return state


@compiled
def uniform(state: Any) -> float:
    """The next number in (0, 1), both ends excluded."""
    total = state[0] + state[3]
    bits = ((total << _S23) | (total >> _S41)) + state[0]
    shifted = state[1] << _S17
    state[2] ^= state[0]
    state[3] ^= state[1]
    state[1] ^= state[2]
    state[0] ^= state[3]
    state[2] ^= shifted
    state[3] = (state[3] << _S45) | (state[3] >> _S19)
    return (float(bits >> _S12) + 0.5) * 2.0**-52


@compiled
def normal_pair(state: Any) -> tuple[float, float]:
    """Two independent standard normals by Marsaglia's polar method."""
    while True:
        x, y = 2.0 * uniform(state) - 1.0, 2.0 * uniform(state) - 1.0
        square = x * x + y * y
        if 0.0 < square < 1.0:
            scale = math.sqrt(-2.0 * math.log(square) / square)
            return x * scale, y * scale
