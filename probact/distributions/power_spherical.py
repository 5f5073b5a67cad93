r"""Power spherical law on S^(d-1) (De Cao & Aziz 2020), a rival of the von Mises-Fisher law.

Symbols: mu (..., d) mean direction `loc`; kappa (...) >= 0 `concentration`; b = (d-1)/2,
a = b + kappa. Density (1 + <mu, x>)^kappa / (2^(a+b) pi^b Gamma(a) / Gamma(a+b)).
"""

import math
from typing import Any, Self

import torch
from pyro.distributions import TorchDistribution
from torch import Generator, Size, Tensor
from torch.distributions import constraints

from probact.distributions.sphere_parameters import as_generator, as_sphere_parameters, unit_vector
from probact.distributions.sphere_sampling import lift_to_sphere
from probact.special import widen

__all__ = ["PowerSpherical"]

_STIRLING = 1e3  # from here on the series is exact and differences of log Gamma cancel


class PowerSpherical(TorchDistribution):
    """Power spherical law on S^(d-1), d >= 2; uniform at concentration 0.

    Args:
        loc: unit vectors (..., d), tensor or array.
        concentration: kappa (...) >= 0; broadcasts with loc's batch.

    Raises:
        TypeError, ValueError: as for `VonMisesFisher`.

    >>> PowerSpherical(torch.tensor([0.0, 0.0, 1.0]), 10.0).mean  # kappa / (d - 1 + kappa)
    tensor([0.0000, 0.0000, 0.8333])
    """

    arg_constraints = {"loc": unit_vector, "concentration": constraints.nonnegative}
    support = unit_vector

    loc: Tensor
    concentration: Tensor

    def __init__(self, loc: Any, concentration: Any, *, validate_args: bool | None = None) -> None:
        loc, concentration = as_sphere_parameters(loc, concentration, validate_args)
        batch_shape = torch.broadcast_shapes(loc.shape[:-1], concentration.shape)
        self.loc, self.concentration = loc, concentration
        super().__init__(batch_shape, loc.shape[-1:], validate_args=validate_args)

    @property
    def dim(self) -> int:
        return int(self._event_shape[0])

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        new: Self = self._get_checked_instance(PowerSpherical, _instance)
        batch_shape = Size(batch_shape)
        new.loc = self.loc.expand(*batch_shape, self.dim)
        new.concentration = self.concentration.expand(batch_shape)
        super(PowerSpherical, new).__init__(batch_shape, self._event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @classmethod
    def infer_shapes(cls, loc: Any, concentration: Any) -> tuple[Size, Size]:
        return torch.broadcast_shapes(loc[:-1], concentration), Size(loc[-1:])

    def sample(
        self,
        sample_shape: Any = (),
        *,
        generator: Generator | None = None,
        seed: int | None = None,
    ) -> Tensor:
        """Draws (*sample_shape, *batch_shape, d): (1 - <mu, x>)/2 is Beta(b, a)."""
        generator = as_generator(generator, seed, self.loc.device)
        shape = Size(sample_shape) + self._batch_shape
        with torch.no_grad():
            b = torch.full(shape, 0.5 * (self.dim - 1.0)).to(self.concentration.device).double()
            below = torch._standard_gamma(b, generator=generator)
            above = torch._standard_gamma(b + self.concentration, generator=generator)
            v = 2.0 * below / (below + above)
            unit = self.loc / torch.linalg.vector_norm(self.loc, dim=-1, keepdim=True)
            return lift_to_sphere(unit, v, tuple(shape), generator)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats of unit vectors (..., d), with respect to surface measure."""
        if self._validate_args:
            self._validate_sample(value)
        quarter_chord = 0.25 * (value - self.loc).square().sum(-1)  # (1 - t) / 2
        # at kappa = 0 the law is uniform, also at the antipode: xlog1py(0, -1) = 0
        power = torch.special.xlog1py(self.concentration, -quarter_chord.clamp_max(1.0))
        log_density: Tensor = power + self._log_peak
        return log_density

    @property
    def _log_peak(self) -> Tensor:
        """Log density at mu: log Gamma(a+b) - log Gamma(a) - b log 4 pi."""
        b = 0.5 * (self.dim - 1.0)
        rise = _gamma_rise(widen(self.concentration) + b, b)
        return (rise - b * math.log(4.0 * math.pi)).to(self.concentration.dtype)

    @property
    def mean(self) -> Tensor:
        return (self.concentration / (self.dim - 1.0 + self.concentration)).unsqueeze(
            -1
        ) * self.loc

    def entropy(self) -> Tensor:
        """Differential entropy in nats, batch_shape (De Cao & Aziz 2020, eq. 12)."""
        b = 0.5 * (self.dim - 1.0)
        kappa = widen(self.concentration)
        slope = _digamma_rise(kappa + b, b)
        entropy = b * math.log(4.0 * math.pi) - _gamma_rise(kappa + b, b) + kappa * slope
        return entropy.to(self.concentration.dtype).expand(self._batch_shape)


def _gamma_rise(a: Tensor, b: float) -> Tensor:
    """log Gamma(a+b) - log Gamma(a), by Stirling's series (DLMF 5.11.1) at large a."""
    large = a.clamp_min(_STIRLING)
    top = large + b
    series = (large - 0.5) * torch.log1p(b / large) + b * (top.log() - 1.0)
    series = series + (1.0 / top - 1.0 / large) / 12.0 - (top**-3 - large**-3) / 360.0
    return torch.where(a < _STIRLING, torch.lgamma(a + b) - torch.lgamma(a), series)


def _digamma_rise(a: Tensor, b: float) -> Tensor:
    """psi(a+b) - psi(a), the slope of `_gamma_rise` (DLMF 5.11.2 at large a)."""
    large = a.clamp_min(_STIRLING)
    top = large + b
    series = torch.log1p(b / large) - 0.5 * (1.0 / top - 1.0 / large)
    series = series - (top**-2 - large**-2) / 12.0
    return torch.where(a < _STIRLING, torch.digamma(a + b) - torch.digamma(a), series)
