r"""The state of a Dirichlet-process Gaussian mixture with its components summed out.

Symbols: x (N, D) data; z (N,) labels; K occupied components; n_k their sizes; alpha concentration;
s factor on the prior's scale S_0. The state is (z, alpha, s); the normal-inverse-Wishart prior of
a component, NIW(m_0, kappa_0, nu_0, s S_0), is summed out. Labels are slots, not identities.

    log p(x, z, alpha, s) = log p(alpha) + log p(s) + K log alpha + log Gamma(alpha)
        - log Gamma(alpha + N) + sum_k [log Gamma(n_k) + log m(X_k)] - N log|diag S_0|/2

with the marginal likelihood m of a component (Murphy 2012, eq. 5.29 and section 4.6.3.9).
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from probact.distributions.component_statistics import statistics_of
from probact.inference.dirichlet.conjugate import log_marginal
from probact.inference.dirichlet.problem import Problem

__all__ = ["DPState", "canonical", "label_dtype", "log_joint"]


class DPState(NamedTuple):
    """A partition and its hyper-parameters; `counts` are numbers about the last step."""

    z: Tensor  # (N,) int64 slots, not necessarily without gaps
    alpha: Tensor  # ()
    scale_factor: Tensor  # () s
    problem: Problem
    counts: dict[str, float]


def canonical(z: Tensor) -> Tensor:
    """Labels (N,) numbered by first appearance, from 0.

    >>> canonical(torch.tensor([7, 7, 2, 7]))
    tensor([0, 0, 1, 0])
    """
    slots, inverse = z.unique(return_inverse=True)
    place = torch.arange(len(z), device=z.device)
    first = torch.full_like(slots, len(z)).scatter_reduce(0, inverse, place, "amin")
    rank = torch.empty_like(slots)
    rank[first.argsort()] = torch.arange(len(slots), device=z.device)
    return rank[inverse]


def log_joint(state: DPState) -> Tensor:
    """log p(x, z, alpha, s) in nats, in the units of the caller's data, from scratch."""
    problem, alpha = state.problem, state.alpha
    n = len(state.z)
    sizes = torch.bincount(state.z)
    sizes = sizes[sizes > 0].double()
    prior = len(sizes) * alpha.log() + torch.lgamma(sizes).sum()
    prior = prior + torch.lgamma(alpha) - torch.lgamma(alpha + n)
    if isinstance(problem.concentration, Distribution):
        prior = prior + problem.concentration.log_prob(alpha)
    if problem.scale_factor is not None:
        prior = prior + problem.scale_factor.log_prob(state.scale_factor)
    clusters = statistics_of(problem.x, state.z, diagonal=problem.diagonal)
    marginals = log_marginal(problem, clusters, state.scale_factor)
    return prior + marginals.sum() - n * problem.log_volume


def label_dtype(num_points: int) -> torch.dtype:
    """The smaller of int16 and int32 that holds every label."""
    return torch.int16 if num_points <= 2**15 else torch.int32
