r"""Scores of the regions of a network layer, computed by the layer itself.

Symbols: x (..., D) or (N, C, H, W); u units of the affine layer; pieces (c_r, d_r) of the
activation; P units in a pool's window; a (..., K, R) scores of the regions, for images
(N, C', H', W', R). Region order: piece by piece, and inside a piece unit by unit of the window; a
piece of slope 0 does not depend on the unit and is one region. Balestriero & Baraniuk 2019,
section 2. A convolution is run as such; its operator matrix is built by `matrices` only.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from probact.arrays import check_count
from probact.nn.affine.affine_maps import (
    affine_steps,
    apply_affine,
    input_width,
    layout,
    open_steps,
    output_width,
)
from probact.nn.affine.convex_pieces import Pieces

__all__ = ["LayerRegions"]


class LayerRegions(nn.Module):
    """a(x) of an affine `layer`, an activation's pieces, at most one pool, and a skip connection.

    Args:
        layer: affine module (see `affine_maps`); its parameters are shared, not copied.
        pieces: (c_r, d_r) of the activation.
        channel_pool: consecutive units, or channels, of one window.
        max_pool: spatial pool of an image; padding adds regions of score -inf.
        skip: affine module whose output is added to every region's score.
        input_shape: (D,) or (C, H, W) of one input, where the layer does not fix it.

    Raises:
        TypeError: a module that is not known to be affine.
        ValueError: pools that do not fit the layer.
    """

    def __init__(
        self,
        layer: nn.Module,
        pieces: Pieces,
        *,
        channel_pool: int | None = None,
        max_pool: nn.MaxPool2d | None = None,
        skip: nn.Module | None = None,
        input_shape: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        steps = affine_steps(layer)
        goes_in, comes_out = layout(steps)
        axes = len(input_shape) if isinstance(input_shape, tuple | list) else 0
        image = goes_in == "image" or max_pool is not None or axes == 3
        self.reads = "image" if goes_in == "any" and image else goes_in
        self.gives = self.reads if comes_out == "any" else comes_out
        width = output_width(steps)
        if channel_pool is not None and max_pool is not None:
            raise ValueError("give channel_pool or max_pool, not both")
        if channel_pool is not None and width is not None and width % channel_pool:
            raise ValueError(f"channel_pool must divide the {width} units, got {channel_pool}")
        if max_pool is not None and self.gives != "image":
            raise ValueError("max_pool needs a layer that gives images; use channel_pool")
        if skip is not None:
            affine_steps(skip, "skip")
        self.layer, self.pieces, self.skip = layer, pieces, skip
        self.channel_pool, self.max_pool = channel_pool, max_pool
        self.width = input_width(steps)
        self.input_shape = self._known_shape(input_shape)

    def _known_shape(self, given: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if given is None:
            return (self.width,) if self.reads == "vector" and self.width is not None else None
        if not isinstance(given, tuple | list):
            raise TypeError(f"input_shape must be a tuple of integers, got {given!r}")
        for size in given:
            check_count(size, "each entry of input_shape")
        axes = {"image": 3, "vector": 1}.get(self.reads)
        if axes is not None and len(given) != axes:
            wanted = "(C, H, W)" if axes == 3 else "(D,)"
            raise ValueError(f"input_shape must be {wanted}, got {given}")
        if self.width not in (None, given[0]):
            raise ValueError(f"input_shape must start with {self.width}, got {given}")
        return tuple(given)

    @property
    def num_regions(self) -> int:
        """R."""
        window = self.channel_pool or 1
        if self.max_pool is not None:
            rows, columns = _pair(self.max_pool.kernel_size)
            window = rows * columns
        return sum(1 if slope == 0.0 else window for slope, _ in self.pieces)

    def forward(self, x: Tensor) -> Tensor:
        self._check_input(x)
        return self._regions(x, constant=True)

    def matrices(self, input_shape: tuple[int, ...] | None = None) -> tuple[Tensor, Tensor]:
        """Slopes A (K, R, D) and offsets B (K, R) for inputs of one shape; K and D flattened.

        Regions that stand for a pool's padding have slope 0 and offset -inf.
        """
        shape = self.input_shape if input_shape is None else tuple(input_shape)
        if shape is None:
            raise ValueError(
                "the slopes depend on the size of the input: give input_shape, (C, H, W) of an "
                "image or (D,) of a vector"
            )
        like = next((p for p in self.parameters() if p.is_floating_point()), torch.empty(()))
        basis = torch.eye(math.prod(shape), dtype=like.dtype, device=like.device)
        self._check_input(basis.reshape(-1, *shape))
        linear = self._regions(basis.reshape(-1, *shape), constant=False)
        slopes = linear.flatten(1, -2).permute(1, 2, 0)  # (K, R, D)
        offsets = self._regions(basis.new_zeros(1, *shape), constant=True)
        return slopes, offsets.flatten(1, -2).squeeze(0)

    def _regions(self, x: Tensor, constant: bool) -> Tensor:
        """a(x), or its linear part, in which padding has score 0."""
        u = apply_affine(open_steps(self.layer), x, constant=constant)
        v, outside = self._windows(u)
        scores = []
        for slope, offset in self.pieces:
            piece = torch.zeros_like(v[..., :1]) if slope == 0.0 else slope * v
            if constant and outside is not None and slope != 0.0:
                piece = piece.masked_fill(outside, -math.inf)
            scores.append(piece + offset if constant else piece)
        a = torch.cat(scores, -1)
        if self.skip is None:
            return a
        added = apply_affine(open_steps(self.skip), x, constant=constant)
        if added.shape != a.shape[:-1]:
            raise ValueError(
                f"skip must give what the layer gives, shape {tuple(a.shape[:-1])}, got "
                f"{tuple(added.shape)}"
            )
        return a + added.unsqueeze(-1)

    def _windows(self, u: Tensor) -> tuple[Tensor, Tensor | None]:
        """Units in windows, (..., K, P) or (N, C, H', W', P); and which of these are padding."""
        if self.max_pool is not None:
            v = _spatial_windows(u, self.max_pool)
            if not any(_pair(self.max_pool.padding)):
                return v, None
            inside = _spatial_windows(torch.ones_like(u[:1, :1]), self.max_pool)
            return v, inside == 0
        if self.channel_pool is None:
            return u.unsqueeze(-1), None
        axis = 1 if self.gives == "image" else -1
        if u.shape[axis] % self.channel_pool:
            raise ValueError(
                f"channel_pool must divide the {u.shape[axis]} units, got {self.channel_pool}"
            )
        v = u.unflatten(axis, (-1, self.channel_pool))
        return (v.movedim(2, -1) if axis == 1 else v), None

    def _check_input(self, x: Tensor) -> None:
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise TypeError(f"x must be a floating-point tensor, got {_called(x)}")
        known, shape = self.input_shape, tuple(x.shape)
        if self.reads == "image":
            channels = self.width if self.input_shape is None else self.input_shape[0]
            if x.ndim != 4 or (channels is not None and x.shape[1] != channels):
                raise ValueError(f"x must be (N, {channels or 'C'}, H, W), got shape {shape}")
        elif x.ndim < 1 or (known is not None and x.shape[-1] != known[-1]):
            raise ValueError(f"x must be (..., {known[-1] if known else 'D'}), got shape {shape}")


def _spatial_windows(v: Tensor, pool: nn.MaxPool2d) -> Tensor:
    """(N, C, H', W', P) of an image v (N, C, H, W) padded with zeros; P row by row."""
    size, dilation = _pair(pool.kernel_size), _pair(pool.dilation)
    stride = _pair(pool.stride)
    rows, columns = _pair(pool.padding)
    padded = F.pad(v, (columns, columns, rows, rows))
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, size, strict=True)]
    if any(n < span for n, span in zip(padded.shape[-2:], spans, strict=True)):
        raise ValueError(f"max_pool of {size} does not fit images of shape {tuple(v.shape)}")
    out = [
        (n - span) // step + 1
        for n, span, step in zip(padded.shape[-2:], spans, stride, strict=True)
    ]
    patches = F.unfold(padded, size, dilation=dilation, stride=stride)
    shape = (v.shape[0], v.shape[1], math.prod(size), *out)
    return patches.reshape(shape).movedim(2, -1)


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _called(x: object) -> str:
    return f"dtype {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
