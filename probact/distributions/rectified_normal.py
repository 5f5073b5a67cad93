r"""Laws of a ReLU's output: a point mass at zero and a density above it.

Symbols: Phi, phi distribution function and density of N(0, 1); m `loc`, s > 0 `scale`, k = m / s;
p `prob`, the probability of an active unit. Densities are with respect to a unit mass at zero plus
length, so log_prob at zero is the logarithm of a probability.

    rectified          A = max(H, 0), H ~ N(m, s^2)         P(A > 0) = Phi(k)
    hurdle truncated   A = B Y, Y ~ N(m, s^2) given Y > 0    P(A > 0) = p, free
    hurdle folded      A = B |Y|, Y ~ N(m, s^2)              P(A > 0) = p, free

The hurdle truncated law at p = Phi(k) is the rectified one: a likelihood ratio of the two asks
whether the mass at zero is what the normal law predicts (Cragg 1971; Tobin 1958).
"""

import math
from typing import Any

import torch
from torch import Generator, Size, Tensor
from torch.distributions import constraints

from probact.distributions.batched_law import BatchedLaw
from probact.distributions.normal_tail import (
    excess_moments,
    excess_quantile,
    log_excess_density,
    log_excess_survival,
)
from probact.special import widen

__all__ = ["HurdleFoldedNormal", "HurdleTruncatedNormal", "RectifiedNormal"]

_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)
_PARAMETERS = {
    "prob": constraints.unit_interval,
    "loc": constraints.real,
    "scale": constraints.positive,
}


class RectifiedNormal(BatchedLaw):
    """Law of relu(H) for H ~ N(loc, scale^2).

    Args:
        loc, scale: m and s > 0; tensors, arrays or numbers that broadcast.

    Raises:
        TypeError: a parameter is not real floating data.
        ValueError: a parameter is not finite, scale is not positive, or shapes do not broadcast.

    >>> law = RectifiedNormal(0.0, 1.0)
    >>> law.prob, law.mean, law.sample((2,), seed=0).shape
    (tensor(0.5000), tensor(0.3989), torch.Size([2]))
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True

    loc: Tensor
    scale: Tensor

    def __init__(self, loc: Any, scale: Any, *, validate_args: bool | None = None) -> None:
        self._set_parameters({"loc": loc, "scale": scale}, validate_args)

    @property
    def prob(self) -> Tensor:
        """P(A > 0) = Phi(k)."""
        share: Tensor = torch.special.ndtr(self.loc / self.scale)
        return share

    @property
    def mean(self) -> Tensor:
        """m Phi(k) + s phi(k)."""
        return self.prob * _truncated_moments(self.loc, self.scale)[0]

    @property
    def variance(self) -> Tensor:
        return _hurdle_variance(self.prob, *_truncated_moments(self.loc, self.scale))

    def log_prob(self, value: Tensor) -> Tensor:
        """log Phi(-k) at zero, else the normal log density, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        z = (value - self.loc) / self.scale
        above = -0.5 * z.square() - self.scale.log() - _HALF_LOG_TWO_PI
        return torch.where(value > 0, above, torch.special.log_ndtr(-self.loc / self.scale))

    def cdf(self, value: Tensor) -> Tensor:
        """P(A <= value): Phi from zero on, with a jump of Phi(-k) there."""
        if self._validate_args:
            self._validate_sample(value)
        share: Tensor = torch.special.ndtr((value - self.loc) / self.scale)
        return share

    def icdf(self, value: Tensor) -> Tensor:
        """The smallest a with P(A <= a) >= value."""
        quantile: Tensor = self.loc + self.scale * torch.special.ndtri(value)
        return quantile.clamp(min=0.0)

    def rsample(self, sample_shape: Any = (), *, generator: Generator | None = None) -> Tensor:
        """Draws (*sample_shape, *batch_shape), differentiable where they are not zero."""
        shape = self._extended_shape(Size(sample_shape))
        noise = self.loc.new_empty(shape).normal_(generator=generator)
        draws: Tensor = torch.relu(self.loc + self.scale * noise)
        return draws


class _HurdleLaw(BatchedLaw):
    """Zero with probability 1 - p, else a draw of a law on (0, inf)."""

    arg_constraints = _PARAMETERS
    support = constraints.nonnegative

    prob: Tensor
    loc: Tensor
    scale: Tensor

    def __init__(
        self, prob: Any, loc: Any, scale: Any, *, validate_args: bool | None = None
    ) -> None:
        self._set_parameters({"prob": prob, "loc": loc, "scale": scale}, validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """log(1 - p) at zero, else log p plus the log density of an active unit, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        active = value > 0
        above = self.prob.log() + self._log_active(torch.where(active, value, 1.0))
        return torch.where(active, above, torch.log1p(-self.prob))

    def _draw(self, sample_shape: Any, generator: Generator | None) -> Tensor:
        shape = self._extended_shape(Size(sample_shape))
        active = self.prob.new_empty(shape).uniform_(generator=generator) < self.prob
        return torch.where(active, self._draw_active(shape, generator), 0.0)

    def _log_active(self, value: Tensor) -> Tensor:
        """Log density of an active unit."""
        raise NotImplementedError

    def _draw_active(self, shape: Size, generator: Generator | None) -> Tensor:
        """Draws of an active unit, above zero."""
        raise NotImplementedError


class HurdleTruncatedNormal(_HurdleLaw):
    """B Y with B ~ Bernoulli(prob) and Y ~ N(loc, scale^2) given Y > 0.

    Args:
        prob, loc, scale: p in [0, 1], m, s > 0; tensors, arrays or numbers that broadcast.

    Raises: as `RectifiedNormal`, and for prob outside [0, 1].
    >>> law = HurdleTruncatedNormal(0.25, 0.0, 1.0)
    >>> law.mean, law.log_prob(torch.tensor(0.0)).exp()
    (tensor(0.1995), tensor(0.7500))
    """

    @property
    def mean(self) -> Tensor:
        return self.prob * _truncated_moments(self.loc, self.scale)[0]

    @property
    def variance(self) -> Tensor:
        return _hurdle_variance(self.prob, *_truncated_moments(self.loc, self.scale))

    def cdf(self, value: Tensor) -> Tensor:
        """P(A <= value)."""
        if self._validate_args:
            self._validate_sample(value)
        beyond = log_excess_survival(-self.loc / self.scale, value / self.scale).exp()
        return 1.0 - self.prob * beyond

    def _log_active(self, value: Tensor) -> Tensor:
        threshold, excess = -self.loc / self.scale, value / self.scale
        return log_excess_density(threshold, excess) - self.scale.log()

    def _draw_active(self, shape: Size, generator: Generator | None) -> Tensor:
        """m + Z s with Z past -m / s, by its excess, so that nothing is lost for m << 0."""
        share = torch.empty(shape, dtype=torch.float64, device=self.loc.device)
        log_survival = torch.log1p(-share.uniform_(generator=generator))
        excess = excess_quantile(-widen(self.loc) / widen(self.scale), log_survival)
        draws: Tensor = (self.scale * excess).to(self.scale.dtype)
        return draws.clamp_min(torch.finfo(draws.dtype).tiny)


class HurdleFoldedNormal(_HurdleLaw):
    """B |Y| with B ~ Bernoulli(prob) and Y ~ N(loc, scale^2); half-normal at loc = 0.

    Args:
        prob, loc, scale: p in [0, 1], m, s > 0; tensors, arrays or numbers that broadcast. The
            sign of loc has no effect.

    Raises: as `HurdleTruncatedNormal`.
    >>> HurdleFoldedNormal(0.5, 0.0, 1.0).mean  # sqrt(2 / pi) / 2
    tensor(0.3989)
    """

    @property
    def mean(self) -> Tensor:
        return self.prob * self._folded_mean

    @property
    def variance(self) -> Tensor:
        folded = self._folded_mean
        second = self.loc.square() + self.scale.square()
        return _hurdle_variance(self.prob, folded, second - folded.square())

    @property
    def _folded_mean(self) -> Tensor:
        k = self.loc / self.scale
        density = torch.exp(-0.5 * k.square() - _HALF_LOG_TWO_PI)
        mean: Tensor = self.loc * torch.special.erf(k / math.sqrt(2.0))
        return mean + 2.0 * self.scale * density

    def cdf(self, value: Tensor) -> Tensor:
        """P(A <= value)."""
        if self._validate_args:
            self._validate_sample(value)
        k, z = self.loc / self.scale, value / self.scale
        inside: Tensor = torch.special.ndtr(z - k) - torch.special.ndtr(-z - k)
        return (1.0 - self.prob) + self.prob * inside

    def _log_active(self, value: Tensor) -> Tensor:
        k, z = self.loc / self.scale, value / self.scale
        both = torch.logaddexp(-0.5 * (z - k).square(), -0.5 * (z + k).square())
        log_density: Tensor = both - self.scale.log() - _HALF_LOG_TWO_PI
        return log_density

    def _draw_active(self, shape: Size, generator: Generator | None) -> Tensor:
        noise = self.loc.new_empty(shape).normal_(generator=generator)
        return (self.loc + self.scale * noise).abs().clamp_min(torch.finfo(self.scale.dtype).tiny)


def _truncated_moments(loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of N(m, s^2) above zero."""
    mean, variance = excess_moments(-widen(loc) / widen(scale))
    return (scale * mean).to(scale.dtype), (scale.square() * variance).to(scale.dtype)


def _hurdle_variance(prob: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Variance of a draw that is zero with probability 1 - p."""
    return prob * (variance + (1.0 - prob) * mean.square())
