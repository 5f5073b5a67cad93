r"""Dirichlet-process Gaussian mixture (Neal 2000; Jamroz et al. 2020, eq. 3).

Symbols: x (N, D) data; z (N,) labels; alpha > 0 concentration; s factor on the scale S_0 of the
base, a normal-inverse-Wishart law (mu_k, Sigma_k) of components; n_k sizes; t_k Student-t density
of a further row of component k, t_0 of a new one.

    alpha ~ Gamma(1, 1),  z ~ CRP(alpha),  (mu_k, Sigma_k) ~ NIW,  x_i ~ N(mu_{z_i}, Sigma_{z_i})
    p(x* | z, x) = sum_k n_k / (alpha + N) t_k(x*) + alpha / (alpha + N) t_0(x*)
"""

from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Tensor
from torch.distributions import Distribution

from probact.arrays import as_matrix, as_number, check_count
from probact.distributions import (
    ChineseRestaurantProcess,
    DiagonalStudentTMixture,
    InverseWishart,
    NormalInverseWishart,
    PosteriorPredictive,
    ProductPartition,
    StudentTMixture,
)
from probact.models.partition_draws import check_positive_law, partition_draws
from probact.models.truncated_dpgmm import TruncatedDPGMM

__all__ = ["DPGMM", "LogScore"]


class LogScore(NamedTuple):
    """Mean log density over held-out rows, nats, and its standard error over the rows."""

    mean: float
    standard_error: float


class DPGMM(PyroModule):
    """Mixture of Gaussians whose number is learned from the data.

    The program has the components summed out: `probact.sample` draws alpha and partitions, and
    components are recovered from a partition. `with_components` is the program written out.

    Args:
        base: prior of a component, for instance `NormalInverseWishart.from_data(x)`.
        concentration: prior law of alpha, or alpha; by default Gamma(1, 1).
        scale_factor: prior law of s; by default s = 1.

    Raises:
        TypeError: base is no normal-inverse-Wishart law.
        ValueError: a prior that is no Pyro law of one positive number, alpha <= 0.

    >>> x = torch.tensor([[0.0], [0.1], [5.0], [5.1]], dtype=torch.float64)
    >>> model = DPGMM(NormalInverseWishart.from_data(x), concentration=1.0)
    >>> model.mixture(x, torch.tensor([0, 0, 1, 1]), 1.0).weights
    tensor([0.4000, 0.4000, 0.2000], dtype=torch.float64)
    """

    def __init__(
        self,
        base: NormalInverseWishart,
        *,
        concentration: Distribution | float | None = None,
        scale_factor: Distribution | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(base, NormalInverseWishart):
            raise TypeError(f"base must be a NormalInverseWishart, got {type(base).__name__}")
        if concentration is None:
            one = torch.ones((), dtype=torch.float64)
            concentration = dist.Gamma(one, one)
        if isinstance(concentration, Distribution):
            check_positive_law(concentration, "concentration")
        else:
            concentration = as_number(concentration, "concentration", 0.0)
        if scale_factor is not None:
            check_positive_law(scale_factor, "scale_factor")
        self.base, self.concentration, self.scale_factor = base, concentration, scale_factor
        self.dims = {
            "z": ("obs",),
            "x": ("obs", "feature"),
            "prior_loc": ("feature",),
            "prior_scale": ("feature", "other_feature"),
        }

    @property
    def constant_data(self) -> dict[str, Tensor]:
        """prior_loc, prior_scale, prior_kappa, prior_df and prior_diagonal, of the base."""
        base = self.base
        return {
            "prior_loc": base.loc,
            "prior_scale": base.scale,
            "prior_kappa": torch.tensor(base.kappa, dtype=torch.float64),
            "prior_df": torch.tensor(base.df, dtype=torch.float64),
            "prior_diagonal": torch.tensor(base.diagonal),
        }

    def forward(self, x: Tensor | None = None, *, num_points: int | None = None) -> Tensor:
        """alpha ~ prior; s ~ prior; z ~ CRP(alpha); x | z, s with the components summed out.

        Sites "alpha" and "scale_factor" where they have a prior, "z" (N,), "x" (N, D). Without x,
        num_points rows are drawn.

        Raises: ValueError or TypeError for x that is not a finite matrix with D columns.
        """
        rows, size = self._data(x, num_points)
        alpha, s, base = self._hyperparameters(rows)
        z = pyro.sample("z", ChineseRestaurantProcess(alpha, size))
        drawn: Tensor = pyro.sample("x", ProductPartition(z, base, s), obs=rows)
        return drawn

    def with_components(self, x: Tensor | None = None, *, num_points: int | None = None) -> Tensor:
        """The program with its components: sites "covariance" (K, D, D) and "mean" (K, D) besides.

        K is the largest label plus one. Where the base is diagonal, the site "variance" (K, D)
        stands for "covariance". Holds N x D x D numbers: for small data, and for checks.

        Raises: as `forward`.
        """
        rows, size = self._data(x, num_points)
        alpha, s, base = self._hyperparameters(rows)
        z = pyro.sample("z", ChineseRestaurantProcess(alpha, size))
        with pyro.plate("component", int(z.max()) + 1):
            covariance = _covariance(base if self.scale_factor is None else base.rescaled(s))
            mean = pyro.sample("mean", dist.MultivariateNormal(base.loc, covariance / base.kappa))
        with pyro.plate("data", size):
            law = dist.MultivariateNormal(mean[z], covariance[z])
            drawn: Tensor = pyro.sample("x", law, obs=rows)
        return drawn

    def truncated(
        self,
        num_components: int,
        *,
        x: Any = None,
        num_points: int | None = None,
        seed: int = 0,
    ) -> TruncatedDPGMM:
        """The same mixture with at most num_components components, for `probact.fit`.

        The arguments are those of `TruncatedDPGMM`.

        Raises: ValueError as there, or where s has a prior.
        """
        if self.scale_factor is not None:
            raise ValueError("scale_factor must be None: the truncated program has none")
        return TruncatedDPGMM(
            self.base,
            num_components,
            concentration=self.concentration,
            x=x,
            num_points=num_points,
            seed=seed,
        )

    def mixture(
        self,
        x: Any,
        z: Tensor,
        alpha: Tensor | float,
        scale_factor: Tensor | float = 1.0,
        *,
        new_component: bool = True,
    ) -> StudentTMixture | DiagonalStudentTMixture:
        """Predictive density given one state: the occupied components and, last, a new one.

        x (N, D); z (N,) integers; alpha and s numbers. Without new_component the density is that
        of a row of an occupied component: weights n_k / N.

        Raises:
            TypeError: x is no array, alpha no number.
            ValueError: x is not a finite matrix with D columns, z not one label per row, or alpha
                or s not positive.
        """
        alpha, s = as_number(alpha, "alpha", 0.0), as_number(scale_factor, "scale_factor", 0.0)
        base = self.base if s == 1.0 else self.base.rescaled(s)
        new, known = base.predictive(), base.predictives(x, z)
        sizes = z.unique(return_counts=True)[1].to(new.loc)
        if not new_component:
            weights = sizes / sizes.sum()
            if isinstance(known, dist.MultivariateStudentT):
                return StudentTMixture(weights, known.df, known.loc, known.scale_tril)
            return DiagonalStudentTMixture(weights, known.df, known.loc, known.scale)
        weights = torch.cat([sizes, sizes.new_tensor([alpha])]) / (sizes.sum() + alpha)
        df = torch.cat([known.df, new.df[None]])
        loc = torch.cat([known.loc, new.loc[None]])
        if isinstance(known, dist.MultivariateStudentT):
            factors = torch.cat([known.scale_tril, new.scale_tril[None]])
            return StudentTMixture(weights, df, loc, factors)
        return DiagonalStudentTMixture(weights, df, loc, torch.cat([known.scale, new.scale[None]]))

    def predictive(
        self, posterior: Any, *, max_draws: int = 50, new_component: bool = True
    ) -> PosteriorPredictive:
        """Predictive density averaged over kept draws of what `probact.sample` returned.

        At most max_draws draws are kept, evenly spaced in the chains laid end to end, with the
        first and the last one: each costs K factorisations of D x D matrices. new_component as in
        `mixture`: the law of the next row has it; how complex the clusters found are is read
        without it, since its spread is that of the prior.

        Raises: ValueError for a posterior of another model, or max_draws < 1.
        """
        fixed = None if isinstance(self.concentration, Distribution) else self.concentration
        kept = partition_draws(posterior, max_draws, fixed, self.constant_data)
        states = zip(kept.z, kept.alpha, kept.scale_factor, strict=True)
        return PosteriorPredictive(
            [self.mixture(kept.x, *state, new_component=new_component) for state in states]
        )

    def held_out_log_density(self, posterior: Any, x_new: Any, *, max_draws: int = 50) -> LogScore:
        """Mean log predictive density of rows x_new (M, D), nats per row, and its standard error.

        The density is averaged over the kept draws before its logarithm is taken.

        Raises: ValueError as `predictive`, or for x_new with fewer than two rows.
        """
        rows = self._rows(x_new, "x_new")
        check_count(len(rows), "len(x_new)", smallest=2)
        rows = rows.to(self.base.loc.device)
        log_prob = self.predictive(posterior, max_draws=max_draws).log_prob(rows)
        return LogScore(float(log_prob.mean()), float(log_prob.std()) / len(rows) ** 0.5)

    def _data(self, x: Tensor | None, num_points: int | None) -> tuple[Tensor | None, int]:
        """Checked rows, or None, and how many there are or shall be."""
        if x is None:
            if num_points is None:
                raise ValueError("x must be a matrix (N, D), got None and no num_points")
            check_count(num_points, "num_points")
            return None, num_points
        rows = self._rows(x, "x")
        if num_points not in (None, len(rows)):
            raise ValueError(f"num_points must be {len(rows)}, the rows of x, got {num_points}")
        return rows, len(rows)

    def _rows(self, x: Any, name: str) -> Tensor:
        rows = as_matrix(x, name).double()
        if rows.shape[1] != self.base.dim:
            raise ValueError(f"{name} must have {self.base.dim} columns, got {rows.shape[1]}")
        return rows

    def _hyperparameters(
        self, rows: Tensor | None
    ) -> tuple[Tensor, Tensor | float, NormalInverseWishart]:
        """alpha, s and the base, where the data live."""
        base = self.base if rows is None else self.base.to(rows.device)
        prior = self.concentration
        if isinstance(prior, Distribution):
            alpha: Tensor = pyro.sample("alpha", prior).to(base.loc)
        else:
            alpha = base.loc.new_tensor(prior)
        s = 1.0 if self.scale_factor is None else pyro.sample("scale_factor", self.scale_factor)
        return alpha, s, base


def _covariance(base: NormalInverseWishart) -> Tensor:
    """Sites of the covariances (K, D, D) in their plate."""
    if base.diagonal:
        half = base.loc.new_full((base.dim,), 0.5 * (base.df - base.dim + 1))
        law = dist.InverseGamma(half, 0.5 * base.scale.diagonal()).to_event(1)
        variance: Tensor = pyro.sample("variance", law)
        return variance.diag_embed()
    covariance: Tensor = pyro.sample("covariance", InverseWishart(base.df, base.scale))
    return covariance
