r"""Split and merge moves on partitions (Jain and Neal 2004), with informed choices of clusters.

Symbols: N points in K clusters of n_k points; i, j anchors; q probability of the proposed split;
P(b | a) partner law of cluster a (`cluster_table.log_partner_law`); D(a, b) log gain of a merge.

Half the moves try a split: a cluster c with probability (n_c - 1) / (N - K), two anchors i != j
of it, then a restricted Gibbs scan that puts its other points beside i (part a) or j (part b).
Half try a merge: a cluster a with probability 1/K, a partner b by P(b | a), an anchor in each. The
two undo each other, given the anchors and the launch of the scan, so with K clusters after the
split (and before the merge) a split is accepted with probability min(1, R), a merge with
min(1, 1/R),

    log R = -D(a, b) - log q + [log P(b | a) - log K - log n_a - log n_b]
            + log(N - K + 1) + log(n_a + n_b).

The bracket and what follows are the odds of choosing these anchors for the merge and for the
split; with pairs of points chosen uniformly they cancel, which gives the rule of Jain and Neal.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from probact.arrays import check_count
from probact.inference.dirichlet.blocked_clusters import Floats, Ints
from probact.inference.dirichlet.cluster_table import (
    ClusterTable,
    log_merge_gain,
    log_pair_gain,
    log_partner_law,
    merge_clusters,
    split_cluster,
    summaries_of,
    tabulate,
)
from probact.inference.dirichlet.collapsed_sweep import ScanRules, scan_rules
from probact.inference.dirichlet.hyperparameters import resample_hyperparameters
from probact.inference.dirichlet.marginal_likelihood import log_marginals
from probact.inference.dirichlet.partition_kernel import PartitionKernel
from probact.inference.dirichlet.restricted_scan import propose_parts
from probact.inference.dirichlet.state import DPState, canonical

__all__ = ["SplitMerge"]


class SplitMerge(PartitionKernel):
    """Moves that open and close whole clusters; beside `CollapsedGibbs` in a `Sweep`.

    A step tries `moves` moves; a split is proposed by `scans` restricted Gibbs scans. A step
    counts `num_splits` and `num_merges` (accepted) and `split_accept_rate`, `merge_accept_rate`
    (of those tried; 0 where none was). Data on a GPU stay there; the rows of the clusters of a
    move are worked on by the CPU.

    Raises: ValueError for an unknown start, or moves or scans below one.
    """

    def __init__(self, *, moves: int = 5, scans: int = 2, start: str | Tensor = "auto") -> None:
        super().__init__(start=start)
        check_count(moves, "moves")
        check_count(scans, "scans")
        self.moves = moves
        self.scans = scans

    def step(self, state: DPState, generator: Generator) -> DPState:
        """New labels, then alpha and s given them."""
        table, move = tabulate(state), _prepare(state, self.scans, generator)
        tried, accepted = [0, 0], [0, 0]
        for kind, *u in _uniforms(generator, self.moves):
            which = int(2 * kind)
            after = (_try_split, _try_merge)[which](table, move, u)
            tried[which] += 1
            accepted[which] += after is not None
            table = table if after is None else after
        rates = [a / max(t, 1) for a, t in zip(accepted, tried, strict=True)]
        counts = {
            **state.counts,
            "num_splits": float(accepted[0]),
            "num_merges": float(accepted[1]),
            "split_accept_rate": rates[0],
            "merge_accept_rate": rates[1],
        }
        z = canonical(torch.from_numpy(table.z)).to(state.z.device)
        return resample_hyperparameters(state._replace(z=z, counts=counts), generator)


class _Move(NamedTuple):
    """What the moves of a step share."""

    x: Tensor  # (N, D) where the data are
    rules: ScanRules
    scans: int
    generator: Generator

    def rows(self, members: Ints) -> Floats:
        """Rows (n, D) on the CPU."""
        if self.x.is_cuda:
            return self.x[torch.from_numpy(members).to(self.x.device)].cpu().numpy()
        return self.x.numpy()[members]


def _prepare(state: DPState, scans: int, generator: Generator) -> _Move:
    problem = state.problem
    host = problem._replace(loc=problem.loc.cpu(), scale=problem.scale.cpu())
    return _Move(problem.x, scan_rules(host, float(state.scale_factor)), scans, generator)


def _uniforms(generator: Generator, moves: int) -> list[list[float]]:
    """For each move: its kind; its cluster or clusters and anchors (4); whether it is accepted."""
    device = generator.device
    u = torch.rand((moves, 6), generator=generator, dtype=torch.float64, device=device)
    return u.tolist()


def _pick(weights: Floats, u: float) -> int:
    """An index with probability proportional to weights (K,), by a uniform in [0, 1)."""
    mass = weights.cumsum()
    return int(mass.searchsorted(u * mass[-1], side="right"))


def _try_split(table: ClusterTable, move: _Move, u: Sequence[float]) -> ClusterTable | None:
    """The table after an accepted split, or None."""
    sizes = table.clusters.sizes
    if len(table.z) == len(sizes):
        return None
    c = _pick(sizes - 1, u[0])
    members = np.flatnonzero(table.z == c)
    i, j = int(u[1] * len(members)), int(u[2] * (len(members) - 1))
    x, anchors = move.rows(members), (i, j + (j >= i))
    parts, log_q = propose_parts(move.rules, x, anchors, move.scans, move.generator)
    halves = summaries_of(x, parts, 2, diagonal=table.prior.diagonal)
    log_m = log_marginals(table.prior, halves)
    gain = log_pair_gain(table.log_marginals[c], log_m, halves.sizes, table.log_alpha)
    threshold = math.log1p(-u[4])
    points, clusters = len(table.z), len(sizes) + 1
    # the partner's probability, for which all clusters are tried, is at most one
    if threshold >= _log_split_ratio(points, clusters, halves.sizes, gain, log_q, 0.0):
        return None
    after = split_cluster(table, c, members, parts, halves, log_m)
    log_partner = float(log_partner_law(log_merge_gain(after, c))[-1])
    log_ratio = _log_split_ratio(points, clusters, halves.sizes, gain, log_q, log_partner)
    return after if threshold < log_ratio else None


def _try_merge(table: ClusterTable, move: _Move, u: Sequence[float]) -> ClusterTable | None:
    """The table after an accepted merge, or None."""
    sizes = table.clusters.sizes
    if len(sizes) == 1:
        return None
    a = int(u[0] * len(sizes))
    gains = log_merge_gain(table, a)
    law = log_partner_law(gains)
    b = _pick(np.exp(law), u[1])
    threshold = math.log1p(-u[4])
    known = len(table.z), len(sizes), sizes[[a, b]], float(gains[b])
    # as q <= 1, the ratio with log q = 0 bounds the acceptance: most merges end here
    if threshold >= -_log_split_ratio(*known, 0.0, float(law[b])):
        return None
    members = np.flatnonzero((table.z == a) | (table.z == b))
    parts = (table.z[members] == b).astype(np.int64)
    i, j = (np.flatnonzero(parts == part) for part in (0, 1))
    anchors = int(i[int(u[2] * len(i))]), int(j[int(u[3] * len(j))])
    x = move.rows(members)
    _, log_q = propose_parts(move.rules, x, anchors, move.scans, move.generator, parts)
    if threshold >= -_log_split_ratio(*known, log_q, float(law[b])):
        return None
    return merge_clusters(table, a, b)


def _log_split_ratio(
    points: int, clusters: int, sizes: Floats, gain: float, log_q: float, log_partner: float
) -> float:
    """log R of a split into parts of these sizes (2,) that ends with this many clusters.

    gain is D(a, b), log_partner log P(b | a).
    """
    n_a, n_b = sizes.tolist()
    merge = log_partner - math.log(clusters) - math.log(n_a * n_b)
    split = -math.log(points - clusters + 1) - math.log(n_a + n_b)
    return -gain - log_q + merge - split
