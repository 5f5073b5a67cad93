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

import torch
from torch import Generator, Tensor

from probact.arrays import check_count
from probact.distributions.component_statistics import statistics_of
from probact.inference.dirichlet.cluster_table import (
    ClusterTable,
    log_merge_gain,
    log_partner_law,
    merge_clusters,
    split_cluster,
    tabulate,
)
from probact.inference.dirichlet.hyperparameters import resample_hyperparameters
from probact.inference.dirichlet.partition_kernel import PartitionKernel
from probact.inference.dirichlet.restricted_scan import propose_parts
from probact.inference.dirichlet.slice_components import uniform
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

    def __init__(self, *, moves: int = 5, scans: int = 3, start: str | Tensor = "auto") -> None:
        super().__init__(start=start)
        check_count(moves, "moves")
        check_count(scans, "scans")
        self.moves = moves
        self.scans = scans

    def step(self, state: DPState, generator: Generator) -> DPState:
        """New labels, then alpha and s given them."""
        table = tabulate(state)
        tried, accepted = [0, 0], [0, 0]
        for _ in range(self.moves):
            kind = _pick(torch.ones(2), generator)
            after = (_try_split, _try_merge)[kind](table, self.scans, generator)
            tried[kind] += 1
            accepted[kind] += after is not None
            table = table if after is None else after
        rates = [a / max(t, 1) for a, t in zip(accepted, tried, strict=True)]
        counts = {
            **state.counts,
            "num_splits": float(accepted[0]),
            "num_merges": float(accepted[1]),
            "split_accept_rate": rates[0],
            "merge_accept_rate": rates[1],
        }
        z = canonical(table.z).to(state.z.device)
        return resample_hyperparameters(state._replace(z=z, counts=counts), generator)


def _pick(weights: Tensor, generator: Generator) -> int:
    """An index with probability proportional to weights (K,)."""
    mass = weights.double().cumsum(0)
    return int((mass <= uniform(mass, 1, generator) * mass[-1]).sum())


def _anchor(members: Tensor, generator: Generator) -> int:
    return int(members[int(uniform(members, 1, generator) * len(members))])


def _try_split(table: ClusterTable, scans: int, generator: Generator) -> ClusterTable | None:
    """The table after an accepted split, or None."""
    sizes = table.clusters.size
    n, k = len(table.z), len(sizes)
    if n == k:
        return None
    c = _pick(sizes - 1, generator)
    members = (table.z == c).nonzero().squeeze(1)
    i = _anchor(members, generator)
    j = _anchor(members[members != i], generator)
    parts, log_q = _propose(table, members, i, j, scans, generator)
    problem = table.problem
    rows = problem.x[members.to(problem.x.device)].cpu()
    halves = statistics_of(rows, parts, diagonal=problem.diagonal)
    after = split_cluster(table, c, members, parts, halves)
    gain = log_merge_gain(after, c)
    log_ratio = _log_split_ratio(after, c, k, gain, log_q)
    return after if _accept(log_ratio, generator) else None


def _try_merge(table: ClusterTable, scans: int, generator: Generator) -> ClusterTable | None:
    """The table after an accepted merge, or None."""
    k = len(table.clusters.size)
    if k == 1:
        return None
    a = _pick(torch.ones(k), generator)
    gain = log_merge_gain(table, a)
    b = _pick(log_partner_law(gain).exp(), generator)
    i, j = (_anchor((table.z == c).nonzero().squeeze(1), generator) for c in (a, b))
    threshold = torch.log1p(-uniform(gain, 1, generator))
    # as q <= 1, the ratio with log q = 0 bounds the acceptance: most merges end here
    if threshold >= -_log_split_ratio(table, a, b, gain, 0.0):
        return None
    members = ((table.z == a) | (table.z == b)).nonzero().squeeze(1)
    parts = (table.z[members] == b).long()
    _, log_q = _propose(table, members, i, j, scans, generator, parts)
    if threshold >= -_log_split_ratio(table, a, b, gain, log_q):
        return None
    return merge_clusters(table, a, b)


def _accept(log_ratio: float, generator: Generator) -> bool:
    return bool(torch.log1p(-uniform(torch.ones(()), 1, generator)) < log_ratio)


def _log_split_ratio(table: ClusterTable, a: int, b: int, gain: Tensor, log_q: float) -> float:
    """log R of the split that leads to the clusters a and b of the table; gain is D(a, .)."""
    sizes = table.clusters.size
    n_a, n_b = float(sizes[a]), float(sizes[b])
    merge = float(log_partner_law(gain)[b]) - math.log(len(sizes)) - math.log(n_a * n_b)
    split = -math.log(len(table.z) - len(sizes) + 1) - math.log(n_a + n_b)
    return -float(gain[b]) - log_q + merge - split


def _propose(
    table: ClusterTable,
    members: Tensor,
    i: int,
    j: int,
    scans: int,
    generator: Generator,
    forced: Tensor | None = None,
) -> tuple[Tensor, float]:
    problem = table.problem
    rows = problem.x[members.to(problem.x.device)].cpu()
    anchors = int((members == i).nonzero()), int((members == j).nonzero())
    local = problem._replace(x=rows)
    return propose_parts(local, table.scale_factor, anchors, scans, generator, forced)
