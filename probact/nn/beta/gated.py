r"""Soft gates with a learned steepness, at nearly the price of SiLU.

Symbols: u (...) input; g > 0 steepness, anything that broadcasts against u; v = g u; z = u w the
output, with the weight w(v) = low + rise sigmoid(v) + odd tanh(v / 2). Swish has (low, rise, odd)
= (0, 1, 0) and g = eta = beta / (1 - beta) (Balestriero & Baraniuk 2019, proposition 7), the soft
absolute value (0, 0, 1) and g = 2 eta.

    dz/du = w + v w',    dz/d log g = u v w'

One pass over the input gives both gradients: on the CPU, for float32 and one g, or one a channel,
a compiled loop; elsewhere tensor operations. The loop keeps only u, no gate and no scaled copy.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from probact.nn.beta.gate_compiled.loops import gate_rows, gate_slopes

__all__ = ["SWISH", "Gate", "gated"]

_SHORTEST_ROW = 64  # for the compiled loop, which has a cost for each row
_LOOP_THREADS = 2  # the loop runs on one thread; with more than these tensor operations are faster


class Gate(NamedTuple):
    """The weight of u, low + rise sigmoid(v) + odd tanh(v / 2)."""

    low: float
    rise: float
    odd: float


SWISH = Gate(0.0, 1.0, 0.0)


def gated(u: Tensor, g: Tensor, gate: Gate = SWISH) -> Tensor:
    """u w(g u) (...); `F.silu` to the last bit for a swish with g = 1. Twice differentiable.

    Args:
        u: (...) float32 or float64.
        g: > 0, broadcasts against u, of its type and device.

    >>> gated(torch.tensor([-1.0, 2.0]), torch.tensor(1.0)) - F.silu(torch.tensor([-1.0, 2.0]))
    tensor([0., 0.])
    """
    # the compiler fuses the plain formula; transforms of torch.func differentiate it
    traced = torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
    if traced or not all(type(x) in (Tensor, nn.Parameter) for x in (u, g)):  # fake tensors
        return _plain(u, g, gate)
    if gate == SWISH and not g.requires_grad and _is_one(u, g):
        return F.silu(u)
    rows = _as_rows(u, g)
    if rows is None:
        return _plain(u, g, gate)
    out: Tensor = _Gated.apply(u, g, gate, rows)
    return out


def _plain(u: Tensor, g: Tensor, gate: Gate) -> Tensor:
    """z by tensor operations, which autograd differentiates."""
    if gate == SWISH:
        return F.silu(u * g) / g
    low, rise, odd = gate
    weight = low + rise * torch.sigmoid(u * g) if rise else low
    return u * (weight + odd * torch.tanh(u * g / 2.0) if odd else weight)


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, g: Tensor, gate: Gate, rows: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(u, g)
        ctx.gate, ctx.rows = gate, rows
        if gate == SWISH and _is_one(u, g):
            return F.silu(u)
        z = torch.empty_like(u)
        gate_rows(_numbers(u, rows), _flat(g), np.array(gate, np.float32), _numbers(z, rows))
        return z

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        u, g = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted
            needs = ctx.needs_input_grad[:2]
            inputs = [x for x, need in zip((u, g), needs, strict=True) if need]
            z = _plain(u, g, ctx.gate)
            once = iter(torch.autograd.grad(z, inputs, grad, create_graph=True))
            first, second = (next(once) if need else None for need in needs)
            return first, second, None, None
        slope, turned = torch.empty_like(u), torch.zeros(g.numel(), dtype=torch.float64)
        back = grad if grad.stride() == u.stride() else torch.empty_like(u).copy_(grad)
        before, after, out = (_numbers(x, ctx.rows) for x in (u, back, slope))
        gate = np.array(ctx.gate, np.float32)
        gate_slopes(before, after, _flat(g), gate, out, turned.numpy())
        return slope, turned.reshape(g.shape).to(g.dtype) / g, None, None


def _is_one(u: Tensor, g: Tensor) -> bool:
    """Whether g is the number one, of which only the CPU can be asked at no cost."""
    return u.is_cpu and not g.ndim and g.item() == 1.0


def _as_rows(u: Tensor, g: Tensor) -> tuple[int, int] | None:
    """Shape (M, L) of u in memory with one g a row, in turn; None if the loop cannot serve."""
    if not u.is_cpu or u.dtype != torch.float32 or g.dtype != torch.float32 or not u.numel():
        return None
    if torch.get_num_threads() > _LOOP_THREADS:
        return None
    if g.numel() == 1 and g.ndim <= u.ndim:
        channels_last = u.ndim == 4 and u.is_contiguous(memory_format=torch.channels_last)
        return (1, u.numel()) if u.is_contiguous() or channels_last else None
    length = math.prod(u.shape[2:])
    one_a_channel = (
        u.ndim >= 2
        and g.ndim in (u.ndim - 1, u.ndim)
        and g.shape[1 - u.ndim] == u.shape[1] == g.numel()
    )
    if one_a_channel and u.is_contiguous() and length >= _SHORTEST_ROW:
        return u.numel() // length, length
    return None


def _flat(g: Tensor) -> Any:
    return g.detach().numpy().ravel()


def _numbers(x: Tensor, rows: tuple[int, int]) -> Any:
    """The memory of x as an array (M, L)."""
    return x.detach().as_strided(rows, (rows[1], 1)).numpy()
