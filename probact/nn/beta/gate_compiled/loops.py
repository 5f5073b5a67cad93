r"""u (low + rise sigmoid(v) + odd tanh(v / 2)), v = g u, and both its gradients in one pass.

Symbols: u (M, L) input, one row after the other; g (G,) steepness, row m has g[m % G]; w the
weight of u, in brackets. With e = exp(-|v|), f = e - 1 and d = 1 / (1 + e),

    sigmoid(v) = d or e d,    tanh(|v| / 2) = -f d,    w' = (rise + 2 odd) e d^2.

exp is a polynomial on [-log(2) / 2, log(2) / 2] times a power of two (Cephes, `expf`), off by two
units in the last place; so written, the loops compile to vector instructions.
"""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from probact.compiled import compiled

__all__ = ["gate_rows", "gate_slopes"]

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

_BLOCK = 512  # numbers of which all that a pass holds stays in a cache of the first level
_F = np.float32
_LOG2E, _LOG2_HIGH, _LOG2_LOW = _F(1.44269504), _F(0.693359375), _F(-2.12194440e-4)
_C = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1)
_C0, _C1, _C2, _C3, _C4 = (_F(c) for c in _C)
_C5, _ONE, _HALF, _ZERO = _F(5.0000001201e-1), _F(1.0), _F(0.5), _F(0.0)
_LEAST = _F(-87.0)  # of an exponent: exp of it is still a normal number
_BIAS, _UNIT = _F(127.0), _F(2.0**23)  # of the bits of a float's exponent

# no reordering of sums: the two halves of log 2 must stay two
_exact = partial(compiled, fastmath={"contract", "nsz", "arcp"}, error_model="numpy")
_summing = partial(compiled, fastmath=True, error_model="numpy")


@_exact
def _exponentials(u: Floats, g: np.float32, rest: Floats, bits: Ints) -> None:
    """exp(-|g u|) as (1 + rest) times the power of two of these bits."""
    for i in range(len(u)):
        x = max(-abs(g * u[i]), _LEAST)
        k = np.floor(x * _LOG2E + _HALF)
        r = x - k * _LOG2_HIGH - k * _LOG2_LOW
        q = ((((_C0 * r + _C1) * r + _C2) * r + _C3) * r + _C4) * r + _C5
        rest[i] = q * r * r + r
        bits[i] = np.int32((k + _BIAS) * _UNIT)


@_exact
def _values(u: Floats, gate: Floats, rest: Floats, power: Floats, z: Floats) -> None:
    low, rise, odd = gate[0], gate[1], gate[2]
    for i in range(len(u)):
        e = rest[i] * power[i] + power[i]
        f = rest[i] * power[i] + (power[i] - _ONE)  # not e - 1, which cancels near u = 0
        d = _ONE / (_ONE + e)
        left = u[i] < _ZERO
        z[i] = u[i] * (low + rise * (e * d if left else d) + odd * (f * d if left else -f * d))


@_exact
def _slopes(
    u: Floats,
    grad: Floats,
    g: np.float32,
    gate: Floats,
    rest: Floats,
    power: Floats,
    slope: Floats,
    turn: Floats,
) -> None:
    """grad dz/du = grad (w + v w') and, in `turn`, grad dz/d log g = grad u v w'."""
    low, rise, odd = gate[0], gate[1], gate[2]
    steep = rise + odd + odd
    for i in range(len(u)):
        e = rest[i] * power[i] + power[i]
        f = rest[i] * power[i] + (power[i] - _ONE)  # not e - 1, which cancels near u = 0
        d = _ONE / (_ONE + e)
        left = u[i] < _ZERO
        w = low + rise * (e * d if left else d) + odd * (f * d if left else -f * d)
        bump = g * u[i] * (steep * e * d * d)
        slope[i] = grad[i] * (w + bump)
        turn[i] = grad[i] * u[i] * bump


@_summing
def _total(x: Floats) -> np.float32:
    total = _ZERO
    for i in range(len(x)):
        total += x[i]
    return total


@compiled
def gate_rows(u: Floats, g: Floats, gate: Floats, z: Floats) -> None:
    """Write u w to z (M, L); gate is (low, rise, odd)."""
    rest, bits = np.empty(_BLOCK, np.float32), np.empty(_BLOCK, np.int32)
    power = bits.view(np.float32)
    for m in range(len(u)):
        for first in range(0, u.shape[1], _BLOCK):
            block = u[m, first : first + _BLOCK]
            n = len(block)
            _exponentials(block, g[m % len(g)], rest[:n], bits[:n])
            _values(block, gate, rest[:n], power[:n], z[m, first : first + n])


@compiled
def gate_slopes(
    u: Floats,
    grad: Floats,
    g: Floats,
    gate: Floats,
    slope: Floats,
    turned: NDArray[np.float64],
) -> None:
    """Write grad dz/du to slope (M, L), add <grad, dz/d log g> of each g to turned (G,)."""
    rest, bits = np.empty(_BLOCK, np.float32), np.empty(_BLOCK, np.int32)
    power, turn = bits.view(np.float32), np.empty(_BLOCK, np.float32)
    for m in range(len(u)):
        at = m % len(g)
        for first in range(0, u.shape[1], _BLOCK):
            block, back = u[m, first : first + _BLOCK], grad[m, first : first + _BLOCK]
            n = len(block)
            _exponentials(block, g[at], rest[:n], bits[:n])
            out = slope[m, first : first + n]
            _slopes(block, back, g[at], gate, rest[:n], power[:n], out, turn[:n])
            turned[at] += _total(turn[:n])
