r"""Common shifts of all rows of a softmax layer, which its likelihood does not see.

Symbols: theta (K, p) weights; t (p,) the shift; m, r, l (K,) mode, right and left rates. Adding t
to every row leaves softmax(theta x) as it is, so t is drawn from the prior alone,

    log f(t_j) = - sum_k r_k (theta_kj + t_j - m_k)^+ + l_k (m_k - theta_kj - t_j)^+

concave and linear between the knots m_k - theta_kj: a segment by its mass, then a truncated
exponential inside it. A number added to all weights and all modes is seen by the bounds of the
modes alone. Drawing one row given the others moves these ways in small steps only. Both are Gibbs
steps on a group of shifts (Liu & Sabatti 2000).
"""

import torch
from torch import Generator, Tensor

from probact.distributions.laplace_hyperprior import LaplaceHyperprior, LaplaceParameters

__all__ = ["draw_level", "draw_shift"]


def draw_level(loc: Tensor, prior: LaplaceHyperprior, generator: Generator) -> Tensor:
    """A number (..., 1) to add to all modes (..., K) and weights: uniform where no mode leaves.

    >>> bounds = LaplaceHyperprior(*torch.tensor([1.0, 1.0, 1.0, 1.0, -2.0, 2.0]))
    >>> draw_level(torch.tensor([-2.0, 2.0]), bounds, torch.Generator())
    tensor([0.])
    """
    low = (prior.low - loc).amax(-1, keepdim=True)
    high = (prior.high - loc).amin(-1, keepdim=True)
    u = torch.rand(low.shape, dtype=loc.dtype, device=loc.device, generator=generator)
    return low + (high - low) * u


def draw_shift(weight: Tensor, parameters: LaplaceParameters, generator: Generator) -> Tensor:
    """t (..., p) of weights (..., K, p) whose rows have these laws.

    >>> laws = LaplaceParameters(*torch.tensor([[5.0, 5.0], [1e9, 1e9], [1e9, 1e9]]))
    >>> draw_shift(torch.zeros(2, 3), laws, torch.Generator().manual_seed(0))
    tensor([5., 5., 5.])
    """
    loc, right, left = (v.unsqueeze(-2) for v in parameters)  # (..., 1, K)
    knots, order = (loc - weight.mT).sort(-1)  # (..., p, K)
    bend = (left + right).expand(knots.shape).gather(-1, order)
    first = left.sum(-1, keepdim=True).expand(*knots.shape[:-1], 1)
    slope = torch.cat([first, first - bend.cumsum(-1)], -1)  # (..., p, K + 1)
    inner = slope[..., 1:-1] * knots.diff(dim=-1)
    height = torch.nn.functional.pad(inner.cumsum(-1), (1, 0))  # at the knots, the first is 0
    tail = torch.full_like(first, torch.inf)
    ends = torch.cat([-tail, knots, tail], -1)
    width = ends.diff(dim=-1)
    low, high = (torch.cat(v, -1) for v in ((-tail, height), (height, -tail)))
    steep, drop = slope.abs(), (slope * width).abs()
    share = torch.where(slope == 0, width, -torch.expm1(-drop) / steep)
    log_mass = torch.maximum(low, high) + share.log()
    mass = torch.exp(log_mass - log_mass.amax(-1, keepdim=True)).cumsum(-1)
    u, v = torch.rand(
        (2, *first.shape), dtype=weight.dtype, device=weight.device, generator=generator
    )
    chosen = torch.searchsorted(mass, u * mass[..., -1:], right=True).clamp(max=loc.shape[-1])
    slope, width, drop = (value.gather(-1, chosen) for value in (slope, width, drop))
    start, end = ends.gather(-1, chosen), ends.gather(-1, chosen + 1)
    inside = -torch.log1p(v * torch.expm1(-drop)) / slope.abs()  # from the higher end
    flat = torch.where(slope == 0, start + v * width, start + inside)
    return torch.where(slope > 0, end - inside, flat).squeeze(-1)
