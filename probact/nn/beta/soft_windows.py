r"""Windows of a pooling, and the softmax over each without a copy of the windows.

Symbols: u (..., H, W) input; windows of kh x kw numbers at (H', W') places; m (..., H', W') the
largest of each window; t_i = softmax(eta u)_i over a window's numbers; z = sum_i t_i u_i. With
d_i = u_i - z,

    dz/du_i = t_i (1 + eta d_i),    dz/d eta = sum_i t_i d_i^2.

A window's i-th numbers over all places are one strided view of the padded input, so sums run over
kh kw views and memory is that of a few outputs. Exponents are differences to m: nothing overflows.
"""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Windows", "soft_max_pool", "window_free_energy", "window_probability"]

Pair = tuple[int, int]
_BLOCK = 1 << 17  # numbers whose intermediate results stay in a cache of the second level


class Windows(NamedTuple):
    """Shape of the windows, (rows, columns) each, as `F.max_pool2d` reads it."""

    kernel_size: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    ceil_mode: bool

    def places(self, height: int, width: int) -> Pair:
        """(H', W') for an input of (height, width); no window starts right of it."""
        rows, columns = (self._places(size, axis) for axis, size in enumerate((height, width)))
        return rows, columns

    def _places(self, size: int, axis: int) -> int:
        stride, pad = self.stride[axis], self.padding[axis]
        reach = self.dilation[axis] * (self.kernel_size[axis] - 1) + 1
        free = size + 2 * pad - reach
        if self.ceil_mode:
            count = -(-free // stride) + 1
            return count - 1 if (count - 1) * stride >= size + pad else count
        return free // stride + 1

    def padded(self, u: Tensor) -> Tensor:
        """u with a margin so low that it has no weight, where windows reach beyond it."""
        (top, left), size = self.padding, u.shape[-2:]
        needed = [
            (count - 1) * s + d * (k - 1) + 1
            for count, k, s, d in zip(
                self.places(*size), self.kernel_size, self.stride, self.dilation, strict=True
            )
        ]
        bottom, right = max(0, needed[0] - top - size[0]), max(0, needed[1] - left - size[1])
        if not (top or left or bottom or right):
            return u
        return F.pad(u, (left, right, top, bottom), value=_lowest(u))

    def views(self, padded: Tensor, places: Pair) -> Iterator[Tensor]:
        """The i-th number of every window (..., H', W'), i over a window's rows and columns."""
        (rows, columns), (down, across) = places, self.stride
        for y in range(0, self.kernel_size[0] * self.dilation[0], self.dilation[0]):
            for x in range(0, self.kernel_size[1] * self.dilation[1], self.dilation[1]):
                last_y, last_x = y + (rows - 1) * down + 1, x + (columns - 1) * across + 1
                yield padded[..., y:last_y:down, x:last_x:across]


def _lowest(u: Tensor) -> float:
    # finite, since 0 * inf is no number; a quarter, so that differences stay finite
    return torch.finfo(u.dtype).min / 4.0


def soft_max_pool(
    u: Tensor, eta: Tensor, windows: Windows, *, detach_gate: bool = False
) -> Tensor:
    """z (..., H', W'), twice differentiable.

    Args:
        u: (..., H, W) float32 or float64.
        eta: > 0, broadcasts against u with H = W = 1.
        windows: their shape.
        detach_gate: no gradient through t to u.
    """
    if detach_gate:
        return _gated(u, eta, windows)
    # the compiler fuses the plain formula; transforms of torch.func differentiate it
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return _plain(u, eta, windows)
    out: Tensor = _SoftMaxPool.apply(u, eta, windows)
    return out


def _largest(padded: Tensor, windows: Windows, places: Pair) -> Tensor:
    views = windows.views(padded.detach(), places)
    largest = next(views)
    for view in views:
        largest = torch.maximum(largest, view)
    return largest


def _terms(u: Tensor, eta: Tensor, windows: Windows) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """m, gaps u_i - m and weights exp(eta (u_i - m)), each (..., H', W'); zeros in the margin."""
    places, padded = windows.places(*u.shape[-2:]), windows.padded(u)
    m = _largest(padded, windows, places)
    gaps, weights = [], []
    for view in windows.views(padded, places):
        gap, absent = view - m, None
        if padded is not u:  # whose gaps have squares that overflow
            absent = view.detach() <= _lowest(u)
            gap = gap.masked_fill(absent, 0.0)
        weight = torch.exp(eta * gap)
        gaps.append(gap)
        weights.append(weight if absent is None else weight.masked_fill(absent, 0.0))
    return m, gaps, weights


def _plain(u: Tensor, eta: Tensor, windows: Windows) -> Tensor:
    """m + sum_i e_i (u_i - m) / sum_i e_i, e_i = exp(eta (u_i - m)); constant in m."""
    m, gaps, weights = _terms(u, eta, windows)
    total = functools.reduce(torch.add, weights)
    return m + sum(w * gap for w, gap in zip(weights, gaps, strict=True)) / total


def _gated(u: Tensor, eta: Tensor, windows: Windows) -> Tensor:
    """m + sum_i t_i (u_i - m), t of a detached u; the t_i sum to one, so m has no gradient."""
    m, _, weights = _terms(u.detach(), eta, windows)
    gaps = _terms(u, eta.detach(), windows)[1]
    total = functools.reduce(torch.add, weights)
    return m + sum(w * gap for w, gap in zip(weights, gaps, strict=True)) / total


def window_probability(u: Tensor, eta: Tensor, windows: Windows) -> Tensor:
    """t (..., H', W', kh kw); a margin's numbers have weight zero."""
    weights = torch.stack(_terms(u, eta, windows)[2], -1)
    return weights / weights.sum(-1, keepdim=True)


def window_free_energy(u: Tensor, eta: Tensor, windows: Windows) -> Tensor:
    """logsumexp(eta u_i) / eta (..., H', W'), whose gradient is t."""
    m, _, weights = _terms(u, eta, windows)
    return m + functools.reduce(torch.add, weights).log() / eta


class _SoftMaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, eta: Tensor, windows: Windows) -> Tensor:
        parts = [_pooled(block, eta, windows) for block in u.split(_block_size(u))]
        z, base = (torch.cat(part) for part in zip(*parts, strict=True))
        ctx.windows = windows
        ctx.save_for_backward(u, eta, z, base)
        return z

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        u, eta, z, base = ctx.saved_tensors
        needs = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():  # a second derivative is wanted
            inputs = [x for x, need in zip((u, eta), needs, strict=True) if need]
            out = _plain(u, eta, ctx.windows)
            found = iter(torch.autograd.grad(out, inputs, grad, create_graph=True))
            first, second = (next(found) if need else None for need in needs)
            return first, second, None
        slope = torch.empty_like(u)
        moved = torch.zeros_like(eta) if needs[1] else None
        blocks = [x.split(_block_size(u)) for x in (u, z, base, grad, slope)]
        for block_u, block_z, block_base, pull, into in zip(*blocks, strict=True):
            variance = _pool_gradients(
                block_u, block_z, block_base, pull, into, eta, ctx.windows, needs[1]
            )
            if moved is not None:
                moved += variance.mul_(pull).sum_to_size(eta.shape)
        return slope, moved, None


def _block_size(u: Tensor) -> int:
    """Rows of the first axis whose intermediate results stay in a CPU's cache."""
    if not u.is_cpu or u.ndim < 4 or not len(u):
        return max(1, len(u))
    return max(1, _BLOCK // max(1, u[0].numel()))


def _pooled(u: Tensor, eta: Tensor, windows: Windows) -> tuple[Tensor, Tensor]:
    """z and base (..., H', W'), with which t_i = exp(eta (u_i - z) + base)."""
    places, padded = windows.places(*u.shape[-2:]), windows.padded(u)
    m = _largest(padded, windows, places)
    total, weighted = torch.zeros_like(m), torch.zeros_like(m)
    for view in windows.views(padded, places):
        gap = view - m
        weight = (gap * eta).exp_()
        total += weight
        weighted.addcmul_(weight, gap)
    shift = weighted.div_(total)
    base = (shift * eta).sub_(total.log_())
    return shift.add_(m), base


def _pool_gradients(
    u: Tensor,
    z: Tensor,
    base: Tensor,
    grad: Tensor,
    slope: Tensor,
    eta: Tensor,
    windows: Windows,
    learned: bool,
) -> Tensor:
    """Write grad dz/du into slope; Var_t(u) (..., H', W'), zeros unless eta is learned."""
    places, padded = windows.places(*u.shape[-2:]), windows.padded(u)
    total, variance = torch.zeros_like(padded), torch.zeros_like(z)
    for view, into in zip(
        windows.views(padded, places), windows.views(total, places), strict=True
    ):
        gap = view - z
        scaled = gap * eta
        t = (scaled + base).exp_()
        if learned:
            variance.addcmul_(gap * t, gap)
        into += t.mul_(scaled.add_(1.0)).mul_(grad)
    (top, left), (height, width) = windows.padding, u.shape[-2:]
    slope.copy_(total[..., top : top + height, left : left + width])
    return variance
