r"""One partition to stand for many draws: the one of least posterior expected loss.

Symbols: z (S, N) draws of labels; c (N,) a partition with clusters of n_k points; n_kl(s) the
points with label k in c and l in draw s; p_ij the posterior similarity. Both losses have the form

    loss(c, z_s) ~ sum_k f(n_k) + sum_l f(m_l(s)) - 2 sum_kl f(n_kl(s))

with f(n) = n log n for the variation of information (times 1 / N, nats) and f(n) = n^2 for
Binder's loss (times 1 / (N (N - 1))). So the gain of moving one point needs only the counts n_kl,
and nothing of size N x N. The search is greedy re-allocation from several starts, as in Dahl,
Johnson & Mueller 2022 (R's salso): the draws themselves, average-linkage cuts of 1 - p, and random
sequential allocations. Given p alone, Binder's loss is still exact; for the variation of
information there is the lower bound of Wade & Ghahramani 2018, "vi.lb".
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.hierarchy import cut_tree, linkage
from scipy.spatial.distance import squareform
from torch import Tensor

from probact.analysis.allocation import DrawLoss, Loss, SimilarityLoss, best_allocation
from probact.analysis.label_draws import label_draws, slots
from probact.analysis.partitions import MOST_ROWS, similarity_matrix
from probact.arrays import as_matrix, as_tensor, check_count, check_seed

__all__ = ["PointPartition", "point_partition"]

MOST_CUTS = 100  # clusters of the finest average-linkage cut of a given similarity


class PointPartition(NamedTuple):
    """The partition found, its posterior expected loss and its number of clusters."""

    labels: Tensor  # (N,) int64, largest cluster first
    expected_loss: float  # nats for "vi" and "vi.lb", a share of all pairs for "binder"
    num_clusters: int


def point_partition(
    draws: Any, *, loss: str = "vi", starts: int = 8, max_draws: int = 400, seed: int = 0
) -> PointPartition:
    """The partition of least expected loss: "vi", "binder", or "vi.lb" from a similarity.

    draws: integer labels (chain, draw, N) or (draw, N), a posterior's z, or a similarity matrix
    (N, N) of floats. The greedy search runs from `starts` candidates and `starts` random
    allocations, over `max_draws` evenly spaced draws; the loss reported is that of all draws.
    Average-linkage cuts are among the candidates up to 5000 points.

    Raises: TypeError, ValueError for something else, or a loss that the input does not give.

    >>> z = [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]]
    >>> point_partition(z).labels
    tensor([0, 0, 1, 1])
    """
    check_count(starts, "starts")
    check_count(max_draws, "max_draws")
    check_seed(seed)
    generator = np.random.default_rng(int(seed))
    similarity = _similarity(draws)
    if similarity is not None:
        if loss not in ("binder", "vi.lb"):
            raise ValueError(f"loss of a similarity must be binder or vi.lb, got {loss!r}")
        candidates = _cuts(similarity, MOST_CUTS)
        target: Loss = SimilarityLoss(similarity, loss)
        best = best_allocation(target, candidates, starts, generator)
        return _result(best, target.expected(best))
    if loss not in ("binder", "vi"):
        raise ValueError(f"loss of draws must be binder or vi, got {loss!r}")
    return _from_draws(label_draws(draws).flatten(0, 1), loss, starts, max_draws, generator)


def _from_draws(
    z: Tensor, loss: str, starts: int, max_draws: int, generator: np.random.Generator
) -> PointPartition:
    """The search over draws z (S, N)."""
    all_draws = slots(z).cpu()
    thinned = all_draws[_evenly(len(z), max_draws)]
    candidates = list(np.unique(_first_seen(thinned[_evenly(len(thinned), 100)]), axis=0))
    if z.shape[1] <= MOST_ROWS:
        most = int(max(c.max() for c in candidates)) + 1
        candidates += _cuts(similarity_matrix(thinned).numpy(), 2 * most + 10)
    target = DrawLoss(thinned.numpy(), loss)
    best = best_allocation(target, candidates, starts, generator)
    return _result(best, DrawLoss(all_draws.numpy(), loss).expected(best))


def _similarity(value: Any) -> NDArray[np.float64] | None:
    """A matrix of floats as a similarity (N, N), once it can be one; None for anything else."""
    if (
        not isinstance(value, Tensor | np.ndarray)
        or not as_tensor(value, "draws").dtype.is_floating_point
    ):
        return None
    matrix: NDArray[np.float64] = as_matrix(value, "draws").double().cpu().numpy()
    fits = matrix.shape[0] == matrix.shape[1] and np.allclose(matrix, matrix.T, atol=1e-6)
    if not fits or matrix.min() < 0.0 or not np.allclose(np.diag(matrix), 1.0, atol=1e-6):
        raise ValueError(
            "draws of floats must be a similarity matrix (N, N): symmetric, from 0 to 1, ones on"
            f" the diagonal; got shape {matrix.shape}"
        )
    return matrix


def _evenly(count: int, most: int) -> Tensor:
    """At most `most` of the indices 0 .. count - 1, evenly spaced, the last among them."""
    size = min(count, most)
    return (torch.arange(1, size + 1) * count) // size - 1


def _cuts(similarity: NDArray[np.float64], most: int) -> list[NDArray[np.int64]]:
    """Average-linkage cuts of 1 - p into 1, ..., `most` clusters, labels by first appearance."""
    if len(similarity) == 1:
        return [np.zeros(1, dtype=np.int64)]
    apart = np.clip(1.0 - 0.5 * (similarity + similarity.T), 0.0, None)
    np.fill_diagonal(apart, 0.0)
    tree = linkage(squareform(apart, checks=False), method="average")
    sizes = list(range(1, min(most, len(similarity)) + 1))
    return list(np.ascontiguousarray(cut_tree(tree, n_clusters=sizes).T.astype(np.int64)))


def _first_seen(z: Tensor) -> NDArray[np.int64]:
    """Labels (S, N) of each row numbered by first appearance."""
    rows = []
    for row in z.numpy():
        _, first, inverse = np.unique(row, return_index=True, return_inverse=True)
        rows.append(first.argsort().argsort()[inverse])
    return np.stack(rows)


def _result(labels: NDArray[np.int64], expected_loss: float) -> PointPartition:
    """Labels numbered by size, the largest first; of equal clusters the first seen."""
    _, first, inverse, size = np.unique(
        labels, return_index=True, return_inverse=True, return_counts=True
    )
    rank = np.lexsort((first, -size)).argsort()
    return PointPartition(torch.from_numpy(rank[inverse]), expected_loss, len(size))
