r"""Greedy re-allocation: points move one at a time to the cluster of least expected loss.

Symbols and losses as in `point_partition`. A search holds the clusters of the points allocated so
far in slots 0 .. K - 1 and asks a `Loss` what each slot, or a new one, would cost a point.
"""

from abc import ABC, abstractmethod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["DrawLoss", "Loss", "SimilarityLoss", "best_allocation"]

Labels: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
_SWEEPS = 50  # each lowers the loss or is the last; about five are made
_LEAST_GAIN = 1e-12  # of the summed loss: below it a move is rounding


class Loss(ABC):
    """Expected loss of partitions of `num_points` points, and the cost of each place of a point.

    -1 in the labels of `start` is a point not yet allocated.
    """

    num_points: int
    sizes: Any  # (K,) points in each slot

    @abstractmethod
    def expected(self, labels: Labels) -> float:
        """Posterior expected loss of labels (N,)."""

    @abstractmethod
    def start(self, labels: Labels, num_slots: int) -> None:
        """Take up labels (N,) below num_slots."""

    @abstractmethod
    def move(self, point: int, slot: int, step: int) -> None:
        """Put the point into the slot (step 1) or take it out (step -1)."""

    @abstractmethod
    def costs(self, point: int) -> Floats:
        """What each slot (K,) adds to the loss when the point, now in none, is put there."""


class DrawLoss(Loss):
    """Variation of information ("vi") or Binder's loss ("binder") over draws z (S, N)."""

    def __init__(self, z: Labels, loss: str) -> None:
        self.z, self.num_points = z, z.shape[1]
        count = np.arange(self.num_points + 2, dtype=np.float64)
        self.f = count**2 if loss == "binder" else count * np.log(np.maximum(count, 1.0))
        self.gain = np.diff(self.f)  # of one more point in a cell
        pairs = self.num_points * (self.num_points - 1)
        self.unit = 1.0 / max(pairs, 1) if loss == "binder" else 1.0 / self.num_points
        self.widest = int(z.max()) + 1
        self.draws = np.arange(len(z))
        self.by_point = np.ascontiguousarray(z.T)  # (N, S)

    def expected(self, labels: Labels) -> float:
        rows = int(labels.max()) + 1
        own = self.f[np.bincount(labels)].sum()
        total = 0.0
        for draw in self.z:
            table = np.bincount(labels * self.widest + draw, minlength=rows * self.widest)
            total += self.f[np.bincount(draw)].sum() - 2.0 * self.f[table].sum()
        return max(0.0, float(self.unit * (own + total / len(self.z))))

    def start(self, labels: Labels, num_slots: int) -> None:
        known = labels >= 0
        self.sizes = np.bincount(labels[known], minlength=num_slots)  # (K,)
        self.cells = np.zeros((len(self.z), self.widest, num_slots), dtype=np.int32)  # n_kl(s)
        for cells, draw in zip(self.cells, self.z, strict=True):
            cell = draw[known] * num_slots + labels[known]
            cells += np.bincount(cell, minlength=cells.size).reshape(cells.shape)

    def move(self, point: int, slot: int, step: int) -> None:
        self.sizes[slot] += step
        self.cells[self.draws, self.by_point[point], slot] += step

    def costs(self, point: int) -> Floats:
        shared = self.cells[self.draws, self.by_point[point]]  # (S, K)
        costs: Floats = self.gain[self.sizes] - 2.0 * self.gain[shared].mean(0)
        return costs


class SimilarityLoss(Loss):
    """Binder's loss, or the lower bound "vi.lb", of a similarity p (N, N).

    Wade & Ghahramani 2018, eq. (13): E[VI] >= 1/N sum_i [log n_c(i) + log sum_j p_ij
    - 2 log sum_j p_ij 1(c_j = c_i)], by Jensen's inequality; terms of p alone are kept.
    """

    def __init__(self, p: Floats, loss: str) -> None:
        self.p, self.num_points, self.binder = p, len(p), loss == "binder"

    def expected(self, labels: Labels) -> float:
        n, sizes = self.num_points, np.bincount(labels)
        own = np.empty(n)  # sum_j p_ij 1(c_j = c_i)
        for k in np.flatnonzero(sizes):
            rows = np.flatnonzero(labels == k)
            own[rows] = self.p[np.ix_(rows, rows)].sum(1)
        if self.binder:  # over ordered pairs; the diagonal adds nothing: p_ii = 1
            joined = float((sizes[labels] - 2.0 * own).sum() + self.p.sum())
            return max(0.0, joined) / max(n * (n - 1), 1)
        terms = np.log(sizes[labels]) + np.log(self.p.sum(1)) - 2.0 * np.log(own)
        return float(terms.mean())

    def start(self, labels: Labels, num_slots: int) -> None:
        self.labels = labels.copy()
        known = np.flatnonzero(labels >= 0)
        member = np.zeros((self.num_points, num_slots))
        member[known, labels[known]] = 1.0
        self.sizes = member.sum(0)
        self.sums = self.p @ member  # (N, K) sum_j p_ij 1(c_j = k)

    def move(self, point: int, slot: int, step: int) -> None:
        self.labels[point] = slot if step > 0 else -1
        self.sizes[slot] += step
        self.sums[:, slot] += step * self.p[point]

    def costs(self, point: int) -> Floats:
        if self.binder:
            return np.asarray(2.0 * (self.sizes - 2.0 * self.sums[point]))
        after = self.sizes + 1.0
        sizes = after * np.log(after) - self.sizes * np.log(np.maximum(self.sizes, 1.0))
        others = np.flatnonzero(self.labels >= 0)
        slots = self.labels[others]
        grown = np.log1p(self.p[point, others] / self.sums[others, slots])
        own = np.log1p(self.sums[point])  # p_ii = 1 and those already there
        return np.asarray(sizes - 2.0 * (own + np.bincount(slots, grown, len(sizes))))


def best_allocation(
    loss: Loss, candidates: list[Labels], starts: int, generator: np.random.Generator
) -> Labels:
    """The best labels (N,) of greedy searches from the candidates and from random allocations."""
    ranked = sorted(candidates, key=loss.expected)[:starts]
    nothing = np.full(loss.num_points, -1)
    found = [search(loss, start, generator) for start in [*ranked, *[nothing] * starts]]
    return min([*ranked, *found], key=loss.expected)


def search(loss: Loss, labels: Labels, generator: np.random.Generator) -> Labels:
    """Sweeps in random order until none lowers the loss; -1 marks a point to allocate first."""
    labels = labels.copy()
    num_slots = int(labels.max()) + 10
    loss.start(labels, num_slots)
    for _ in range(_SWEEPS):
        moved = False
        for point in generator.permutation(loss.num_points):
            old = labels[point]
            if old >= 0:
                loss.move(point, old, -1)
            new = cheapest(loss.costs(point), int(old))
            loss.move(point, new, 1)
            labels[point], moved = new, moved or new != old
            if loss.sizes.all():  # keep a slot for a new cluster
                num_slots *= 2
                loss.start(labels, num_slots)
        if not moved:
            break
    return labels


def cheapest(costs: Floats, old: int) -> int:
    """The slot of least cost; the old one if none is lower by more than rounding."""
    new = int(costs.argmin())
    return old if old >= 0 and costs[old] <= costs[new] + _LEAST_GAIN else new
