r"""swish(u) = u sigmoid(eta u), the soft ReLU, with a learned eta at nearly the price of SiLU.

Symbols: u (...) input; eta > 0 inverse temperature, anything that broadcasts against u; z output;
v = eta u. Balestriero & Baraniuk 2019, proposition 7: eta = beta / (1 - beta).

    dz/du = silu'(v),    dz/d log eta = u silu'(v) - z = u v sigmoid'(v)

One pass over the input gives both gradients: on the CPU, for float32 and one eta, or one a
channel, a compiled loop; elsewhere tensor operations. Only u is kept, no gate and no scaled copy.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from probact.nn.beta.swish_compiled.loops import swish_rows, swish_slopes

__all__ = ["swish"]

_SHORTEST_ROW = 64  # for the compiled loop, which has a cost for each row
_LOOP_THREADS = 2  # the loop runs on one thread; with more than these tensor operations are faster


def swish(u: Tensor, eta: Tensor) -> Tensor:
    """u sigmoid(eta u) (...); `F.silu` to the last bit at eta = 1. Twice differentiable.

    Args:
        u: (...) float32 or float64.
        eta: > 0, broadcasts against u, of its type and device.

    >>> swish(torch.tensor([-1.0, 2.0]), torch.tensor(1.0)) - F.silu(torch.tensor([-1.0, 2.0]))
    tensor([0., 0.])
    """
    # the compiler fuses the plain formula; transforms of torch.func differentiate it
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return F.silu(u * eta) / eta
    if not eta.requires_grad and not eta.ndim and u.is_cpu and eta.item() == 1.0:
        return F.silu(u)
    out: Tensor = _Swish.apply(u, eta)
    return out


class _Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, eta: Tensor) -> Tensor:
        ctx.save_for_backward(u, eta)
        if u.is_cpu and not eta.ndim and eta.item() == 1.0:
            return F.silu(u)
        rows = _as_rows(u, eta)
        if rows is None:
            return F.silu(u * eta, inplace=True).div_(eta)
        z = torch.empty_like(u)
        swish_rows(_numbers(u, rows), eta.detach().numpy().ravel(), _numbers(z, rows))
        return z

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        u, eta = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted
            return _differentiable(u, eta, grad, ctx.needs_input_grad)
        rows = _as_rows(u, eta) if grad.dtype == u.dtype else None
        if rows is not None:
            slope, turned = torch.empty_like(u), torch.zeros(eta.numel(), dtype=torch.float64)
            back = grad if grad.stride() == u.stride() else torch.empty_like(u).copy_(grad)
            flat = [_numbers(x, rows) for x in (u, back, slope)]
            swish_slopes(*flat[:2], eta.detach().numpy().ravel(), flat[2], turned.numpy())
            return slope, turned.reshape(eta.shape).to(eta.dtype) / eta
        v = u * eta
        slope = torch.ops.aten.silu_backward(grad, v)
        if not ctx.needs_input_grad[1]:
            return slope, None
        turned = torch.addcmul(u * slope, grad, F.silu(v) / eta, value=-1.0)
        return slope, turned.sum_to_size(eta.shape) / eta


def _differentiable(
    u: Tensor, eta: Tensor, grad: Tensor, needs: tuple[bool, ...]
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients that can be differentiated again, of those of u and eta that need one."""
    inputs = [x for x, need in zip((u, eta), needs, strict=True) if need]
    once = iter(torch.autograd.grad(F.silu(u * eta) / eta, inputs, grad, create_graph=True))
    first, second = (next(once) if need else None for need in needs)
    return first, second


def _as_rows(u: Tensor, eta: Tensor) -> tuple[int, int] | None:
    """Shape (M, L) of u in memory with one eta a row, in turn; None if the loop cannot serve."""
    if not u.is_cpu or u.dtype != torch.float32 or eta.dtype != torch.float32 or not u.numel():
        return None
    if torch.get_num_threads() > _LOOP_THREADS:
        return None
    if eta.numel() == 1:
        channels_last = u.ndim == 4 and u.is_contiguous(memory_format=torch.channels_last)
        return (1, u.numel()) if u.is_contiguous() or channels_last else None
    length = math.prod(u.shape[2:])
    one_a_channel = (
        u.ndim >= 2
        and eta.ndim in (u.ndim - 1, u.ndim)
        and eta.shape[1 - u.ndim] == u.shape[1] == eta.numel()
    )
    if one_a_channel and u.is_contiguous() and length >= _SHORTEST_ROW:
        return u.numel() // length, length
    return None


def _numbers(x: Tensor, rows: tuple[int, int]) -> Any:
    """The memory of x as an array (M, L)."""
    return x.detach().as_strided(rows, (rows[1], 1)).numpy()
