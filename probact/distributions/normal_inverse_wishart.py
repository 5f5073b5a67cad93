r"""Normal-inverse-Wishart law of a component's mean and covariance (Murphy 2012, section 4.6.3).

Symbols: m_0 (D,) `loc`; kappa_0 > 0; S_0 (D, D) `scale`; nu_0 > D - 1 `df`. A component has
Sigma ~ IW(nu_0, S_0) and mu | Sigma ~ N(m_0, Sigma / kappa_0). After n rows of mean m and scatter
A about it (eq. 4.209 to 4.214)

    kappa_n = kappa_0 + n,   nu_n = nu_0 + n,   m_n = (kappa_0 m_0 + n m) / kappa_n,
    S_n = S_0 + A + c v v',   v = m - m_0,   c = kappa_0 n / kappa_n.

S_0 + A and v are kept apart: far from m_0 the sum loses the digits of A, while
|S_0 + A + c v v'| = |S_0 + A| (1 + c v' (S_0 + A)^-1 v) does not.
"""

import copy
import math
from typing import Any, NamedTuple, Self

import torch
from torch import Generator, Tensor
from torch.distributions import InverseGamma, MultivariateNormal

from probact.arrays import as_matrix, as_number
from probact.distributions.component_statistics import (
    Statistics,
    check_partition,
    merged,
    statistics_of,
)
from probact.distributions.inverse_wishart import InverseWishart
from probact.distributions.sphere_parameters import as_generator
from probact.distributions.student_t import (
    DiagonalStudentT,
    MultivariateStudentT,
    factor_of_rows,
    standard_gamma,
    whitened_norm,
)
from probact.distributions.wishart_parameters import (
    as_scale,
    as_vector,
    cholesky_of_scale,
    column_variance,
)
from probact.gamma import log_multigamma_ratio

__all__ = ["Component", "NormalInverseWishart"]


class Component(NamedTuple):
    """mean (D,) and covariance (D, D) of one component."""

    mean: Tensor
    covariance: Tensor


class NormalInverseWishart:
    """Conjugate prior of a Gaussian component, and its posterior; everything in float64.

    Args:
        loc: m_0 (D,), tensor or array.
        kappa: kappa_0 > 0, how many rows the prior mean is worth.
        scale: S_0 (D, D), positive definite; with `diagonal`, diagonal or its diagonal (D,).
        df: nu_0 > D - 1.
        diagonal: D independent coordinates of nu_0 - D + 1 degrees of freedom each, the marginals
            of the full prior, with covariances that are diagonal.

    Raises:
        TypeError: a parameter is no number or array.
        ValueError: shapes that do not fit or values out of their range.

    >>> prior = NormalInverseWishart(torch.zeros(2), 1.0, torch.eye(2), 4.0)
    >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> prior.posterior(x).loc, prior.log_marginal(x)  # nats
    (tensor([0.3333, 0.3333], dtype=torch.float64), tensor(-5.2319, dtype=torch.float64))
    """

    def __init__(
        self, loc: Any, kappa: Any, scale: Any, df: Any, *, diagonal: bool = False
    ) -> None:
        self.diagonal = bool(diagonal)
        self._origin = as_vector(loc, "loc")
        self._prior_kappa = as_number(kappa, "kappa", 0.0)
        self._prior_df = as_number(df, "df", self.dim - 1.0)
        core = as_scale(scale, self.dim, self.diagonal).to(self._origin.device)
        # n, m and S_0 + A; m does not matter while n = 0
        self._evidence = Statistics(core.new_zeros(()), self._origin, core)

    @classmethod
    def from_data(
        cls,
        x: Any,
        *,
        num_components: int | None = None,
        kappa: float = 0.01,
        df: float | None = None,
        scale_factor: float = 1.0,
        diagonal: bool = False,
    ) -> Self:
        """The prior of Jamroz et al. (2020) for data x (N, D).

        m_0 is the mean of x and S_0 = scale_factor diag(variance) / K^(2/D), with the variance of
        each column (the mean square about its mean), K = num_components, by default
        int(log2(1 + N)), and df = D + 2 by default.

        A column that is constant has no variance: it takes the geometric mean of the others';
        where no column varies all take the mean square of x, and 1 where x is zero. So S_0 follows
        x -> c x, and x -> x + b where any column varies.

        Raises:
            TypeError: x is no array.
            ValueError: x is not a finite matrix, or its variance overflows or underflows float64;
                a number out of its range.

        >>> NormalInverseWishart.from_data(torch.tensor([[0.0], [2.0], [4.0]])).scale
        tensor([[0.6667]], dtype=torch.float64)
        """
        rows = as_matrix(x, "x").double()
        n, dim = rows.shape
        clusters = int(math.log2(1 + n)) if num_components is None else num_components
        factor = as_number(scale_factor, "scale_factor", 0.0)
        shrink = as_number(clusters, "num_components", 0.0) ** (-2.0 / dim)
        variance = column_variance(rows) * (factor * shrink)  # (D,)
        if not (torch.isfinite(variance) & (variance >= torch.finfo(torch.float64).tiny)).all():
            raise ValueError(f"scale_factor = {scale_factor!r} leaves the range of float64")
        scale = variance if diagonal else variance.diag()
        df = dim + 2.0 if df is None else df
        return cls(rows.mean(0), kappa, scale, df, diagonal=diagonal)

    @property
    def dim(self) -> int:
        """D."""
        return len(self._origin)

    @property
    def kappa(self) -> float:
        """kappa_0, or kappa_n of a posterior."""
        return self._prior_kappa + float(self._evidence.size)

    @property
    def df(self) -> float:
        """nu_0, or nu_n of a posterior."""
        return self._prior_df + float(self._evidence.size)

    @property
    def loc(self) -> Tensor:
        """m_0 (D,), or m_n of a posterior."""
        return self._location(self._evidence)

    @property
    def scale(self) -> Tensor:
        """S_0 (D, D), or S_n of a posterior; diagonal where the coordinates are independent."""
        core, shift = self._evidence.scatter, self._shift(self._evidence)
        if self.diagonal:
            return (core + shift.square()).diag()
        return core + torch.outer(shift, shift)

    def to(self, device: torch.device | str) -> Self:
        """The same law on another device."""
        moved = Statistics(*(part.to(device) for part in self._evidence))
        return self._with(moved, self._origin.to(device))

    def rescaled(self, factor: Tensor | float) -> Self:
        """The prior with factor S_0 in place of S_0; differentiable in the factor.

        Raises: ValueError for a posterior, or a factor that is not positive.
        """
        if self._evidence.size > 0:
            raise ValueError("only a prior can be rescaled, this is a posterior")
        as_number(factor, "factor", 0.0)
        return self._with(self._evidence._replace(scatter=self._evidence.scatter * factor))

    def posterior(self, x: Any) -> Self:
        """The law given rows x (N, D).

        Raises: TypeError or ValueError for x that is not a finite matrix with D columns.
        """
        pooled = merged(self._evidence, self._statistics(x))  # of K = 1 component
        return self._with(Statistics(*(part[0] for part in pooled)))

    def log_marginal(self, x: Any) -> Tensor:
        """log m(x), nats, () of rows x (N, D) with the component summed out (eq. 5.29).

        Raises: as `posterior`, and ValueError where the result leaves the range of float64.
        """
        return self.log_marginals(x)[0]

    def log_marginals(self, x: Any, labels: Tensor | None = None) -> Tensor:
        """log m(X_k), nats, (K,) of the rows of each occupied label, in the order of labels."""
        old, new = self._evidence, self._statistics(x, labels)
        dim, df, kappa = self.dim, self._prior_df + old.size, self._prior_kappa + old.size
        if self.diagonal:
            gamma = dim * log_multigamma_ratio(0.5 * (df - dim + 1), 0.5 * new.size, 1)
            df = df - dim + 1
        else:
            gamma = log_multigamma_ratio(0.5 * df, 0.5 * new.size, dim)
        log_m = (
            gamma
            - 0.5 * new.size * dim * math.log(math.pi)
            + 0.5 * df * self._log_det(old)
            - 0.5 * (df + new.size) * self._log_det(merged(old, new))
            - 0.5 * dim * torch.log1p(new.size / kappa)
        )
        if not torch.isfinite(log_m).all():
            raise ValueError("x is too far from loc for its scale: log_marginal is not finite")
        return log_m

    def predictive(self) -> MultivariateStudentT | DiagonalStudentT:
        """Student's t law of the next row (eq. 4.222)."""
        return self._student_t(self._evidence)

    def predictives(self, x: Any, labels: Tensor) -> MultivariateStudentT | DiagonalStudentT:
        """Laws (K,) of the next row of each occupied label, in the order of labels."""
        return self._student_t(merged(self._evidence, self._statistics(x, labels)))

    def sample(self, *, generator: Generator | None = None, seed: int | None = None) -> Component:
        """One component, from a generator or a seed."""
        device = self._origin.device
        stream = as_generator(generator, seed, device)
        if self.diagonal:
            half = self._origin.new_full((self.dim,), 0.5 * (self.df - self.dim + 1))
            covariance = (0.5 * self.scale.diagonal() / standard_gamma(half, stream)).diag()
        else:
            covariance = InverseWishart(self.df, self.scale).sample(generator=stream)
        noise = torch.randn(self.dim, dtype=torch.float64, device=device, generator=stream)
        root = torch.linalg.cholesky(covariance / self.kappa)
        return Component(self.loc + root @ noise, covariance)

    def log_prob(self, mean: Tensor, covariance: Tensor) -> Tensor:
        """Log density, nats, of mean (..., D) and covariance (..., D, D); of its diagonal only
        where the coordinates are independent.

        Raises: ValueError for a covariance that is not positive definite.
        """
        if self.diagonal:
            variance = covariance.diagonal(dim1=-2, dim2=-1)
            shape = self._origin.new_tensor(0.5 * (self.df - self.dim + 1))
            law = InverseGamma(shape, 0.5 * self.scale.diagonal())
            spread: Tensor = law.log_prob(variance).sum(-1)
        else:
            spread = InverseWishart(self.df, self.scale).log_prob(covariance)
        spread = spread + MultivariateNormal(self.loc, covariance / self.kappa).log_prob(mean)
        return spread

    def _with(self, evidence: Statistics, origin: Tensor | None = None) -> Self:
        new = copy.copy(self)
        new._evidence = evidence
        new._origin = self._origin if origin is None else origin
        return new

    def _statistics(self, x: Any, labels: Tensor | None = None) -> Statistics:
        """Statistics of checked rows (N, D); one component where there are no labels."""
        rows = as_matrix(x, "x").double().to(self._origin.device)
        if rows.shape[1] != self.dim:
            raise ValueError(f"x must have {self.dim} columns, as loc, got {rows.shape[1]}")
        if labels is None:
            labels = rows.new_zeros(len(rows), dtype=torch.int64)
        check_partition(labels, len(rows))
        stats = statistics_of(rows, labels.to(rows.device), diagonal=self.diagonal)
        if not torch.isfinite(stats.scatter).all():
            raise ValueError("x is too far spread: its squares overflow float64")
        return stats

    def _location(self, evidence: Statistics) -> Tensor:
        """m_n (..., D)."""
        share = evidence.size / (self._prior_kappa + evidence.size)
        return self._origin + share.unsqueeze(-1) * (evidence.mean - self._origin)

    def _shift(self, evidence: Statistics) -> Tensor:
        """sqrt(c) v (..., D): S is the core plus its outer product."""
        weight = self._prior_kappa * evidence.size / (self._prior_kappa + evidence.size)
        return weight.sqrt().unsqueeze(-1) * (evidence.mean - self._origin)

    def _log_det(self, evidence: Statistics) -> Tensor:
        """log|S| (...)."""
        core, shift = evidence.scatter, self._shift(evidence)
        if self.diagonal:
            log_det: Tensor = (core + shift.square()).log().sum(-1)
            return log_det
        factor = cholesky_of_scale(core)
        bump = torch.log1p(whitened_norm(shift.unsqueeze(-2), factor).squeeze(-1))
        return bump + 2.0 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def _student_t(self, evidence: Statistics) -> MultivariateStudentT | DiagonalStudentT:
        kappa, df = self._prior_kappa + evidence.size, self._prior_df + evidence.size
        df = df - self.dim + 1
        width = ((kappa + 1.0) / (kappa * df)).sqrt()
        core, shift, loc = evidence.scatter, self._shift(evidence), self._location(evidence)
        if self.diagonal:
            return DiagonalStudentT(df, loc, width[..., None] * (core + shift.square()).sqrt())
        # the factor of S from its parts; with the long row first the short ones keep their digits
        root = factor_of_rows(torch.cat([shift.unsqueeze(-1), cholesky_of_scale(core)], -1))
        return MultivariateStudentT(df, loc, width[..., None, None] * root)
