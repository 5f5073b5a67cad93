r"""A partition with what split and merge moves need to know of its clusters.

Symbols: z (N,) labels; K clusters with n_k points and marginal likelihoods m(X_k); alpha
concentration. Merging clusters a and b multiplies p(x, z | alpha) by exp D(a, b),

    D(a, b) = log m(X_a + X_b) - log m(X_a) - log m(X_b)
              + log Gamma(n_a + n_b) - log Gamma(n_a) - log Gamma(n_b) - log alpha.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln

from probact.distributions.component_statistics import statistics_of
from probact.inference.dirichlet.blocked_clusters import Floats, Ints, summarise
from probact.inference.dirichlet.conjugate import compact
from probact.inference.dirichlet.marginal_likelihood import (
    ClusterPrior,
    Summaries,
    cluster_prior,
    log_marginals,
    union,
)
from probact.inference.dirichlet.state import DPState

__all__ = [
    "ClusterTable",
    "log_merge_gain",
    "log_pair_gain",
    "log_partner_law",
    "merge_clusters",
    "split_cluster",
    "summaries_of",
    "tabulate",
]


class ClusterTable(NamedTuple):
    """Clusters 0, ..., K - 1, on the CPU."""

    prior: ClusterPrior
    log_alpha: float
    z: Ints  # (N,)
    clusters: Summaries
    log_marginals: Floats  # (K,)


def tabulate(state: DPState) -> ClusterTable:
    """The table of a state."""
    problem, (z, count) = state.problem, compact(state.z)
    prior = cluster_prior(problem, float(state.scale_factor))
    labels = z.cpu().numpy()
    if problem.diagonal or problem.x.is_cuda:
        on_device = statistics_of(problem.x, z, diagonal=problem.diagonal)
        clusters = Summaries(*(value.cpu().numpy() for value in on_device))
    else:
        clusters = summaries_of(problem.x.numpy(), labels, count, diagonal=False)
    log_m = log_marginals(prior, clusters)
    return ClusterTable(prior, math.log(float(state.alpha)), labels, clusters, log_m)


def summaries_of(x: Floats, z: Ints, count: int, *, diagonal: bool) -> Summaries:
    """Summaries of the rows x (n, D) of each label 0, ..., count - 1; none of them is empty."""
    d = x.shape[1]
    sizes, means = np.zeros(count, np.int64), np.zeros((count, d))
    if not diagonal:
        scatters = np.zeros((count, d, d))
        summarise(x, z, sizes, means, scatters)
        return Summaries(sizes.astype(np.float64), means, scatters)
    parts = [x[z == k] for k in range(count)]
    return Summaries(
        np.array([len(part) for part in parts], np.float64),
        np.stack([part.mean(0) for part in parts]),
        np.stack([((part - part.mean(0)) ** 2).sum(0) for part in parts]),
    )


def log_merge_gain(table: ClusterTable, k: int) -> Floats:
    """D(k, j) (K,) for all clusters j, nats; -inf at k itself."""
    one = Summaries(*(value[k : k + 1] for value in table.clusters))
    both = union(one, table.clusters)
    marginals, sizes = table.log_marginals, table.clusters.sizes
    gain: Floats = log_marginals(table.prior, both) - marginals - marginals[k]
    gain += gammaln(both.sizes) - gammaln(sizes) - gammaln(sizes[k])
    gain -= table.log_alpha
    gain[k] = -math.inf
    return gain


def log_pair_gain(whole: float, parts: Floats, sizes: Floats, log_alpha: float) -> float:
    """D(a, b) of two clusters with log m (2,) and sizes (2,), log m of both together given."""
    gammas = gammaln(sizes.sum()) - gammaln(sizes).sum()
    return float(whole - parts.sum() + gammas - log_alpha)


def log_partner_law(gain: Floats) -> Floats:
    """Log probabilities (K,) of the partners of a cluster k, given D(k, .).

    Half uniform, half proportional to exp(D / 2): a good partner is found at once, and no partner
    is so rare that the split which undoes its merge is refused for that.
    """
    half = 0.5 * (gain - gain.max())
    even = np.where(np.isneginf(gain), -math.inf, -math.log(len(gain) - 1))
    law: Floats = np.logaddexp(even, half - math.log(np.exp(half).sum())) - math.log(2)
    return law


def split_cluster(
    table: ClusterTable, k: int, members: Ints, parts: Ints, halves: Summaries, log_m: Floats
) -> ClusterTable:
    """The table with the members (n,) of k in parts (n,): 0 stays in k, 1 is the new cluster K.

    halves and log_m (2,) are what the parts are.
    """
    z = table.z.copy()
    z[members[parts == 1]] = len(table.log_marginals)

    def wider(old: Floats, new: Floats) -> Floats:
        old = np.concatenate([old, new[1:]])
        old[k] = new[0]
        return old

    clusters = Summaries(*map(wider, table.clusters, halves))
    log_m = wider(table.log_marginals, log_m)
    return table._replace(z=z, clusters=clusters, log_marginals=log_m)


def merge_clusters(table: ClusterTable, a: int, b: int) -> ClusterTable:
    """The table with b put into a; the last cluster takes b's number."""
    one, two = (Summaries(*(v[k : k + 1] for v in table.clusters)) for k in (a, b))
    both = union(one, two)
    last = len(table.log_marginals) - 1
    number = np.arange(last + 1)
    number[last], number[b] = b, a
    if a == last:
        number[b] = b

    def narrower(old: Floats, new: Floats) -> Floats:
        old = old.copy()
        old[a] = new[0]
        old[b] = old[last]
        return old[:last]

    clusters = Summaries(*map(narrower, table.clusters, both))
    log_m = narrower(table.log_marginals, log_marginals(table.prior, both))
    return table._replace(z=number[table.z], clusters=clusters, log_marginals=log_m)
