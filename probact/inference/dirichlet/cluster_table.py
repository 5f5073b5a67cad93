r"""A partition with what split and merge moves need to know of its clusters.

Symbols: z (N,) labels; K clusters with n_k points and marginal likelihoods m(X_k); alpha
concentration. Merging clusters a and b multiplies p(x, z | alpha) by exp D(a, b),

    D(a, b) = log m(X_a + X_b) - log m(X_a) - log m(X_b)
              + log Gamma(n_a + n_b) - log Gamma(n_a) - log Gamma(n_b) - log alpha.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from probact.distributions.component_statistics import Statistics, merged, statistics_of
from probact.inference.dirichlet.conjugate import compact, log_marginal
from probact.inference.dirichlet.problem import Problem
from probact.inference.dirichlet.state import DPState

__all__ = [
    "ClusterTable",
    "log_merge_gain",
    "log_partner_law",
    "merge_clusters",
    "split_cluster",
    "tabulate",
]


class ClusterTable(NamedTuple):
    """Clusters 0, ..., K - 1. On the CPU, apart from the data."""

    problem: Problem
    alpha: Tensor  # ()
    scale_factor: Tensor  # ()
    z: Tensor  # (N,)
    clusters: Statistics
    log_marginals: Tensor  # (K,)


def tabulate(state: DPState) -> ClusterTable:
    """The table of a state."""
    problem = state.problem
    z, _ = compact(state.z)
    on_device = statistics_of(problem.x, z, diagonal=problem.diagonal)
    clusters = Statistics(*(value.cpu() for value in on_device))
    problem = problem._replace(loc=problem.loc.cpu(), scale=problem.scale.cpu())
    s = state.scale_factor.cpu()
    marginals = log_marginal(problem, clusters, s)
    return ClusterTable(problem, state.alpha.cpu(), s, z.cpu(), clusters, marginals)


def log_merge_gain(table: ClusterTable, k: int) -> Tensor:
    """D(k, j) (K,) for all clusters j, nats; -inf at k itself."""
    one = Statistics(*(value[k : k + 1] for value in table.clusters))
    union = merged(one, table.clusters)
    marginals, sizes = table.log_marginals, table.clusters.size
    gain = log_marginal(table.problem, union, table.scale_factor) - marginals - marginals[k]
    gain += torch.lgamma(union.size) - torch.lgamma(sizes) - torch.lgamma(sizes[k])
    gain -= table.alpha.log()
    gain[k] = -math.inf
    return gain


def log_partner_law(gain: Tensor) -> Tensor:
    """Log probabilities (K,) of the partners of a cluster k, given D(k, .).

    Half uniform, half proportional to exp(D / 2): a good partner is found at once, and no partner
    is so rare that the split which undoes its merge is refused for that.
    """
    even = torch.full_like(gain, -math.log(len(gain) - 1))
    even[gain.isneginf()] = -math.inf
    return torch.logaddexp(even, (0.5 * gain).log_softmax(0)) - math.log(2)


def split_cluster(
    table: ClusterTable, k: int, members: Tensor, parts: Tensor, halves: Statistics
) -> ClusterTable:
    """The table with the members (n,) of k in parts (n,): 0 stays in k, 1 is the new cluster K."""
    z = table.z.clone()
    z[members[parts == 1]] = len(table.log_marginals)
    marginals = log_marginal(table.problem, halves, table.scale_factor)
    clusters = Statistics(
        *(
            _replaced(torch.cat([old, new[1:]]), k, new[0])
            for old, new in zip(table.clusters, halves, strict=True)
        )
    )
    log_marginals = _replaced(torch.cat([table.log_marginals, marginals[1:]]), k, marginals[0])
    return table._replace(z=z, clusters=clusters, log_marginals=log_marginals)


def merge_clusters(table: ClusterTable, a: int, b: int) -> ClusterTable:
    """The table with b put into a; the last cluster takes b's number."""
    one, two = (Statistics(*(v[k : k + 1] for v in table.clusters)) for k in (a, b))
    union = merged(one, two)
    marginal = log_marginal(table.problem, union, table.scale_factor)
    last = len(table.log_marginals) - 1
    number = torch.arange(last + 1)
    number[last], number[b] = b, a
    if a == last:
        number[b] = b

    def without(old: Tensor, new: Tensor) -> Tensor:
        return _replaced(_replaced(old, a, new[0]), b, _replaced(old, a, new[0])[last])[:last]

    pairs = zip(table.clusters, union, strict=True)
    return table._replace(
        z=number[table.z],
        clusters=Statistics(*(without(old, new) for old, new in pairs)),
        log_marginals=without(table.log_marginals, marginal),
    )


def _replaced(values: Tensor, k: int, value: Tensor) -> Tensor:
    values = values.clone()
    values[k] = value
    return values
