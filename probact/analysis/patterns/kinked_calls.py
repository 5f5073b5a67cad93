r"""Elementwise piecewise-linear calls: which pieces meet where.

Symbols: x the input of a call; thresholds t_1 <= t_2; state s in {0, .., T}, the number of
thresholds below x; on the piece s the call is the affine map slope_s x + offset_s. ReLU has the
threshold 0 and the pieces (0, 0) and (1, 0); a clamp has two thresholds and three pieces.
Balestriero & Baraniuk, "From Hard to Soft", ICLR 2019, eq. (1)-(2).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["KINKED", "Comparison", "Kinked", "comparison"]

Number = float | Tensor
Piece = tuple[Number, Number]
_ZERO: Piece = (0.0, 0.0)
_SAME: Piece = (1.0, 0.0)


class Kinked(NamedTuple):
    """A call on x with T = 1 or 2 thresholds and T + 1 pieces (slope, offset)."""

    x: Tensor
    thresholds: tuple[Number, ...]
    pieces: tuple[Piece, ...]
    inplace: bool = False

    @property
    def num_choices(self) -> int:
        """T + 1."""
        return len(self.pieces)

    def state(self) -> Tensor:
        """Thresholds below x: booleans for T = 1, else uint8."""
        above = [self.x > t for t in self.thresholds]
        return above[0] if len(above) == 1 else above[0].byte() + above[1].byte()

    def result(self, state: Tensor) -> Tensor:
        """The value on the pieces of that state, affine in x."""
        last = len(self.pieces) - 1
        y = self._piece(0)
        for s in range(1, last + 1):
            y = torch.where(state >= s if last > 1 else state, self._piece(s), y)
        return y

    def scores(self, state: Tensor) -> Tensor:
        """x - t: as x for T = 1, with one more axis of length T for two thresholds."""
        x = self.x.clone() if self.inplace else self.x
        found = [x if isinstance(t, float) and t == 0.0 else x - t for t in self.thresholds]
        return found[0] if len(found) == 1 else torch.stack(found, -1)

    def _piece(self, s: int) -> Tensor:
        slope, offset = self.pieces[s]
        flat = isinstance(slope, float) and slope == 0.0
        if flat and isinstance(offset, Tensor):
            return offset
        if flat:
            return self.x.new_full((), float(offset))
        y = self.x if isinstance(slope, float) and slope == 1.0 else self.x * slope
        return y if isinstance(offset, float) and offset == 0.0 else y + offset


class Comparison(NamedTuple):
    """A call such as x > 0, which a network multiplies with or chooses by."""

    low: Number
    high: Number
    strict: bool

    @property
    def num_choices(self) -> int:
        """2."""
        return 2

    def state(self) -> Tensor:
        """What the call gives: low < high, or low <= high."""
        found = self.low < self.high if self.strict else self.low <= self.high
        return torch.as_tensor(found)

    def result(self, state: Tensor) -> Tensor:
        """The state itself."""
        return state

    def scores(self, state: Tensor) -> Tensor:
        """high - low."""
        return torch.as_tensor(self.high - self.low)


def _number(value: Any) -> Number:
    return value if isinstance(value, Tensor) else float(value)


def _relu(input: Tensor, inplace: bool = False) -> Kinked:
    return Kinked(input, (0.0,), (_ZERO, _SAME), inplace)


def _abs(input: Tensor) -> Kinked:
    return Kinked(input, (0.0,), ((-1.0, 0.0), _SAME))


def _leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Kinked:
    return Kinked(input, (0.0,), ((float(negative_slope), 0.0), _SAME), inplace)


def _rrelu(
    input: Tensor,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Kinked:
    if training:
        raise ValueError("rrelu draws its slopes in training mode; call net.eval()")
    return _leaky_relu(input, (lower + upper) / 2, inplace)


def _prelu(input: Tensor, weight: Tensor) -> Kinked:
    if weight.numel() > 1 and input.ndim > 1:  # one slope per channel, on axis 1
        weight = weight.reshape(-1, *[1] * (input.ndim - 2))
    return Kinked(input, (0.0,), ((weight, 0.0), _SAME))


def _hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Kinked:
    low, high = float(min_val), float(max_val)
    return Kinked(input, (low, high), ((0.0, low), _SAME, (0.0, high)), inplace)


def _relu6(input: Tensor, inplace: bool = False) -> Kinked:
    return _hardtanh(input, 0.0, 6.0, inplace)


def _hardsigmoid(input: Tensor, inplace: bool = False) -> Kinked:
    return Kinked(input, (-3.0, 3.0), (_ZERO, (1 / 6, 0.5), (0.0, 1.0)), inplace)


def _threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Kinked:
    return Kinked(input, (float(threshold),), ((0.0, float(value)), _SAME), inplace)


def _softshrink(input: Tensor, lambd: float = 0.5) -> Kinked:
    lambd = float(lambd)
    return Kinked(input, (-lambd, lambd), ((1.0, lambd), _ZERO, (1.0, -lambd)))


def _hardshrink(input: Tensor, lambd: float = 0.5) -> Kinked:
    return Kinked(input, (-float(lambd), float(lambd)), (_SAME, _ZERO, _SAME))


def _clamp_min(input: Tensor, min: Any, *, out: Any = None) -> Kinked:
    low = _number(min)
    return Kinked(input, (low,), ((0.0, low), _SAME))


def _clamp_max(input: Tensor, max: Any, *, out: Any = None) -> Kinked:
    high = _number(max)
    return Kinked(input, (high,), (_SAME, (0.0, high)))


def _clamp(input: Tensor, min: Any = None, max: Any = None, *, out: Any = None) -> Kinked:
    if max is None:
        return _clamp_min(input, min)
    if min is None:
        return _clamp_max(input, max)
    if isinstance(min, Tensor) or isinstance(max, Tensor):
        raise ValueError(
            "clamp between two tensors has no recorded gate; write minimum(maximum(x, min), max)"
        )
    if min > max:
        raise ValueError(f"clamp needs min <= max for its pieces, got min {min} and max {max}")
    return _hardtanh(input, min, max)


def _maximum(input: Tensor, other: Tensor, *, out: Any = None) -> Kinked:
    return _clamp_min(input, other)


def _minimum(input: Tensor, other: Tensor, *, out: Any = None) -> Kinked:
    return _clamp_max(input, other)


# by name of the function; in place under the name with _ at its end
KINKED: dict[str, Callable[..., Kinked]] = {
    "relu": _relu,
    "abs": _abs,
    "absolute": _abs,
    "leaky_relu": _leaky_relu,
    "rrelu": _rrelu,
    "prelu": _prelu,
    "relu6": _relu6,
    "hardtanh": _hardtanh,
    "hardsigmoid": _hardsigmoid,
    "threshold": _threshold,
    "softshrink": _softshrink,
    "hardshrink": _hardshrink,
    "clamp": _clamp,
    "clip": _clamp,
    "clamp_min": _clamp_min,
    "clamp_max": _clamp_max,
    "maximum": _maximum,
    "minimum": _minimum,
    "fmax": _maximum,
    "fmin": _minimum,
}


def comparison(name: str, input: Any, other: Any) -> Comparison:
    """The call input > other and its like: gt, ge, lt, le."""
    low, high = (other, input) if name in ("gt", "ge") else (input, other)
    return Comparison(low, high, strict=name in ("gt", "lt"))
