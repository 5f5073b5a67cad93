r"""Truncated stick-breaking form of the Dirichlet-process Gaussian mixture (Blei & Jordan 2006).

Symbols: T components; v (T - 1,) sticks; w (T,) weights; x (N, D) data, B rows of it at a time;
(mu_k, Sigma_k) components under the normal-inverse-Wishart base; labels are summed out.

    alpha ~ Gamma(1, 1),  v_k ~ Beta(1, alpha),  w_k = v_k prod_{j<k} (1 - v_j),
    x_i ~ sum_k w_k N(mu_k, Sigma_k)

The guide has independent factors of the same families: Gamma, Beta, normal-inverse-Wishart. A
component has Sigma_k ~ IW(D + 1 + e_k, e_k U L_k L_k' U) with mean U L_k L_k' U, U the square root
of the base's diagonal, so that all parameters are of order one whatever the units of x.
"""

import math
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule, PyroParam
from torch import Generator, Tensor
from torch.distributions import Distribution, constraints

from probact.arrays import as_matrix, as_number, check_count, check_seed
from probact.distributions import InverseWishart, NormalInverseWishart, StudentTMixture
from probact.models.partition_draws import check_positive_law

__all__ = ["TruncatedDPGMM"]

_SEED_ROWS = 10_000  # rows that the first centres are chosen from


class TruncatedDPGMM(PyroModule):
    """Mixture of at most T Gaussians for `probact.fit`, whole or in mini-batches.

    Args:
        base: prior of a component, with full covariances.
        num_components: T >= 2.
        concentration: prior law of alpha, or alpha; by default Gamma(1, 1).
        x: data (N, D); the guide starts at rows of it that are far apart. Without it the guide
            starts at draws from the base, which finds worse fits.
        num_points: N, by which mini-batches are weighted; by default the rows of x, else those of
            each call.
        seed: of the starting point.

    Raises:
        TypeError: base is no normal-inverse-Wishart law.
        ValueError: a diagonal base, T < 2, a bad prior, or x that does not fit base.

    >>> x = torch.randn(50, 2, dtype=torch.float64)
    >>> model = TruncatedDPGMM(NormalInverseWishart.from_data(x), 4, x=x)
    >>> model.responsibilities(x).shape
    torch.Size([50, 4])
    """

    def __init__(
        self,
        base: NormalInverseWishart,
        num_components: int,
        *,
        concentration: Distribution | float | None = None,
        x: Any = None,
        num_points: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not isinstance(base, NormalInverseWishart):
            raise TypeError(f"base must be a NormalInverseWishart, got {type(base).__name__}")
        if base.diagonal:
            raise ValueError("base must have full covariances, got diagonal=True")
        check_count(num_components, "num_components", smallest=2)
        check_seed(seed)
        if concentration is None:
            one = torch.ones((), dtype=torch.float64)
            concentration = dist.Gamma(one, one)
        if isinstance(concentration, Distribution):
            check_positive_law(concentration, "concentration")
        else:
            concentration = as_number(concentration, "concentration", 0.0)
        rows = None if x is None else self._rows(x, base.dim).to(base.loc.device)
        if num_points is not None:
            check_count(num_points, "num_points", smallest=1 if rows is None else len(rows))
        self.base, self.num_components, self.concentration = base, num_components, concentration
        self.num_points = num_points if rows is None or num_points is not None else len(rows)
        self.dims = {
            "mean": ("feature",),
            "covariance": ("feature", "other_feature"),
            "x": ("feature",),
        }
        self._start(rows, Generator(base.loc.device).manual_seed(seed))

    def _start(self, rows: Tensor | None, generator: Generator) -> None:
        """The guide's parameters: each component as if N/T rows had been seen at its centre."""
        t, d, base = self.num_components, self.base.dim, self.base
        if rows is None:
            centres, square = base.predictive().sample((t,), generator=generator), 1.0
        else:
            centres, square = _spread_rows(rows, self._unit(rows), t, generator)
        each = (self.num_points or t) / t
        ones = base.loc.new_ones(t)
        left = torch.arange(t - 1, 0, -1, dtype=torch.float64, device=ones.device)
        positive = constraints.positive
        self.loc = PyroParam((centres - base.loc) / self._unit(base.loc))  # (T, D)
        eye = torch.eye(d, dtype=torch.float64, device=ones.device)
        excess = max(base.df + each - d - 1.0, 0.5)
        width = math.sqrt((1.0 + each * square) / excess)  # in units of the base: S_0 has ones
        self.scale_tril = PyroParam(width * eye.repeat(t, 1, 1), constraints.lower_cholesky)
        self.excess = PyroParam(excess * ones, positive)  # e (T,)
        self.kappa = PyroParam((base.kappa + each) * ones, positive)
        self.stick_up = PyroParam((1.0 + each) * ones[1:], positive)
        self.stick_down = PyroParam(1.0 + each * left, positive)
        if isinstance(self.concentration, Distribution):
            self.alpha_shape = PyroParam(2.0 * ones[0], positive)
            self.alpha_rate = PyroParam(2.0 * ones[0], positive)

    def forward(self, x: Tensor) -> Tensor:
        """The program: sites "alpha" where it has a prior, "stick", "covariance", "mean", "x".

        Raises: ValueError or TypeError for x that is not a finite matrix with D columns.
        """
        rows = self._rows(x, self.base.dim)
        base = self.base.to(rows.device)
        alpha: Any = self.concentration
        if isinstance(alpha, Distribution):
            alpha = pyro.sample("alpha", alpha)
        one = rows.new_ones(())
        with pyro.plate("sticks", self.num_components - 1):
            v = pyro.sample("stick", dist.Beta(one, one * alpha))
        with pyro.plate("component", self.num_components):
            covariance = pyro.sample("covariance", InverseWishart(base.df, base.scale))
            root = torch.linalg.cholesky(covariance)
            law = dist.MultivariateNormal(base.loc, scale_tril=root / math.sqrt(base.kappa))
            mean = pyro.sample("mean", law)
        # axes of particles may stand on the left; that of the components goes behind that of x
        mean, root, w = mean.unsqueeze(-3), root.unsqueeze(-4), _weights(v).unsqueeze(-2)
        mixture = dist.MixtureSameFamily(
            dist.Categorical(w), dist.MultivariateNormal(mean, scale_tril=root)
        )
        with pyro.plate("data", self.num_points or len(rows), subsample_size=len(rows)):
            drawn: Tensor = pyro.sample("x", mixture, obs=rows)
        return drawn

    def guide(self, x: Tensor) -> None:
        """Independent Gamma, Beta and normal-inverse-Wishart factors."""
        if isinstance(self.concentration, Distribution):
            pyro.sample("alpha", dist.Gamma(self.alpha_shape, self.alpha_rate))
        with pyro.plate("sticks", self.num_components - 1):
            pyro.sample("stick", dist.Beta(self.stick_up, self.stick_down))
        unit = self._unit(x)
        root = unit.unsqueeze(-1) * self.scale_tril
        with pyro.plate("component", self.num_components):
            scale = self.excess[:, None, None] * (root @ root.mT)
            df = self.base.dim + 1 + self.excess
            covariance = pyro.sample("covariance", InverseWishart(df, scale))
            factor = torch.linalg.cholesky(covariance) / self.kappa.sqrt()[:, None, None]
            pyro.sample("mean", dist.MultivariateNormal(self.means, scale_tril=factor))

    @property
    def weights(self) -> Tensor:
        """E w (T,) under the guide."""
        return _weights(self.stick_up / (self.stick_up + self.stick_down))

    @property
    def means(self) -> Tensor:
        """E mu_k (T, D) under the guide."""
        loc: Tensor = self.base.loc.to(self.loc.device) + self._unit(self.loc) * self.loc
        return loc

    def predictive(self) -> StudentTMixture:
        """Predictive density under the guide: Student-t components with weights E w."""
        with torch.no_grad():
            df = self.excess + 2.0
            width = (self.excess * (self.kappa + 1.0) / (self.kappa * df)).sqrt()
            root = self._unit(self.loc).unsqueeze(-1) * self.scale_tril
            return StudentTMixture(self.weights, df, self.means, width[:, None, None] * root)

    def responsibilities(self, x: Any) -> Tensor:
        """Probabilities (N, T) of the components given each row of x (N, D), by `predictive`.

        Raises: ValueError or TypeError for x that is not a finite matrix with D columns.
        """
        mixture = self.predictive()
        log_prob = mixture.component_log_prob(self._rows(x, self.base.dim).to(mixture.loc))
        return torch.softmax(mixture.weights.log() + log_prob, -1)

    def _unit(self, like: Tensor) -> Tensor:
        """U (D,), the square root of the diagonal of S_0, where `like` lives."""
        return self.base.scale.diagonal().sqrt().to(like.device)

    @staticmethod
    def _rows(x: Any, dim: int) -> Tensor:
        rows = as_matrix(x, "x").double()
        if rows.shape[1] != dim:
            raise ValueError(f"x must have {dim} columns, as base, got {rows.shape[1]}")
        return rows


def _weights(v: Tensor) -> Tensor:
    """Weights (..., T) of sticks (..., T - 1)."""
    one = torch.ones_like(v[..., :1])
    left = torch.cat([one, (1.0 - v).cumprod(-1)], -1)
    return left * torch.cat([v, one], -1)


def _spread_rows(
    x: Tensor, unit: Tensor, count: int, generator: Generator
) -> tuple[Tensor, float]:
    """count centres (T, D) among rows x, far apart, and the mean square per axis to the nearest.

    k-means++ (Arthur & Vassilvitskii 2007) on at most 10 000 rows, distances in `unit` (D,).
    """
    order = torch.randperm(len(x), generator=generator, device=x.device)[:_SEED_ROWS]
    rows = x[order] / unit
    chosen = [0]  # the rows are in random order
    distance = (rows - rows[0]).square().sum(1)
    for _ in range(count - 1):
        odds = distance if bool(distance.any()) else torch.ones_like(distance)
        chosen.append(int(torch.multinomial(odds / odds.max(), 1, generator=generator)))
        distance = torch.minimum(distance, (rows - rows[chosen[-1]]).square().sum(1))
    return rows[chosen] * unit, float(distance.mean()) / x.shape[1]
