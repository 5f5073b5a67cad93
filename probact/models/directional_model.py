r"""Class-conditional laws of unit activations as one Pyro program, compared by their posteriors.

Symbols: a (N, D) unit activations; y (N,) labels; mu (C, D) directions; kappa (C,) or ()
concentrations with a prior. Directions are given (tied) or uniform on the sphere (untied).
The laws are exponential families in kappa, so the posterior is drawn from exactly, with no chain:

    log f(a; mu, kappa) = log f(mu; mu, kappa) + kappa s(a),   s(a) the same for every kappa,

and for the untied von Mises-Fisher law, with S_i the sum of the n_i activations of class i and
mu_i integrated out, p(kappa_i | a) ~ p(kappa_i) exp(K(kappa_i |S_i|) - n_i K(kappa_i)), then
mu_i | kappa_i, a ~ vMF(S_i / |S_i|, kappa_i |S_i|); K is `special.log_sphere_mgf`.
"""

from collections.abc import Callable
from typing import Any

import pyro
import torch
from pyro.distributions import TorchDistribution
from pyro.nn import PyroModule
from pyro.ops.indexing import Vindex
from torch import Generator, Tensor
from torch.distributions import Distribution

from probact.arrays import check_count, check_seed
from probact.distributions import SphereUniform, VonMisesFisher
from probact.models.unit_data import check_labelled, check_prior, check_unit_rows
from probact.special import log_sphere_mgf

__all__ = ["DirectionalModel"]

_GRID = 4096  # points of log kappa for the inverse distribution function


class DirectionalModel(PyroModule):
    """a | y ~ family(mu_y, kappa_y) with the prior of kappa, and of mu where it is not given.

    Args:
        family: a law with arguments (loc, concentration), such as `PowerSpherical`.
        prior: of kappa, univariate with batch shape () for one kappa, or (C,); it may be bounded.
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
        check_count(num_classes, "num_classes")
        check_count(dim, "dim", smallest=2)
        check_prior(prior, "prior", num_classes)
        if directions is not None:
            check_unit_rows(directions, "directions", dim)
            if len(directions) != num_classes:
                raise ValueError(
                    f"directions must be one per class: {len(directions)} for {num_classes}"
                )
        self.family, self.prior = family, prior
        self.num_classes, self.dim = num_classes, dim
        self.register_buffer("directions", directions)
        self.dims = {"direction": ("feature",)}

    @property
    def site_dims(self) -> dict[str, tuple[str, ...]]:
        """Names of the axes of what `exact_posterior` returns, after that of the draws."""
        dims: dict[str, tuple[str, ...]] = {}
        dims["concentration"] = ("class",) if self.prior.batch_shape else ()
        if self.directions is None:
            dims["direction"] = ("class", "feature")
        return dims

    def forward(self, activations: Tensor, labels: Tensor) -> Tensor:
        """kappa ~ prior; mu_i uniform where free; activation ~ family(mu_label, kappa_label)."""
        if Distribution._validate_args:
            check_labelled(activations, labels, self.dim, self.num_classes)
        classes = pyro.plate("class", self.num_classes)
        kappa, mu = self._concentration(classes), self._directions(classes)
        with pyro.plate("data", len(activations)):
            if self.prior.batch_shape:  # axes of draws or particles may stand on the left
                kappa = Vindex(kappa.unsqueeze(-2))[..., labels]
            law = self.family(Vindex(mu.unsqueeze(-3))[..., labels, :], kappa)
            activation: Tensor = pyro.sample("activation", law, obs=activations)
        return activation

    def _concentration(self, classes: pyro.plate) -> Tensor:
        if not self.prior.batch_shape:
            kappa: Tensor = pyro.sample("concentration", self.prior)
            return kappa
        with classes:
            kappa = pyro.sample("concentration", self.prior)
        return kappa

    def _directions(self, classes: pyro.plate) -> Tensor:
        if self.directions is not None:
            return self.directions
        with classes:
            mu: Tensor = pyro.sample("direction", SphereUniform(self.dim, dtype=torch.float64))
        return mu

    def exact_posterior(
        self, activations: Tensor, labels: Tensor, *, draws: int = 1000, seed: int = 0
    ) -> dict[str, Tensor]:
        """Independent draws of concentration (S,) or (S, C), and of direction (S, C, D) if free.

        kappa's distribution function is inverted on a grid of 4096 points in log kappa that spans
        all but e^-40 of its peak; the rest is exact.

        Raises:
            ValueError: free directions of another family than von Mises-Fisher, an empty class,
                activations that are not unit vectors, labels out of range, a prior that leaves no
                density on the grid.
        """
        check_count(draws, "draws")
        check_seed(seed)
        if self.directions is None and self.family is not VonMisesFisher:
            raise ValueError("with free directions only the von Mises-Fisher law is exact")
        check_labelled(activations, labels, self.dim, self.num_classes)
        count = torch.bincount(labels, minlength=self.num_classes)
        if (count == 0).any():
            raise ValueError(f"class {int((count == 0).nonzero()[0])} has no activation")
        generator = Generator(activations.device).manual_seed(seed)
        total = activations.new_zeros(self.num_classes, self.dim, dtype=torch.float64)
        total.index_add_(0, labels, activations.double())
        length = torch.linalg.vector_norm(total, dim=1)
        if self.directions is not None:
            statistic = self._sufficient_statistic(activations.double(), labels)

        def log_posterior(log_kappa: Tensor) -> Tensor:  # (grid, 1 or C) -> (grid, 1 or C)
            kappa = log_kappa.exp()
            if self.directions is None:
                evidence = log_sphere_mgf(kappa * length, self.dim)
                evidence = evidence - count * log_sphere_mgf(kappa, self.dim)
            else:
                evidence = count * self._log_peak(kappa) + kappa * statistic
            if not self.prior.batch_shape:
                evidence = evidence.sum(1, keepdim=True)
            return _log_density(self.prior, kappa) + log_kappa + evidence

        columns = self.num_classes if self.prior.batch_shape else 1
        kappa = _invert_on_grid(log_posterior, columns, draws, generator)
        sites = {"concentration": kappa if self.prior.batch_shape else kappa[:, 0]}
        if self.directions is None:
            mean = total / length.clamp_min(torch.finfo(torch.float64).tiny).unsqueeze(1)
            mean[length == 0, 0] = 1.0  # the activations cancel: every direction fits
            law = VonMisesFisher(mean, kappa * length)
            sites["direction"] = law.sample(generator=generator)
        return sites

    def _log_peak(self, kappa: Tensor) -> Tensor:
        """log f(mu; mu, kappa), shape of kappa; the same for every direction mu."""
        axis = torch.zeros(self.dim, dtype=torch.float64, device=kappa.device)
        axis[0] = 1.0
        peak: Tensor = self.family(axis, kappa).log_prob(axis)
        return peak

    def _sufficient_statistic(self, x: Tensor, labels: Tensor) -> Tensor:
        """Sum over each class of s(a) = log f(a) - log f(mu) at kappa = 1, (C,)."""
        assert self.directions is not None
        one = x.new_ones(())
        s = self.family(self.directions[labels].double(), one).log_prob(x) - self._log_peak(one)
        return torch.bincount(labels, s, self.num_classes)


def _log_density(prior: Distribution, kappa: Tensor) -> Tensor:
    """log p(kappa), shape of kappa (G, columns); -inf off the support (log_prob may raise)."""
    constraint: Any = prior.support
    inside = constraint.check(kappa)
    if not inside.any(0).all():
        return torch.full_like(kappa, -torch.inf)
    somewhere = kappa.gather(0, inside.int().argmax(0, keepdim=True))
    log_prob: Tensor = prior.log_prob(torch.where(inside, kappa, somewhere))
    return torch.where(inside, log_prob, -torch.inf)


def _invert_on_grid(
    log_density: Callable[[Tensor], Tensor], columns: int, draws: int, generator: Generator
) -> Tensor:
    """Draws (S, columns) of exp(l) for l with the log densities given on grids (G, columns)."""
    device = generator.device
    coarse = torch.linspace(-20.0, 30.0, _GRID, dtype=torch.float64, device=device)
    density = log_density(coarse.unsqueeze(1).expand(-1, columns))
    if not torch.isfinite(density.amax(0)).all():
        raise ValueError("the posterior of kappa has no density between e^-20 and e^30")
    kept = density > density.amax(0) - 40.0
    first = (kept.int().argmax(0) - 1).clamp_min(0)
    last = (_GRID - kept.int().flip(0).argmax(0)).clamp_max(_GRID - 1)
    low, high = coarse[first], coarse[last]
    unit = torch.linspace(0.0, 1.0, _GRID, dtype=torch.float64, device=device).unsqueeze(1)
    grid = low + (high - low) * unit  # (G, columns)
    density = log_density(grid)
    mass = (density - density.amax(0)).exp().cumsum(0).T.contiguous()  # (columns, G)
    u = torch.rand(columns, draws, dtype=torch.float64, device=device, generator=generator)
    u = u * mass[:, -1:]
    upper = torch.searchsorted(mass, u).clamp(1, _GRID - 1)
    below, above = mass.gather(1, upper - 1), mass.gather(1, upper)
    part = (u - below) / (above - below)
    lines = grid.T
    start, end = lines.gather(1, upper - 1), lines.gather(1, upper)
    half_cell = 0.5 * (high - low).unsqueeze(1) / (_GRID - 1)  # a sum up to j ends past point j
    return (start + part * (end - start) + half_cell).exp().T
