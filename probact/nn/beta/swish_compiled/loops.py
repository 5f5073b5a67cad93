r"""swish(u) = u sigmoid(eta u) and both its gradients in one pass over the input.

Symbols: u (M, L) input, one row after the other; eta (G,), row m has eta[m % G]; v = eta u;
s = sigmoid(v). With e = exp(-|v|), s = 1 / (1 + e) or e / (1 + e), and s' = e / (1 + e)^2.

exp is a polynomial on [-log(2) / 2, log(2) / 2] times a power of two (Cephes, `expf`), off by two
units in the last place; so written, the loops compile to vector instructions.
"""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from probact.compiled import compiled

__all__ = ["swish_rows", "swish_slopes"]

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

_BLOCK = 2048  # numbers whose exponentials stay in a cache of the first level
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
def _exponentials(u: Floats, eta: np.float32, fraction: Floats, bits: Ints) -> None:
    """exp(-|eta u|) as a fraction times the power of two of these bits."""
    for i in range(len(u)):
        x = max(-abs(eta * u[i]), _LEAST)
        k = np.floor(x * _LOG2E + _HALF)
        r = x - k * _LOG2_HIGH - k * _LOG2_LOW
        q = ((((_C0 * r + _C1) * r + _C2) * r + _C3) * r + _C4) * r + _C5
        fraction[i] = q * r * r + r + _ONE
        bits[i] = np.int32((k + _BIAS) * _UNIT)


@_exact
def _values(u: Floats, fraction: Floats, power: Floats, z: Floats) -> None:
    for i in range(len(u)):
        e = fraction[i] * power[i]
        d = _ONE / (_ONE + e)
        z[i] = u[i] * (e * d if u[i] < _ZERO else d)


@_exact
def _slopes(
    u: Floats,
    grad: Floats,
    eta: np.float32,
    fraction: Floats,
    power: Floats,
    slope: Floats,
    turn: Floats,
) -> None:
    """grad dz/du and, in `turn`, grad dz/d log eta = grad u v s'."""
    for i in range(len(u)):
        v = eta * u[i]
        e = fraction[i] * power[i]
        d = _ONE / (_ONE + e)
        s = e * d if u[i] < _ZERO else d
        bump = v * (e * d * d)
        slope[i] = grad[i] * (s + bump)
        turn[i] = grad[i] * u[i] * bump


@_summing
def _total(x: Floats) -> np.float32:
    total = _ZERO
    for i in range(len(x)):
        total += x[i]
    return total


@compiled
def swish_rows(u: Floats, eta: Floats, z: Floats) -> None:
    """Write swish(u) to z (M, L)."""
    fraction, bits = np.empty(_BLOCK, np.float32), np.empty(_BLOCK, np.int32)
    power = bits.view(np.float32)
    for m in range(len(u)):
        for first in range(0, u.shape[1], _BLOCK):
            block = u[m, first : first + _BLOCK]
            n = len(block)
            _exponentials(block, eta[m % len(eta)], fraction[:n], bits[:n])
            _values(block, fraction[:n], power[:n], z[m, first : first + n])


@compiled
def swish_slopes(
    u: Floats, grad: Floats, eta: Floats, slope: Floats, turned: NDArray[np.float64]
) -> None:
    """Write grad dz/du to slope (M, L), add <grad, dz/d log eta> of each eta to turned (G,)."""
    fraction, bits = np.empty(_BLOCK, np.float32), np.empty(_BLOCK, np.int32)
    power, turn = bits.view(np.float32), np.empty(_BLOCK, np.float32)
    for m in range(len(u)):
        at = m % len(eta)
        for first in range(0, u.shape[1], _BLOCK):
            block, back = u[m, first : first + _BLOCK], grad[m, first : first + _BLOCK]
            n = len(block)
            _exponentials(block, eta[at], fraction[:n], bits[:n])
            out = slope[m, first : first + n]
            _slopes(block, back, eta[at], fraction[:n], power[:n], out, turn[:n])
            turned[at] += _total(turn[:n])
