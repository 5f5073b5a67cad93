r"""Normal-inverse-Wishart laws of clusters, and their marginal likelihoods.

Symbols: x (N, D) data in the chain's coordinates; K clusters with n_k points, mean b_k (D,) and
scatter B_k = sum (x_i - b_k)(x_i - b_k)^T about their own mean, (D, D), or its (D,) diagonal where
the problem is diagonal; s factor on the prior's scale S_0.

    kappa_k = kappa_0 + n_k,  nu_k = nu_0 + n_k,  m_k = (kappa_0 m_0 + n_k b_k) / kappa_k,
    S_k = s S_0 + B_k + (kappa_0 n_k / kappa_k) (b_k - m_0)(b_k - m_0)^T

(Murphy 2012, section 4.6.3.3). In the diagonal form nu_0 is nu_0 - D + 1.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from probact.distributions.component_statistics import Statistics
from probact.gamma import log_multigamma_ratio
from probact.inference.dirichlet.problem import Problem

__all__ = [
    "ComponentLaws",
    "component_laws",
    "compact",
    "factor",
    "log_marginal",
]


class ComponentLaws(NamedTuple):
    """Normal-inverse-Wishart laws of K components."""

    loc: Tensor  # (K, D) m_k
    kappa: Tensor  # (K,)
    scale: Tensor  # (K, D, D) S_k, or (K, D)
    df: Tensor  # (K,) nu_k; in the diagonal form that of one coordinate


def compact(z: Tensor) -> tuple[Tensor, int]:
    """Labels (N,) in the order of their slots without gaps, and how many there are.

    >>> compact(torch.tensor([7, 7, 2]))
    (tensor([1, 1, 0]), 2)
    """
    taken = torch.bincount(z) > 0
    return (taken.long().cumsum(0) - 1)[z], int(taken.sum())


def component_laws(problem: Problem, clusters: Statistics, scale_factor: Tensor) -> ComponentLaws:
    """Posteriors of the components given their points; the prior where a size is zero."""
    n, d = clusters.size, problem.x.shape[1]
    kappa = problem.kappa + n
    gap = clusters.mean - problem.loc
    bump = _outer(gap, problem.kappa * n / kappa, clusters)
    return ComponentLaws(
        loc=problem.loc + (n / kappa).unsqueeze(-1) * gap,
        kappa=kappa,
        scale=scale_factor * problem.scale + clusters.scatter + bump,
        df=problem.df + n - (d - 1 if problem.diagonal else 0),
    )


def _outer(gap: Tensor, weight: Tensor, like: Statistics) -> Tensor:
    """weight (K,) times gap gap^T (K, D, D), or times its diagonal (K, D)."""
    weighted = weight.unsqueeze(-1) * gap
    if like.scatter.ndim == like.mean.ndim:
        return weighted * gap
    return weighted.unsqueeze(-1) * gap.unsqueeze(-2)


def factor(scale: Tensor) -> Tensor:
    """Lower Cholesky factors of scale matrices (K, D, D).

    Raises: ValueError where one is singular in float64, which needs data that are spread by more
    than about 1e8 in units of the prior's scale.
    """
    lower: Tensor
    lower, info = torch.linalg.cholesky_ex(scale)
    if bool((info > 0).any()):
        k = int(info.nonzero()[0, 0])
        raise ValueError(f"the scale matrix of component {k} is singular in float64; rescale x")
    return lower


def log_marginal(problem: Problem, clusters: Statistics, scale_factor: Tensor) -> Tensor:
    """log m(X_k) (K,), nats, in the chain's coordinates (Murphy 2012, section 4.6.3.9)."""
    n, d = clusters.size, problem.x.shape[1]
    df = problem.df - (d - 1 if problem.diagonal else 0)
    before, after = 0.5 * df, 0.5 * (df + n)
    log_m = -0.5 * d * (n * math.log(math.pi) + torch.log1p(n / problem.kappa))
    log_m = log_m + before * _log_det_prior(problem, scale_factor)
    log_m = log_m - after * _log_det(problem, clusters, scale_factor)
    if problem.diagonal:
        return log_m + d * log_multigamma_ratio(n.new_tensor(before), 0.5 * n, 1)
    return log_m + log_multigamma_ratio(n.new_tensor(before), 0.5 * n, d)


def _log_det_prior(problem: Problem, s: Tensor) -> Tensor:
    """log|s S_0| ()."""
    if problem.diagonal:
        return (s * problem.scale).log().sum()
    return _log_diagonal(factor((s * problem.scale).unsqueeze(0)))[0]


def _log_det(problem: Problem, clusters: Statistics, s: Tensor) -> Tensor:
    """log|S_k| (K,): |A + c v v'| = |A| (1 + c v' A^-1 v), which keeps A's digits at large v."""
    core = s * problem.scale + clusters.scatter
    weight = problem.kappa * clusters.size / (problem.kappa + clusters.size)
    gap = weight.sqrt().unsqueeze(-1) * (clusters.mean - problem.loc)  # (K, D)
    if problem.diagonal:
        return (core + gap.square()).log().sum(-1)
    lower = factor(core)
    white = torch.linalg.solve_triangular(lower, gap.unsqueeze(-1), upper=False)
    return _log_diagonal(lower) + torch.log1p(white.square().sum((-2, -1)))


def _log_diagonal(lower: Tensor) -> Tensor:
    """log|L L'| (...)."""
    return 2 * lower.diagonal(dim1=-2, dim2=-1).log().sum(-1)
