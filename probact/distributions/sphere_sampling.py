r"""Exact draws from the von Mises-Fisher law on S^(d-1), any d >= 2 and kappa >= 0.

Symbols: v = 1 - <mu, x> in [0, 2]; a = (d-1)/2. The density of v is proportional to
v^(a-1) (2-v)^(a-1) exp(-kappa v). d = 2: Best & Fisher (1979), wrapped-Cauchy rejection. d = 3:
inversion. d >= 4: generalised Marsaglia-Tsang, v = y^P with a normal proposal for y at the mode.
P is chosen so that the third derivative of the log density phi(y) vanishes at the mode; that
derivative changes sign once (Descartes), so phi'' is largest there and the normal dominates:
the acceptance test is exact for every (d, kappa); it accepts .63 to 1, .97 and more from kappa 5.
"""

import math
from typing import NamedTuple

import torch
from torch import Generator, Tensor

__all__ = ["PolarPlan", "lift_to_sphere", "polar_plan", "sample_polar"]


class PolarPlan(NamedTuple):
    """Proposal constants of d >= 4, each of kappa's shape."""

    q: Tensor  # v_mode / (2 - v_mode)
    power: Tensor  # P in [1, 3]
    mode: Tensor  # v_mode
    scale: Tensor  # standard deviation of y in units of its mode


def polar_plan(kappa: Tensor, dim: int) -> PolarPlan:
    """Proposal for v at (kappa, dim >= 4).

    With phi''' = 0 at the mode, P solves alpha P^2 - beta P + 3 = 0 and
    kappa = (1+q) (a - 1/P - (a-1) q) / (2q); q comes from Newton steps in log q. alpha and beta
    are in `_power`; their slopes, 6 (a-1) q (1+q) and 6 (a-1) q, give that of P.
    """
    a = 0.5 * (dim - 1.0)
    root = torch.hypot(kappa, torch.full_like(kappa, a))
    one_minus_t = (a + a * (a / (root + kappa))) / (a + root)  # at the mode of t
    log_q = (one_minus_t / (2.0 - one_minus_t)).log()
    for _ in range(4 if dim < 10 else 3 if dim < 512 else 2):  # q to 1e-11 or better
        q = log_q.exp()
        power, disc = _power(q, a)
        more = 1.0 + q
        d_power = 6.0 * (a - 1.0) * q * power * (1.0 - more * power) / disc
        inner = a - 1.0 / power - (a - 1.0) * q
        miss = more * inner - 2.0 * kappa * q
        slope = inner + more * (d_power / (power * power) - (a - 1.0)) - 2.0 * kappa
        log_q = (log_q - (miss / (q * slope)).clamp(-1.0, 1.0)).clamp_max(0.0)
    q = log_q.exp()
    power = _power(q, a)[0]
    curvature = power * (power * a - 1.0) + (a - 1.0) * (power * q) ** 2
    return PolarPlan(q, power, 2.0 * q / (1.0 + q), torch.rsqrt(curvature))


def _power(q: Tensor, a: float) -> tuple[Tensor, Tensor]:
    """The larger root P of alpha P^2 - beta P + 3 = 0, and the root of its discriminant."""
    square = (a - 1.0) * q * q
    alpha = a + square * (3.0 + 2.0 * q)
    beta = 3.0 * a + 1.0 + 3.0 * square
    disc = torch.sqrt(beta * beta - 12.0 * alpha)
    return (beta + disc) / (2.0 * alpha), disc


def sample_polar(
    kappa: Tensor,
    dim: int,
    shape: tuple[int, ...],
    plan: PolarPlan | None,
    generator: Generator | None = None,
) -> Tensor:
    """Draw v = 1 - <mu, x>, shape `shape` (kappa broadcasts to it), in kappa's type."""
    if dim == 2:
        return _sample_circle(kappa.expand(shape), generator)
    if plan is None:
        return _sample_three(kappa, shape, generator)
    a, count = 0.5 * (dim - 1.0), math.prod(shape)
    rows = torch.stack([*plan, plan.power * a - 1.0, kappa * plan.mode])
    shared = kappa.numel() == 1
    rows = (
        rows.reshape(6, 1) if shared else torch.stack([r.expand(shape).reshape(-1) for r in rows])
    )
    out = kappa.new_empty(count)
    left = torch.arange(0)  # indices still to fill; empty on the first round means all
    while count:
        q, power, mode, scale, power_a1, kappa_mode = rows
        x = _standard_normal(count, kappa, generator)
        log_y = (scale * x).log1p_()  # nan below y = 0 and above v = 2: refused by the comparison
        e = (power * log_y).expm1_()
        accept = power_a1 * log_y
        accept.addcmul_(x, x, value=0.5).addcmul_(kappa_mode, e, value=-1.0)
        accept.add_((q * e).neg_().log1p_(), alpha=a - 1.0)
        u = torch.rand(count, dtype=x.dtype, device=x.device, generator=generator).log_()
        kept = accept > u
        v = e.add_(1.0).mul_(mode)
        again = kept.logical_not().nonzero()[:, 0]
        if left.numel() == 0:
            out, left = v, again
        else:
            out[left[kept]] = v[kept]
            left = left[again]
        count = again.numel()
        rows = rows if shared else rows[:, again]
    return out.reshape(shape)


def _sample_three(kappa: Tensor, shape: tuple[int, ...], generator: Generator | None) -> Tensor:
    """Inversion of F(v) = (1 - e^(-kappa v)) / (1 - e^(-2 kappa)) on S^2."""
    u = torch.rand(shape, dtype=kappa.dtype, device=kappa.device, generator=generator)
    v = torch.log1p(u * torch.expm1(-2.0 * kappa)) / kappa.clamp_min(1e-300).neg()
    return torch.where(kappa > 1e-8, v, 2.0 * u)


def _sample_circle(kappa: Tensor, generator: Generator | None) -> Tensor:
    """Best & Fisher (1979) on S^1, with r - 1 and 1 - f free of cancellation."""
    k = kappa.reshape(-1).clamp_min(1e-9)  # at 1e-9 the law is uniform to 1e-9
    root = torch.hypot(torch.ones_like(k), 2.0 * k)
    tau = 1.0 + root
    rho = 2.0 * k / tau * (tau.sqrt() / (tau.sqrt() + math.sqrt(2.0)))
    tight = (torch.sqrt(2.0 * tau) - 1.0 - 1.0 / (2.0 * k + root)) / (2.0 * k)
    one_minus_rho = torch.where(k > 1.0, tight, 1.0 - rho)
    r_minus_1 = one_minus_rho * one_minus_rho / (2.0 * rho)
    out = torch.empty_like(k)
    left = torch.arange(k.numel(), device=k.device)
    while left.numel():
        u = torch.rand(2, left.numel(), dtype=k.dtype, device=k.device, generator=generator)
        half = torch.sin(0.5 * math.pi * u[0]).square()  # (1 - z)/2 of z = cos(pi u)
        excess = r_minus_1[left]
        v = excess * 2.0 * half / (excess + 2.0 * (1.0 - half))
        c = k[left] * (excess + v)
        kept = torch.log(c / u[1]) + 1.0 - c >= 0.0
        out[left[kept]] = v[kept]
        left = left[~kept]
    return out.reshape(kappa.shape)


def _standard_normal(count: int, like: Tensor, generator: Generator | None) -> Tensor:
    """Standard normals (count,); in float64 on a CPU by Box-Muller, twice as fast as torch's."""
    if like.device.type != "cpu" or like.dtype != torch.float64:
        return torch.randn(count, dtype=like.dtype, device=like.device, generator=generator)
    u = torch.rand(2, (count + 1) // 2, dtype=like.dtype, generator=generator)
    radius = u[0].neg_().add_(1.0).log_().mul_(-2.0).sqrt_()
    angle = u[1].mul_(2.0 * math.pi)
    return torch.stack([angle.cos(), angle.sin()]).mul_(radius).reshape(-1)[:count]


def lift_to_sphere(
    mu: Tensor, v: Tensor, shape: tuple[int, ...], generator: Generator | None = None
) -> Tensor:
    """x = (1-v) mu + sqrt(v (2-v)) xi, (*shape, d), with xi uniform on the unit tangents at mu.

    With z orthogonal to e_1, the Householder reflection along u = mu + sgn(mu_1) e_1 gives
    xi = z - <z, mu> u / (1 + |mu_1|): nothing is ever divided by a small number.
    """
    dim, count = mu.shape[-1], math.prod(shape)
    cos = (1.0 - v).to(mu.dtype).reshape(count, 1)
    sine = torch.sqrt(v * (2.0 - v)).to(mu.dtype).reshape(count, 1)
    shared = mu.numel() == dim
    mu = mu.reshape(1, dim) if shared else mu.expand(*shape, dim).reshape(count, dim)
    first = mu[:, :1]
    share = 1.0 / (1.0 + first.abs())
    sign = torch.where(first >= 0, 1.0, -1.0).to(mu.dtype)
    out = torch.empty(count, dim, dtype=mu.dtype, device=mu.device)
    rows = count if mu.device.type != "cpu" else max(1, (1 << 16) // dim)  # blocks stay in cache
    for start in range(0, count, max(rows, 1)):
        block = slice(start, min(count, start + rows))
        z, at = out[block], slice(None) if shared else block
        _fill_tangents(z, generator)
        z.mul_(sine[block] / torch.linalg.vector_norm(z, dim=-1, keepdim=True))
        m = mu[at]
        along = z @ m.T if shared else torch.linalg.vecdot(z, m).unsqueeze(-1)
        along *= share[at]
        z.addcmul_(cos[block] - along, m)
        z[:, :1].addcmul_(along, sign[at], value=-1.0)
    return out.reshape(*shape, dim)


def _fill_tangents(z: Tensor, generator: Generator | None) -> None:
    """Fill z (n, d) with vectors orthogonal to e_1 of uniform direction; their length is free."""
    count, dim = z.shape
    if dim > 3:
        if z.device.type == "cpu" and z.dtype == torch.float64:
            z.copy_(_standard_normal(count * dim, z, generator).view(count, dim))
        else:
            z.normal_(generator=generator)
        z[:, 0] = 0.0
        return
    z[:, 0] = 0.0
    u = torch.rand(count, dtype=z.dtype, device=z.device, generator=generator)
    if dim == 2:  # the tangent circle has two points
        z[:, 1] = torch.where(u < 0.5, -1.0, 1.0).to(z.dtype)
    else:
        u.mul_(2.0 * math.pi)
        z[:, 1], z[:, 2] = u.cos(), u.sin()
