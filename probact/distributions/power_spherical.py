r"""Power spherical law on S^(d-1) (De Cao & Aziz 2020), a rival of the von Mises-Fisher law.

Symbols: mu (..., d) mean direction `loc`; kappa (...) >= 0 `concentration`; b = (d-1)/2,
a = b + kappa. Density (1 + <mu, x>)^kappa / (2^(a+b) pi^b Gamma(a) / Gamma(a+b)).
"""

import math

import torch
from torch import Generator, Size, Tensor

from probact.distributions.sphere_law import AxialLaw
from probact.distributions.sphere_sampling import lift_to_sphere
from probact.special import widen

__all__ = ["PowerSpherical"]

_STIRLING = 1e3  # from here on the series is exact and differences of log Gamma cancel


class PowerSpherical(AxialLaw):
    """Power spherical law on S^(d-1), d >= 2; uniform at concentration 0.

    Args:
        loc: unit vectors (..., d), tensor or array.
        concentration: kappa (...) >= 0; broadcasts with loc's batch.

    Raises:
        TypeError, ValueError: as for `VonMisesFisher`.

    >>> PowerSpherical(torch.tensor([0.0, 0.0, 1.0]), 10.0).mean  # kappa / (d - 1 + kappa)
    tensor([0.0000, 0.0000, 0.8333])
    """

    def _draw(self, sample_shape: Size, generator: Generator | None) -> Tensor:
        """(1 - <mu, x>)/2 is Beta(b, a)."""
        shape = sample_shape + self._batch_shape
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
