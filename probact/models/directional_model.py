r"""Class-conditional laws of unit activations as one Pyro program, for comparison by posterior.

Symbols: a (N, D) unit activations; y (N,) labels; mu (C, D) directions; kappa (C,) or ()
concentrations with a common prior. Directions are given (tied) or uniform on the sphere (untied).
For the untied von Mises-Fisher law the posterior is sampled exactly, without a chain: with S_i the
sum of class i's activations and R_i = |S_i|, integrating mu_i out leaves

    p(kappa_i | a) ~ p(kappa_i) exp(K(kappa_i R_i) - n_i K(kappa_i)),
    mu_i | kappa_i, a ~ vMF(S_i / R_i, kappa_i R_i),

K the log moment generating function of the uniform law (`probact.special`).
"""

from collections.abc import Callable

import pyro
import torch
from pyro.distributions import TorchDistribution
from pyro.nn import PyroModule
from torch import Generator, Tensor
from torch.distributions import Distribution

from probact.distributions import SphereUniform, VonMisesFisher
from probact.models.unit_data import check_labels, check_unit_rows
from probact.special import log_sphere_mgf

__all__ = ["DirectionalModel"]

_GRID = 4096  # points of log kappa for the inverse distribution function


class DirectionalModel(PyroModule):
    """a | y ~ family(mu_y, kappa_y) with the prior of kappa, and of mu where it is not given.

    Args:
        family: a law with arguments (loc, concentration), such as `PowerSpherical`.
        prior: of kappa, univariate with batch shape () for one kappa, or (C,).
        directions: mu (C, D) unit vectors, or None for free ones.
        num_classes, dim: C and D.

    Raises:
        ValueError: shapes that do not fit.
    """

    directions: Tensor | None

    def __init__(
        self,
        family: Callable[..., TorchDistribution],
        prior: Distribution,
        *,
        num_classes: int,
        dim: int,
        directions: Tensor | None = None,
    ) -> None:
        super().__init__()
        if tuple(prior.batch_shape) not in ((), (num_classes,)):
            raise ValueError(f"prior must have batch shape () or ({num_classes},)")
        if directions is not None:
            check_unit_rows(directions, "directions", dim)
        self.family, self.prior = family, prior
        self.num_classes, self.dim = num_classes, dim
        self.register_buffer("directions", directions)
        self.dims = {"direction": ("feature",)}

    def forward(self, activations: Tensor, labels: Tensor) -> Tensor:
        """kappa ~ prior; mu_i uniform where free; activation ~ family(mu_label, kappa_label)."""
        if Distribution._validate_args:
            check_unit_rows(activations, "activations", self.dim)
            check_labels(labels, self.num_classes, len(activations))
        kappa, mu = self._concentration(), self._directions()
        with pyro.plate("data", len(activations)):
            law = self.family(mu[labels], kappa[labels] if kappa.ndim else kappa)
            activation: Tensor = pyro.sample("activation", law, obs=activations)
        return activation

    def _concentration(self) -> Tensor:
        if not self.prior.batch_shape:
            kappa: Tensor = pyro.sample("concentration", self.prior)
            return kappa
        with pyro.plate("class", self.num_classes):
            kappa = pyro.sample("concentration", self.prior)
        return kappa

    def _directions(self) -> Tensor:
        if self.directions is not None:
            return self.directions
        with pyro.plate("class", self.num_classes):
            mu: Tensor = pyro.sample("direction", SphereUniform(self.dim, dtype=torch.float64))
        return mu

    def exact_posterior(
        self, activations: Tensor, labels: Tensor, *, draws: int = 1000, seed: int = 0
    ) -> dict[str, Tensor]:
        """Independent draws of concentration (S, C) and direction (S, C, D) of the untied vMF law.

        kappa's distribution function is inverted on a grid of 4096 points in log kappa that spans
        all but e^-40 of its mass; mu follows exactly.

        Raises:
            ValueError: another family, given directions, one kappa for all, or an empty class.
        """
        if self.family is not VonMisesFisher or self.directions is not None:
            raise ValueError("only the von Mises-Fisher law with free directions is exact")
        if not self.prior.batch_shape:
            raise ValueError("exact draws take a prior with one kappa per class, batch shape (C,)")
        check_unit_rows(activations, "activations", self.dim)
        check_labels(labels, self.num_classes, len(activations))
        count = torch.bincount(labels, minlength=self.num_classes)
        if (count == 0).any():
            raise ValueError(f"class {int((count == 0).nonzero()[0])} has no activation")
        total = activations.new_zeros(self.num_classes, self.dim, dtype=torch.float64)
        total.index_add_(0, labels, activations.double())
        length = torch.linalg.vector_norm(total, dim=1)
        generator = Generator(activations.device).manual_seed(seed)
        kappa = self._draw_concentration(count.double(), length, draws, generator)
        direction = VonMisesFisher(total / length.unsqueeze(1), kappa * length)
        return {"concentration": kappa, "direction": direction.sample(generator=generator)}

    def _draw_concentration(
        self, count: Tensor, length: Tensor, draws: int, generator: Generator
    ) -> Tensor:
        low, high = self._log_range(count, length)
        log_kappa = torch.linspace(0.0, 1.0, _GRID, dtype=torch.float64, device=count.device)
        log_kappa = low + (high - low) * log_kappa.unsqueeze(1)  # (grid, C)
        density = self._log_posterior(log_kappa, count, length)
        mass = (density - density.amax(0)).exp().cumsum(0)
        u = (
            torch.rand(
                draws, len(count), dtype=torch.float64, device=count.device, generator=generator
            )
            * mass[-1]
        )
        upper = torch.searchsorted(mass.T.contiguous(), u.T.contiguous()).clamp(1, _GRID - 1)
        below, above = mass.T.gather(1, upper - 1), mass.T.gather(1, upper)
        part = ((u.T - below) / (above - below)).clamp(0.0, 1.0)
        start, end = log_kappa.T.gather(1, upper - 1), log_kappa.T.gather(1, upper)
        return (start + part * (end - start)).exp().T

    def _log_posterior(self, log_kappa: Tensor, count: Tensor, length: Tensor) -> Tensor:
        """log p(log kappa_i | a) up to a constant, (grid, C)."""
        kappa = log_kappa.exp()
        evidence = log_sphere_mgf(kappa * length, self.dim) - count * log_sphere_mgf(
            kappa, self.dim
        )
        prior: Tensor = self.prior.log_prob(kappa)
        return prior + log_kappa + evidence

    def _log_range(self, count: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """Ends of log kappa (C,) beyond which the density is below e^-40 of its peak."""
        coarse = torch.linspace(-20.0, 30.0, _GRID, dtype=torch.float64, device=count.device)
        density = self._log_posterior(coarse.unsqueeze(1), count, length)
        kept = density > density.amax(0) - 40.0
        first = kept.int().argmax(0)
        last = _GRID - 1 - kept.int().flip(0).argmax(0)
        return coarse[(first - 1).clamp_min(0)], coarse[(last + 1).clamp_max(_GRID - 1)]
