r"""Asymmetric Laplace law (Kotz, Kozubowski & Podgorski 2001, chapter 3), beyond what Pyro has.

Symbols: m mode `loc`; s > 0 `scale`; kappa > 0 `asymmetry`; right and left scales s_R = s / kappa,
s_L = s kappa, S = s_R + s_L; rates r = 1 / s_R and l = 1 / s_L. All have shape batch_shape.

    f(x) = exp(-(x - m) / s_R) / S   for x >= m,     exp(-(m - x) / s_L) / S   for x < m

so that P(X < m) = s_L / S. Pyro's page calls the asymmetry the square of the ratio of left to
right scale; in its code, and here, it is the square root: s_L / s_R = kappa^2. Elsewhere:

    f(theta; m, lambda, kappa) of a final layer's weights     lambda = sqrt(r l) = 1 / s
    scipy laplace_asymmetric(kappa, loc, scale)               kappa, m, s
    AL*(m, kappa, sigma) of Kotz et al.                       sigma = s sqrt 2
    quantile form p (1-p) / sigma exp(-rho_p((x-m) / sigma))  p = s_L / S, sigma = p s_R
"""

from typing import Any, Self

import torch
from pyro.distributions import AsymmetricLaplace as _PyroAsymmetricLaplace
from torch import Generator, Size, Tensor

from probact.distributions.batched_law import BatchedLaw, as_parameters
from probact.distributions.sphere_parameters import first_index

__all__ = ["AsymmetricLaplace"]


class AsymmetricLaplace(BatchedLaw, _PyroAsymmetricLaplace):
    """Pyro's asymmetric Laplace law, with its distribution function, quantiles and seeded draws.

    Args:
        loc, scale, asymmetry: m, s > 0 and kappa > 0, tensors, arrays or numbers that broadcast.

    Raises:
        TypeError: a parameter is not real floating data.
        ValueError: a parameter is not finite, or s_L or s_R is not a positive finite number, or
            shapes do not broadcast.

    >>> law = AsymmetricLaplace(0.0, 1.0, 0.5)
    >>> law.scales, law.mean, law.variance  # right, left
    ((tensor(2.), tensor(0.5000)), tensor(1.5000), tensor(4.2500))
    """

    loc: Tensor
    scale: Tensor
    asymmetry: Tensor
    right_scale: Tensor
    left_scale: Tensor

    def __init__(
        self, loc: Any, scale: Any, asymmetry: Any, *, validate_args: bool | None = None
    ) -> None:
        given = {"loc": loc, "scale": scale, "asymmetry": asymmetry}
        self._set_parameters(given, validate_args)

    @classmethod
    def from_rates(cls, loc: Any, rate_right: Any, rate_left: Any) -> Self:
        """The law with tails exp(-r (x - m)) to the right and exp(-l (m - x)) to the left.

        Raises: as the class.
        >>> AsymmetricLaplace.from_rates(0.0, 4.0, 1.0).rates
        (tensor(4.), tensor(1.))
        """
        names = {"loc": loc, "rate_right": rate_right, "rate_left": rate_left}
        m, right, left = as_parameters(names)
        return cls(m, right.rsqrt() * left.rsqrt(), right.sqrt() * left.rsqrt())

    @classmethod
    def from_quantile(cls, loc: Any, scale: Any, prob: Any) -> Self:
        """The law whose `prob` quantile m maximises the likelihood by the check loss of sigma.

        Density p (1-p) / sigma exp(-rho_p((x - m) / sigma)), rho_p(z) = z (p - 1{z < 0}), for p in
        (0, 1) (Kozumi & Kobayashi 2011).

        Raises: as the class, and for p outside (0, 1).
        >>> AsymmetricLaplace.from_quantile(0.0, 1.0, 0.25).cdf(torch.tensor(0.0))
        tensor(0.2500)
        """
        m, sigma, p = as_parameters({"loc": loc, "scale": scale, "prob": prob})
        wrong = ~((p > 0) & (p < 1))
        if wrong.any():
            raise ValueError(f"prob must lie in (0, 1), got {p[first_index(wrong)].item()!r}")
        root_p, root_q = p.sqrt(), (1.0 - p).sqrt()
        return cls(m, sigma / (root_p * root_q), root_p / root_q)

    @classmethod
    def from_scipy(cls, kappa: Any, loc: Any = 0.0, scale: Any = 1.0) -> Self:
        """The law `scipy.stats.laplace_asymmetric(kappa, loc, scale)`.

        Raises: as the class.
        >>> AsymmetricLaplace.from_scipy(2.0).asymmetry
        tensor(2.)
        """
        return cls(loc, scale, kappa)

    @property
    def scales(self) -> tuple[Tensor, Tensor]:
        """s_R and s_L."""
        return self.right_scale, self.left_scale

    @property
    def rates(self) -> tuple[Tensor, Tensor]:
        """r = 1 / s_R and l = 1 / s_L."""
        return self.asymmetry / self.scale, 1.0 / (self.scale * self.asymmetry)

    @property
    def prob_left(self) -> Tensor:
        """P(X < m) = s_L / S."""
        return (1.0 + self.asymmetry.square().reciprocal()).reciprocal()

    @property
    def prob_right(self) -> Tensor:
        """P(X > m) = s_R / S, to full relative precision."""
        return (1.0 + self.asymmetry.square()).reciprocal()

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def mean(self) -> Tensor:
        return self.loc + (self.right_scale - self.left_scale)

    @property
    def median(self) -> Tensor:
        return self.icdf(torch.full_like(self.loc, 0.5))

    @property
    def variance(self) -> Tensor:
        return self.right_scale.square() + self.left_scale.square()

    @property
    def skewness(self) -> Tensor:
        """Third standardised moment, in (-2, 2): that of the exponential law at both ends."""
        larger = torch.maximum(self.right_scale, self.left_scale)
        right, left = self.right_scale / larger, self.left_scale / larger
        third: Tensor = 2.0 * (right**3 - left**3) / (right**2 + left**2) ** 1.5
        return third

    def entropy(self) -> Tensor:
        """Differential entropy in nats, 1 + log S."""
        return 1.0 + (self.left_scale + self.right_scale).log()

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value)."""
        below, above = self._standardised(value)
        left = self.prob_left * below.exp()
        right = self.prob_left - self.prob_right * torch.expm1(-above)
        return torch.where(below < 0, left, right)

    def log_cdf(self, value: Tensor) -> Tensor:
        """log P(X <= value) in nats, to full relative precision in both tails."""
        below, above = self._standardised(value)
        return _log_two_sided(self.prob_left, self.prob_right, below, above)

    def log_sf(self, value: Tensor) -> Tensor:
        """log P(X > value) in nats, to full relative precision in both tails."""
        below, above = self._standardised(value)
        return _log_two_sided(self.prob_right, self.prob_left, -above, -below)

    def icdf(self, value: Tensor) -> Tensor:
        """The quantile of probabilities `value` in [0, 1]; infinite at its ends.

        Raises:
            ValueError: a value outside [0, 1].
        """
        if self._validate_args and not bool(((value >= 0) & (value <= 1)).all()):
            raise ValueError("value must lie in [0, 1] to be a probability")
        past = value - self.prob_left
        left = _log_ratio(value / self.prob_left, past / self.prob_left)
        right = _log_ratio((1.0 - value) / self.prob_right, -past / self.prob_right)
        return self.loc + torch.where(past < 0, self.left_scale * left, -self.right_scale * right)

    def rsample(self, sample_shape: Any = (), *, generator: Generator | None = None) -> Tensor:
        """Draws (*sample_shape, *batch_shape), differentiable in all parameters."""
        shape = self._extended_shape(Size(sample_shape))
        noise = self.loc.new_empty((2, *shape)).exponential_(generator=generator)
        draws: Tensor = self.loc - self.left_scale * noise[0] + self.right_scale * noise[1]
        return draws

    def _standardised(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """(x - m) / s_L where x < m, else 0, and (x - m) / s_R where x > m, else 0."""
        if self._validate_args:
            self._validate_sample(value)
        offset = value - self.loc
        return offset.clamp(max=0.0) / self.left_scale, offset.clamp(min=0.0) / self.right_scale

    def _check_parameters(self) -> None:
        super()._check_parameters()
        for name, value in zip(("right", "left"), self.scales, strict=True):
            wrong = ~((value > 0) & torch.isfinite(value))
            if wrong.any():
                raise ValueError(f"scale and asymmetry give a {name} scale of zero or infinity")


def _log_two_sided(near: Tensor, far: Tensor, below: Tensor, above: Tensor) -> Tensor:
    """log of near exp(below) where below < 0, else of near + far (1 - exp(-above)).

    near + far = 1. Past half the mass by log1p of what is missing, before it by the sum, which
    does not cancel.
    """
    missing = far * torch.exp(-above)
    rest = near - far * torch.expm1(-above)
    most = missing < 0.5
    by_rest = torch.where(most, torch.ones_like(rest), rest).log()
    by_missing = torch.log1p(-torch.where(most, missing, torch.zeros_like(missing)))
    return torch.where(below < 0, near.log() + below, torch.where(most, by_missing, by_rest))


def _log_ratio(ratio: Tensor, less_one: Tensor) -> Tensor:
    """log of a ratio, from the ratio less one where it is near one."""
    return torch.where(ratio > 0.5, torch.log1p(less_one.clamp_min(-0.5)), ratio.log())
