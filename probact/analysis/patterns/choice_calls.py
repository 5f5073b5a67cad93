r"""Calls that choose: max-pooling and the maximum along axes, as in maxout.

Symbols: a unit of the output looks at competitors x_1, .., x_K and gives x_s, s the state. In a
pooling the state is kept as the place of x_s in the plane (D, H, W laid flat), as torch gives it;
along axes it is the index. Balestriero & Baraniuk, "From Hard to Soft", ICLR 2019, eq. (1)-(2).
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["AxisChoice", "Pooling", "Windows", "axis_choice", "pooling"]


class Windows(NamedTuple):
    """Windows of a pooling: of each unit (units,) the places (units, K) in the plane, or -1.

    -1 stands for padding, and for the end of a window that is shorter than the longest.
    """

    places: Tensor

    def codes(self, state: Tensor) -> Tensor:
        """Number of the chosen competitor in its window, from its place (N, C, *units)."""
        flat = state.reshape(-1, 1, len(self.places), 1)
        return (flat == self.places.to(state.device)).byte().argmax(-1).reshape(state.shape)

    def state(self, codes: Tensor) -> Tensor:
        """Place of the competitor of that number; inverse of `codes`."""
        flat = codes.reshape(-1, len(self.places), 1)
        places = self.places.to(codes.device).expand(len(flat), -1, -1)
        return places.gather(2, flat).reshape(codes.shape)


class Pooling(NamedTuple):
    """A max-pooling over the last `dims` axes of x; `pair` if the call gives indices as well."""

    x: Tensor
    dims: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    paddings: tuple[int, ...]
    dilations: tuple[int, ...]
    ceil_mode: bool
    pair: bool
    output: tuple[int, ...] | None = None  # of an adaptive pooling

    def recorded(self) -> tuple[Tensor, Any]:
        """The state, places in the plane, and what the call gives."""
        if self.output is not None:
            pool = getattr(F, f"adaptive_max_pool{self.dims}d_with_indices")
            y, state = pool(self.x, self.output)
        else:
            pool = getattr(F, f"max_pool{self.dims}d_with_indices")
            y, state = pool(
                self.x, self.sizes, self.strides, self.paddings, self.dilations, self.ceil_mode
            )
        return state, (y, state) if self.pair else y

    def result(self, state: Tensor) -> Any:
        """What the call gives where the competitors of that state are chosen."""
        plane = self.x.flatten(-self.dims)  # (.., places)
        chosen = state.flatten(-self.dims).expand(*plane.shape[:-1], -1)
        y = plane.gather(-1, chosen).reshape(*plane.shape[:-1], *state.shape[-self.dims :])
        return (y, state.expand_as(y)) if self.pair else y

    def scores(self, state: Tensor) -> Tensor:
        """x_j - x_s (.., *units, K), zero where the window has no competitor j."""
        units = state.shape[-self.dims :]
        places = self.windows(units).places.to(self.x.device)  # (units, K)
        plane = self.x.flatten(-self.dims)
        y = self.result(state)
        y = (y[0] if self.pair else y).flatten(-self.dims).unsqueeze(-1)
        competitors = plane[..., places.clamp_min(0)]  # (.., units, K)
        gaps = torch.where(places >= 0, competitors - y, 0.0)
        return gaps.reshape(*plane.shape[:-1], *units, places.shape[1])

    @property
    def num_choices(self) -> int:
        """K of the longest window."""
        if self.output is None:
            return math.prod(self.sizes)
        plane = self.x.shape[-self.dims :]
        sides = (self._axis(i, plane[i], u)[0].shape[1] for i, u in enumerate(self.output))
        return math.prod(sides)

    def windows(self, units: torch.Size) -> Windows:
        """Places that the units look at."""
        plane = self.x.shape[-self.dims :]
        places = torch.zeros(1, 1, dtype=torch.int64)
        valid = torch.ones(1, 1, dtype=torch.bool)
        for axis, length in enumerate(plane):
            at, inside = self._axis(axis, length, units[axis])  # (units, K) of one axis
            places = places[:, None, :, None] * length + at[None, :, None, :]
            valid = valid[:, None, :, None] & inside[None, :, None, :]
            shape = (places.shape[0] * places.shape[1], -1)
            places, valid = places.reshape(shape), valid.reshape(shape)
        return Windows(torch.where(valid, places, -1))

    def _axis(self, axis: int, length: int, units: int) -> tuple[Tensor, Tensor]:
        unit = torch.arange(units)[:, None]
        if self.output is not None:
            start = unit * length // units
            stop = -((-(unit + 1) * length) // units)
            at = start + torch.arange(int((stop - start).max()))
            return at, at < stop
        start = unit * self.strides[axis] - self.paddings[axis]
        at = start + torch.arange(self.sizes[axis]) * self.dilations[axis]
        return at, (at >= 0) & (at < length)


class AxisChoice(NamedTuple):
    """A maximum, or minimum, over the axes `dims` of x; `pair` if the call gives indices too."""

    x: Tensor
    dims: tuple[int, ...]
    keepdim: bool
    largest: bool
    pair: bool

    def recorded(self) -> tuple[Tensor, Any]:
        """The state, an index along the axes laid flat, and what the call gives."""
        along = self._along()
        state = along.argmax(-1) if self.largest else along.argmin(-1)
        return state, self.result(state)

    def result(self, state: Tensor) -> Any:
        """What the call gives where the competitors of that state are chosen."""
        along = self._along()
        y = along.gather(-1, state.expand(along.shape[:-1]).unsqueeze(-1)).squeeze(-1)
        if self.keepdim:
            for axis in sorted(self.dims):
                y, state = y.unsqueeze(axis), state.unsqueeze(axis)
        if not self.pair:
            return y
        kind = torch.return_types.max if self.largest else torch.return_types.min
        return kind((y, state.expand_as(y)))

    def scores(self, state: Tensor) -> Tensor:
        """x_j - x_s (.., K), of the other sign for a minimum."""
        along = self._along()
        chosen = along.gather(-1, state.expand(along.shape[:-1]).unsqueeze(-1))
        return along - chosen if self.largest else chosen - along

    def windows(self, units: torch.Size) -> None:
        """None: the state is the number of the competitor."""

    @property
    def num_choices(self) -> int:
        """K."""
        return math.prod(self.x.shape[axis] for axis in self.dims)

    def _along(self) -> Tensor:
        """x (.., K) with the axes at the end, laid flat."""
        kept = [axis for axis in range(self.x.ndim) if axis not in self.dims]
        shape = [self.x.shape[axis] for axis in kept]
        return self.x.permute(*kept, *sorted(self.dims)).reshape(*shape, -1)


def _per_axis(value: Any, dims: int) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, tuple | list) else (value,)
    return tuple(int(v) for v in (values * dims if len(values) == 1 else values))


def pooling(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Pooling:
    """Read a call of (adaptive_)max_poolNd(_with_indices)."""
    dims = int(name[name.index("pool") + 4])
    if name.startswith("adaptive"):
        names: tuple[str, ...] = ("input", "output_size", "return_indices")
    else:
        names = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode")
        names += ("return_indices",)
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    x: Tensor = given["input"]
    pair = "indices" in name or bool(given.get("return_indices", False))
    if name.startswith("adaptive"):
        sizes = given["output_size"]
        sizes = sizes if isinstance(sizes, tuple | list) else (sizes,) * dims
        plane = x.shape[-dims:]
        output = tuple(p if s is None else int(s) for s, p in zip(sizes, plane, strict=True))
        one = (1,) * dims
        return Pooling(x, dims, one, one, one, one, False, pair, output)
    sizes = _per_axis(given["kernel_size"], dims)
    stride = given.get("stride")
    strides = _per_axis(stride, dims) if stride not in (None, (), []) else sizes
    paddings = _per_axis(given.get("padding", 0), dims)
    dilations = _per_axis(given.get("dilation", 1), dims)
    ceil_mode = bool(given.get("ceil_mode", False))
    return Pooling(x, dims, sizes, strides, paddings, dilations, ceil_mode, pair)


def axis_choice(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AxisChoice:
    """Read a call of max, min, amax or amin that is not one of two tensors."""
    given = {**dict(zip(("input", "dim", "keepdim"), args, strict=False)), **kwargs}
    x: Tensor = given["input"]
    if "axis" in given:
        given["dim"] = given.pop("axis")
    dim = given.get("dim", ())
    axes = tuple(dim) if isinstance(dim, tuple | list) else (dim,)
    axes = tuple(axis % x.ndim for axis in axes) or tuple(range(x.ndim))
    pair = name in ("max", "min") and "dim" in given
    largest = name in ("max", "amax")
    return AxisChoice(x, axes, bool(given.get("keepdim", False)), largest, pair)
