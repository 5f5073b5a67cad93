r"""Reparameterised draws from the von Mises-Fisher law: pathwise gradients in mu and kappa.

The rejection sampler is not differentiated. On the axis the velocity of the quantile map
is unique,

    dt/dkappa = tau(t) = (1/f(t)) int_t^1 (s - A) f(s) ds,  the Stein kernel of the law of t,

and with g = tau / (1 - t^2), an entire function of t, dx/dkappa = g (mu - t x). For mu the minimal
rotation dx = t dmu - <dmu, x> mu keeps the law (equivariance). No 1/sqrt(1-t^2), no kept graph.
g is a 24-node Gauss-Legendre rule over the smaller tail: relative error 2e-7 at d = 4, below 1e-10
elsewhere. Gradients are once differentiable.
"""

import functools
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor
from torch.autograd.function import once_differentiable

from probact.distributions.sphere_sampling import (
    PolarPlan,
    lift_to_sphere,
    polar_plan,
    sample_polar,
)
from probact.special import bessel_deficit, widen

__all__ = ["gauss_legendre", "rsample_von_mises_fisher", "stein_ratio"]

_NODES = 24
_ROWS = 2048  # points whose nodes stay in cache on a CPU


def rsample_von_mises_fisher(
    mu: Tensor, kappa: Tensor, sample_shape: tuple[int, ...], generator: Generator | None
) -> Tensor:
    """Draws (*sample_shape, *batch, d) for mu (..., d), kappa (...), differentiable in both."""
    batch = torch.broadcast_shapes(mu.shape[:-1], kappa.shape)
    out: Tensor = _RSample.apply(mu, kappa, (*sample_shape, *batch), generator)
    return out


class _RSample(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, mu: Tensor, kappa: Tensor, shape: tuple[int, ...], generator: Generator | None
    ) -> Tensor:
        wide = widen(kappa)
        dim = mu.shape[-1]
        plan = polar_plan(wide, dim) if dim > 3 else None
        v = sample_polar(wide, dim, shape, plan, generator)
        unit = mu / torch.linalg.vector_norm(mu, dim=-1, keepdim=True)  # exact, not to 1e-6
        x = lift_to_sphere(unit, v, shape, generator)
        ctx.save_for_backward(x, mu, kappa, v, *(plan or ()))
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, mu, kappa, v, *plan = ctx.saved_tensors
        t = (1.0 - v).to(mu.dtype).unsqueeze(-1)
        along_mu = (grad * mu).sum(-1, keepdim=True)
        grad_mu = grad_kappa = None
        if ctx.needs_input_grad[0]:
            grad_mu = (t * grad - along_mu * x).sum_to_size(mu.shape)
        if ctx.needs_input_grad[1]:
            along_x = (grad * x).sum(-1, keepdim=True)
            wide = kappa.to(v.dtype)
            g = stein_ratio(v, wide, mu.shape[-1], PolarPlan(*plan) if plan else None)
            grad_kappa = g.to(mu.dtype) * (along_mu - t * along_x).squeeze(-1)
            grad_kappa = grad_kappa.sum_to_size(kappa.shape).to(kappa.dtype)
        return grad_mu, grad_kappa, None, None


def stein_ratio(v: Tensor, kappa: Tensor, dim: int, plan: PolarPlan | None) -> Tensor:
    """g = (dt/dkappa) / (1 - t^2) at t = 1 - v, shape of v; 1/(dim-1) at kappa = 0."""
    v, kappa, one_minus_a = torch.broadcast_tensors(v, kappa, bessel_deficit(kappa, dim))
    lower = v < one_minus_a  # integrate towards v = 0, else towards v = 2
    if dim == 2:
        return _stein_ratio_circle(v, kappa, one_minus_a, lower)
    if plan is None:
        end = torch.where(lower, 0.0, torch.minimum(v + 40.0 / kappa, torch.full_like(v, 2.0)))
    else:
        end = _window_end(v, kappa, dim, plan, lower)
    h = end - v
    touches = (end < 1e-200) | (end >= 2.0)
    clustered = touches if 3 < dim < 9 else torch.zeros_like(touches)
    columns = [c.reshape(-1, 1) for c in (h / v, h / (2.0 - v), kappa * h, one_minus_a - v, h)]
    rows = v.numel() if v.device.type != "cpu" else _ROWS
    total = torch.cat(
        [
            _tail_integral(0.5 * (dim - 3.0), parts[:5], parts[5])
            for parts in zip(
                *(torch.split(c, max(rows, 1)) for c in (*columns, clustered.reshape(-1, 1))),
                strict=True,
            )
        ]
    )
    tau = total.reshape(v.shape) * h.abs()
    return torch.where(lower, tau, -tau) / (v * (2.0 - v))


def _window_end(v: Tensor, kappa: Tensor, dim: int, plan: PolarPlan, lower: Tensor) -> Tensor:
    """Where the integrand has fallen by e^-40, by the normal envelope of the sampler."""
    a = 0.5 * (dim - 1.0)
    power, mode, scale = plan.power, plan.mode, plan.scale
    y = (v / mode).log().div(power).exp()  # in units of its mode
    x = (y - 1.0) / scale
    slope = ((power * a - 1.0) - (a - 1.0) * power * v / (2.0 - v) - kappa * power * v) / y
    rise = torch.where(lower, slope, -slope).clamp_min(0.0) * scale
    length = torch.sqrt(rise * rise + 80.0) - rise
    y_end = (1.0 + scale * torch.where(lower, x - length, x + length)).clamp_min(0.0)
    return (mode * y_end.pow(power)).clamp_max(2.0)


def _tail_integral(exponent: float, parts: tuple[Tensor, ...], clustered: Tensor) -> Tensor:
    """int_0^1 (1-A-v(u)) f(v(u))/f(v) du for v(u) = v + h u, rows (n,)."""
    h_over_v, h_over_rest, kappa_h, gap, h = parts
    nodes, weights, end_nodes, end_weights = gauss_legendre(h.dtype, h.device)
    u = torch.where(clustered, end_nodes, nodes)
    log_ratio = -kappa_h * u
    if exponent:
        product = (1.0 + h_over_v * u) * (1.0 - h_over_rest * u)
        log_ratio.add_(product.clamp_min_(1e-300).log_(), alpha=exponent)
    weight = torch.where(clustered, end_weights, weights)
    return (log_ratio.exp_() * weight * (gap - h * u)).sum(-1)


def _stein_ratio_circle(v: Tensor, kappa: Tensor, one_minus_a: Tensor, lower: Tensor) -> Tensor:
    """d = 2: integrate over the angle, in which the density is analytic."""
    angle = 2.0 * torch.asin(torch.sqrt((0.5 * v).clamp(0.0, 1.0)))
    reach = torch.sqrt(80.0 / kappa)
    end = torch.where(lower, torch.zeros_like(v), (angle + reach).clamp_max(torch.pi))
    h = end - angle
    total = torch.zeros_like(v)
    nodes, weights, *_ = gauss_legendre(v.dtype, v.device)
    for node, weight in zip(nodes.tolist(), weights.tolist(), strict=True):
        other = 2.0 * torch.sin(0.5 * (angle + h * node)).square()
        total += weight * (one_minus_a - other) * torch.exp(-kappa * (other - v))
    return torch.where(lower, total, -total) * h.abs() / torch.sin(angle)


@functools.lru_cache(maxsize=8)
def gauss_legendre(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    """Nodes and weights on (0, 1), then the same clustered at 1 by u = 1 - (1-z)^2."""
    z, w = np.polynomial.legendre.leggauss(_NODES)
    z, w = 0.5 * (z + 1.0), 0.5 * w
    rules = (z, w, 1.0 - (1.0 - z) ** 2, 2.0 * (1.0 - z) * w)
    with torch.inference_mode(False):  # the cache outlives the caller's mode
        return tuple(torch.tensor(rule, dtype=dtype, device=device) for rule in rules)
