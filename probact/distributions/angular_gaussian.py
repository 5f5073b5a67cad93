r"""Angular (projected) Gaussian on S^(d-1): the direction of a Gaussian vector.

Symbols: m (..., d) `loc`, s (..., d) > 0 `scale` of the Gaussian a ~ N(m, diag(s^2)); x = a/|a|.
With u = x/s, y = u/|u| and c = <y, m/s> (Mardia 1972; Wang & Gelfand 2013, eq. 4),

    log p(x) = log J(c) - |m/s - c y|^2 / 2 - (d/2) log 2 pi - sum log s - d log |u|,
    J(c) = int_0^inf r^(d-1) exp(-(r - c)^2 / 2) dr.

log J is a trapezoid sum in log r around its peak, whose error falls exponentially: 1e-12 relative.
A common factor of m and s changes nothing: fix one of them when fitting.
"""

import math
from typing import Any

import torch
from torch import Generator, Size, Tensor
from torch.distributions import constraints

from probact.distributions.sphere_law import SphereLaw
from probact.distributions.sphere_parameters import first_index
from probact.special import widen

__all__ = ["AngularGaussian"]

_DROP = 40.0  # nats below the peak where the sum stops


class AngularGaussian(SphereLaw):
    """Direction a/|a| of a ~ N(loc, diag(scale^2)) in R^d, d >= 2.

    Args:
        loc: mean of the Gaussian (..., d).
        scale: its standard deviations (..., d) > 0.

    Raises:
        ValueError: not (..., d) with d >= 2, shapes that do not broadcast, a scale that is not
            positive, or values that are not finite.

    >>> law = AngularGaussian(torch.tensor([3.0, 0.0]), torch.tensor([1.0, 2.0]))
    >>> law.log_prob(torch.tensor([1.0, 0.0]))
    tensor(-0.5133)
    """

    arg_constraints = {
        "loc": constraints.real_vector,
        "scale": constraints.independent(constraints.positive, 1),
    }
    has_rsample = True

    loc: Tensor
    scale: Tensor

    def __init__(self, loc: Tensor, scale: Tensor, *, validate_args: bool | None = None) -> None:
        for name, value in (("loc", loc), ("scale", scale)):
            if not isinstance(value, Tensor) or value.ndim < 1 or value.shape[-1] < 2:
                shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise ValueError(f"{name} must be a tensor (..., d) with d >= 2, got {shape}")
            wrong = ~torch.isfinite(value) | ((value <= 0) if name == "scale" else value.isnan())
            if wrong.any():
                rule = "finite and positive" if name == "scale" else "finite"
                raise ValueError(f"{name} must be {rule}; it is not at {first_index(wrong)}")
        try:
            self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        except RuntimeError:
            shapes = f"{tuple(loc.shape)} and {tuple(scale.shape)}"
            raise ValueError(f"loc and scale must broadcast, got {shapes}") from None
        shape = self.loc.shape
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    @property
    def device(self) -> torch.device:
        return self.loc.device

    @classmethod
    def infer_shapes(cls, loc: Any, scale: Any) -> tuple[Size, Size]:
        shape = torch.broadcast_shapes(loc, scale)
        return shape[:-1], shape[-1:]

    def _draw(self, sample_shape: Size, generator: Generator | None) -> Tensor:
        shape = self._extended_shape(sample_shape)
        noise = torch.randn(shape, dtype=self.loc.dtype, device=self.device, generator=generator)
        gaussian = self.loc + self.scale * noise
        unit: Tensor = gaussian / torch.linalg.vector_norm(gaussian, dim=-1, keepdim=True)
        return unit

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats of unit vectors (..., d), with respect to surface measure."""
        if self._validate_args:
            self._validate_sample(value)
        u = value / self.scale
        length = torch.linalg.vector_norm(u, dim=-1)
        y = u / length.unsqueeze(-1)
        standard = self.loc / self.scale
        c = (y * standard).sum(-1)
        across = standard - c.unsqueeze(-1) * y  # |across|^2 = |m/s|^2 - c^2 would cancel
        constant = 0.5 * self.dim * math.log(2.0 * math.pi) + self.scale.log().sum(-1)
        radial = _log_radial_integral(widen(c), self.dim).to(c.dtype) - self.dim * length.log()
        log_density: Tensor = radial - 0.5 * across.square().sum(-1) - constant
        return log_density


def _log_radial_integral(c: Tensor, dim: int) -> Tensor:
    """log J(c), shape of c, as an integral over l = log r of exp(d l - (r - c)^2 / 2).

    The exponent's peak solves r^2 = c r + d; its curvature there is -(r^2 + d).
    """
    with torch.no_grad():
        root = torch.hypot(c, torch.full_like(c, 2.0 * math.sqrt(dim)))
        above, below = 0.5 * (c.abs() + root), 2.0 * dim / (root + c.abs())
        peak, shift = (
            torch.where(c > 0, above, below),
            torch.where(c > 0, below, above),
        )  # r, r - c
        width = torch.rsqrt(peak * peak + dim)
    # in peak widths: exp(-2 pi^2 / step^2) for the Gaussian core, and a step in l below 0.14 since
    # exp(-r^2/2) grows off the strip |Im l| < pi/4
    step = min(0.6, 0.14 * math.sqrt(dim))
    # to the left exp(d l) falls slowly, after the peak's own drop of about r^2 / 2 nats
    reach = max((_DROP - 0.5 * r * r) / dim * math.sqrt(r * r + dim) for r in range(9))
    left = math.ceil((reach + 9.0) / step)
    offsets = step * torch.arange(-left, math.ceil(10.0 / step), dtype=c.dtype, device=c.device)
    log_ratio = width.unsqueeze(-1) * offsets
    gap = shift.unsqueeze(-1) + peak.unsqueeze(-1) * torch.expm1(log_ratio)
    gap = gap - (c - c.detach()).unsqueeze(-1)  # r - c; the last term is zero and has its slope
    exponent = dim * log_ratio - 0.5 * gap * gap
    total: Tensor = exponent.logsumexp(-1) + dim * peak.log() + (width * step).log()
    return total
