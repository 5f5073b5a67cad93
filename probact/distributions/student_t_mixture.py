r"""Finite mixtures of Student's t laws: the predictive density of one state of a Gaussian mixture.

Symbols: w (K,) weights; v (K,) degrees of freedom `df`; m (K, D) `loc`; S_k = L_k L_k' scale
matrices. Marginals and conditionals stay in the family. With x = (a, b) and a given, component
k has (Ding 2016)

    b | a ~ t_{v + |a|}(m_b + S_ba S_aa^-1 (a - m_a), (v + q)/(v + |a|) (S_bb - S_ba S_aa^-1 S_ab))

with q = (a - m_a)' S_aa^-1 (a - m_a), and weight proportional to w_k t_v(a; m_a, S_aa).
"""

from typing import Any

import torch
from torch import Tensor

from probact.distributions.student_t import (
    DiagonalStudentT,
    MultivariateStudentT,
    as_dims,
    factor_of_rows,
    log_student_t,
    whitened_norm,
)
from probact.distributions.t_mixture import TMixture, reweighted, split_coordinates

__all__ = ["DiagonalStudentTMixture", "StudentTMixture"]


class StudentTMixture(TMixture):
    """Mixture of multivariate t laws with full scale matrices.

    Args:
        weights: w (K,) >= 0 that sum to one.
        df: v (K,) > 0.
        loc: m (K, D).
        scale_tril: L (K, D, D), lower triangular with a positive diagonal.

    Raises:
        ValueError: shapes that do not fit, or parameters out of their range.

    >>> law = StudentTMixture(
    ...     torch.tensor([0.5, 0.5]), torch.tensor([5.0, 5.0]),
    ...     torch.tensor([[-3.0, 0.0], [3.0, 0.0]]), torch.eye(2).expand(2, 2, 2))
    >>> law.mean, law.marginal(0).variance, law.sample((3,), seed=0).shape
    (tensor([0., 0.]), tensor([10.6667]), torch.Size([3, 2]))
    """

    components: MultivariateStudentT

    def __init__(
        self,
        weights: Tensor,
        df: Tensor,
        loc: Tensor,
        scale_tril: Tensor,
        *,
        validate_args: bool | None = None,
    ) -> None:
        components = MultivariateStudentT(df, loc, scale_tril, validate_args=validate_args)
        super().__init__(weights, components, validate_args)

    @property
    def scale_tril(self) -> Tensor:
        """L (K, D, D)."""
        factor: Tensor = self.components.scale_tril
        return factor

    @property
    def spread(self) -> Tensor:
        lengths: Tensor = torch.linalg.vector_norm(self.scale_tril, dim=-1)  # of rows of L
        return lengths

    def component_log_prob(self, value: Tensor) -> Tensor:
        rows = value.reshape(-1, self.dim)
        squared = whitened_norm(rows - self.loc.unsqueeze(1), self.scale_tril).mT  # (R, K)
        log_scale = self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        log_prob = log_student_t(squared, log_scale, self.df, self.dim)
        return log_prob.reshape(*value.shape[:-1], -1)

    def marginal(self, dims: Any) -> "StudentTMixture":
        """The law of the coordinates `dims`: the sub-blocks of m and of the scale matrix.

        Raises: ValueError for an index out of range or given twice.
        """
        part = self.components.marginal(dims)
        return StudentTMixture(self.weights, part.df, part.loc, part.scale_tril)

    def condition(self, dims: Any, values: Any) -> "StudentTMixture":
        """The law of the other coordinates, in ascending order, given x[dims] = values.

        Raises: ValueError for an index out of range or given twice, for all coordinates, or for
        values that are not one finite number each.
        >>> law = StudentTMixture(torch.ones(1), torch.tensor([3.0]), torch.zeros(1, 2),
        ...     torch.tensor([[[1.0, 0.0], [1.0, 1.0]]]))
        >>> law.condition(0, 2.0).loc, law.condition(0, 2.0).df
        (tensor([[2.]]), tensor([4.]))
        """
        given, rest, a = split_coordinates(dims, values, self.loc)
        g = len(given)
        factor = factor_of_rows(self.scale_tril[:, given + rest])  # a first: L_aa, L_ba, L_bb
        gap = (a - self.loc[:, given]).unsqueeze(-1)
        white = torch.linalg.solve_triangular(factor[:, :g, :g], gap, upper=False)  # (K, |a|, 1)
        loc = self.loc[:, rest] + (factor[:, g:, :g] @ white).squeeze(-1)
        width = ((self.df + white.square().sum((-2, -1))) / (self.df + g)).sqrt()
        weights = reweighted(self.weights, self.marginal(given).component_log_prob(a))
        return StudentTMixture(weights, self.df + g, loc, width[:, None, None] * factor[:, g:, g:])

    def _component(self, k: int) -> MultivariateStudentT:
        return MultivariateStudentT(self.df[k], self.loc[k], self.scale_tril[k])


class DiagonalStudentTMixture(TMixture):
    """Mixture of products of univariate t laws: coordinates independent within a component.

    As `StudentTMixture`, with scale (K, D) > 0 in place of the Cholesky factors.

    >>> law = DiagonalStudentTMixture(torch.ones(1), torch.tensor([3.0]), torch.zeros(1, 2),
    ...     torch.ones(1, 2))
    >>> law.condition(0, 2.0).df  # one coordinate tells the other nothing but the component
    tensor([3.])
    """

    components: DiagonalStudentT

    def __init__(
        self,
        weights: Tensor,
        df: Tensor,
        loc: Tensor,
        scale: Tensor,
        *,
        validate_args: bool | None = None,
    ) -> None:
        components = DiagonalStudentT(df, loc, scale, validate_args=validate_args)
        super().__init__(weights, components, validate_args)

    @property
    def scale(self) -> Tensor:
        """(K, D)."""
        return self.components.scale

    @property
    def spread(self) -> Tensor:
        return self.scale

    def component_log_prob(self, value: Tensor) -> Tensor:
        squared = ((value.unsqueeze(-2) - self.loc) / self.scale).square()  # (..., K, D)
        return log_student_t(squared, self.scale.log(), self.df.unsqueeze(1), 1).sum(-1)

    def marginal(self, dims: Any) -> "DiagonalStudentTMixture":
        """The law of the coordinates `dims`. Raises: as `StudentTMixture.marginal`."""
        at = as_dims(dims, self.dim)
        return DiagonalStudentTMixture(self.weights, self.df, self.loc[:, at], self.scale[:, at])

    def condition(self, dims: Any, values: Any) -> "DiagonalStudentTMixture":
        """The law of the other coordinates given x[dims] = values: only the weights change.

        Raises: as `StudentTMixture.condition`.
        """
        given, rest, a = split_coordinates(dims, values, self.loc)
        weights = reweighted(self.weights, self.marginal(given).component_log_prob(a))
        return DiagonalStudentTMixture(weights, self.df, self.loc[:, rest], self.scale[:, rest])

    def _component(self, k: int) -> DiagonalStudentT:
        return DiagonalStudentT(self.df[k], self.loc[k], self.scale[k])
