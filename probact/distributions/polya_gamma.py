r"""Polya-Gamma law PG(1, z) (Polson, Scott & Windle 2013): the augmentation of logistic models.

Symbols: z (...) `tilt`, omega > 0 the variable, h = |z| / 2. The law is that of

    omega = 1 / (2 pi^2) sum_k g_k / ((k - 1/2)^2 + z^2 / (4 pi^2)),   g_k ~ Exp(1), k = 1, 2, ...

with E exp(-t omega) = cosh(h) / cosh(sqrt(h^2 + t / 2)), so that

    e^(y psi) / (1 + e^psi) = 1/2 e^((y - 1/2) psi) E_{PG(1, 0)} exp(-omega psi^2 / 2)

and omega | psi ~ PG(1, psi). Draws are exact, see `probact.distributions.polya_gamma_draws`.
"""

import math
from typing import Any

import torch
from torch import Generator, Size, Tensor
from torch.distributions import constraints

from probact.distributions.batched_law import BatchedLaw
from probact.distributions.polya_gamma_draws import draw_in_loop, draw_with_tensors
from probact.special import widen

__all__ = ["PolyaGamma"]

_CUT = 0.16  # omega at which the two series of the density meet
_TERMS = 4  # after the first; what is left out is below 1e-25 of it
_VARIANCE = (1 / 24, -1 / 30, 17 / 840, -31 / 2835, 691 / 124740, -10922 / 4054050)  # in h^2


class PolyaGamma(BatchedLaw):
    """Polya-Gamma law PG(1, tilt); the sign of the tilt has no effect.

    Args:
        tilt: z, finite; tensor, array or number.

    Raises:
        TypeError: the tilt is not real floating data.
        ValueError: a tilt that is not finite.

    >>> law = PolyaGamma(torch.tensor([0.0, 2.0]))
    >>> law.mean, law.variance
    (tensor([0.2500, 0.1904]), tensor([0.0417, 0.0214]))
    >>> law.sample((2,), seed=0).shape
    torch.Size([2, 2])
    """

    arg_constraints = {"tilt": constraints.real}
    support = constraints.positive

    tilt: Tensor

    def __init__(self, tilt: Any, *, validate_args: bool | None = None) -> None:
        self._set_parameters({"tilt": tilt}, validate_args)

    @property
    def mean(self) -> Tensor:
        """tanh(h) / (2 z)."""
        half = 0.5 * self.tilt.abs()
        safe = torch.where(half == 0, 1.0, half)  # 0 / 0 has a gradient too
        return torch.where(half == 0, 0.25, 0.25 * torch.tanh(safe) / safe)

    @property
    def variance(self) -> Tensor:
        """(2 tanh h - z sech^2 h) / (4 |z|^3); its series below h = 1/16, where that cancels."""
        half = widen(0.5 * self.tilt.abs())
        safe = half.clamp_min(0.0625)
        sech = 2.0 * torch.exp(-safe) / (1.0 + torch.exp(-2.0 * safe))
        direct = (torch.tanh(safe) - safe * sech.square()) / (16.0 * safe**3)
        square = half.clamp_max(0.0625).square()
        series = torch.zeros_like(half)
        for coefficient in reversed(_VARIANCE):
            series = series * square + coefficient
        return torch.where(half < 0.0625, series, direct).to(self.tilt.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats of omega > 0, computed in float64.

        Four terms past the first of one of the two series: its relative error is that of the
        arithmetic at every omega. Differentiable in the value and the tilt.
        """
        if self._validate_args:
            self._validate_sample(value)
        z, omega = torch.broadcast_tensors(widen(self.tilt.abs()), widen(value))
        low, high = omega.clamp_max(_CUT), omega.clamp_min(_CUT)
        left = -(2.0 * z * low - 1.0).square() / (8.0 * low) - 1.5 * low.log()
        left = left - 0.5 * math.log(8.0 * math.pi) + _log_alternating(0.5 / low)
        right = 0.5 * z - 0.5 * (z * z + math.pi**2) * high + math.log(math.pi)
        right = right + _log_alternating(math.pi**2 * 2.0 * high)
        log_density = torch.where(omega < _CUT, left, right) + torch.log1p(torch.exp(-z))
        return log_density.to(torch.promote_types(self.tilt.dtype, value.dtype))

    def cdf(self, value: Tensor) -> Tensor:
        """P(omega <= value), the integrals of the same two series, to 1e-14."""
        if self._validate_args:
            self._validate_sample(value)
        z, omega = torch.broadcast_tensors(widen(self.tilt.abs()), widen(value))
        low, high = omega.clamp_max(_CUT), omega.clamp_min(_CUT)
        below, above = torch.zeros_like(omega), torch.zeros_like(omega)
        scale = 1.0 + torch.exp(-z)
        for n in range(_TERMS + 1):
            sign, a = (-1.0) ** n, n + 0.5
            near = torch.exp((0.5 - a) * z) * torch.special.ndtr((z * low - a) * low.rsqrt())
            far = (0.5 + a) * z + torch.special.log_ndtr(-(z * low + a) * low.rsqrt())
            below = below + sign * (near + far.exp())
            rate = 0.5 * (z * z + (2.0 * math.pi * a) ** 2)
            above = above + sign * a * torch.exp(0.5 * z - rate * high) / rate
        cdf = torch.where(omega < _CUT, scale * below, 1.0 - 2.0 * math.pi * scale * above)
        return cdf.to(torch.promote_types(self.tilt.dtype, value.dtype))

    def _draw(self, sample_shape: Any, generator: Generator | None) -> Tensor:
        """On a CPU equal generators give equal bits whatever the number of threads.

        The first call of an installation compiles, once, for some seconds.
        """
        tilt = self.tilt.detach().expand(self._extended_shape(Size(sample_shape)))
        draw = draw_in_loop if tilt.device.type == "cpu" else draw_with_tensors
        return draw(tilt, generator)


def _log_alternating(power: Tensor) -> Tensor:
    """log(1 - 3 q^2 + 5 q^6 - ...), q = exp(-power): term n has q^(n (n + 1))."""
    total = torch.zeros_like(power)
    for n in range(1, _TERMS + 1):
        total = total + (-1.0) ** n * (2 * n + 1) * torch.exp(-n * (n + 1.0) * power)
    return torch.log1p(total)
