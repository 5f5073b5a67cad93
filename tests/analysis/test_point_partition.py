"""The search against all 203 partitions of six points; the ball, entropies and chains by hand."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from probact.analysis import (
    adjusted_rand_index,
    assignment_entropy,
    binder_loss,
    chain_agreement,
    credible_ball,
    point_partition,
    similarity_matrix,
    variation_of_information,
)

LOSSES = {"vi": variation_of_information, "binder": binder_loss}


def set_partitions(n: int, prefix: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """Every partition of n points once, labels by first appearance."""
    if len(prefix) == n:
        yield prefix
        return
    for label in range(max(prefix, default=-1) + 2):
        yield from set_partitions(n, (*prefix, label))


def noisy_draws(seed: int, n: int, num_draws: int = 15) -> NDArray[np.int64]:
    """Labels (S, N): a truth of three clusters in which each draw relabels some points."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)
    share = rng.uniform(0.05, 0.9)
    wrong = rng.random((num_draws, n)) < share
    return np.where(wrong, rng.integers(0, n, (num_draws, n)), truth)


def lower_bound(labels: tuple[int, ...], p: NDArray[np.float64]) -> float:
    """Wade & Ghahramani 2018, eq. (13), term by term."""
    n, total = len(labels), 0.0
    for i in range(n):
        own = [j for j in range(n) if labels[j] == labels[i]]
        total += math.log(len(own)) + math.log(p[i].sum()) - 2.0 * math.log(p[i, own].sum())
    return total / n


@pytest.mark.parametrize("loss", ["vi", "binder"])
@pytest.mark.parametrize("seed", range(6))
def test_finds_the_best_of_all_partitions(loss: str, seed: int) -> None:
    z = noisy_draws(seed, 6)
    expected = {c: np.mean([LOSSES[loss](c, d) for d in z]) for c in set_partitions(6)}
    assert len(expected) == 203
    found = point_partition(z, loss=loss)
    assert found.expected_loss == pytest.approx(min(expected.values()), abs=1e-12)
    own = np.mean([LOSSES[loss](found.labels, d) for d in z])
    assert own == pytest.approx(found.expected_loss, abs=1e-12)
    assert found.num_clusters == len(found.labels.unique())


@pytest.mark.parametrize("seed", range(6))
def test_finds_the_best_of_all_partitions_from_a_similarity(seed: int) -> None:
    z = noisy_draws(seed, 6)
    p = similarity_matrix(z)
    found = point_partition(p, loss="vi.lb")
    bounds = {c: lower_bound(c, p.numpy()) for c in set_partitions(6)}
    assert found.expected_loss == pytest.approx(min(bounds.values()), abs=1e-12)
    binder = point_partition(p, loss="binder")
    assert binder.expected_loss == pytest.approx(
        point_partition(z, loss="binder").expected_loss, abs=1e-12
    )


def test_the_bound_is_below_the_expected_variation_of_information() -> None:
    z = noisy_draws(3, 40)
    bound = point_partition(similarity_matrix(z), loss="vi.lb").expected_loss
    assert bound <= point_partition(z, loss="vi").expected_loss


@pytest.mark.parametrize("loss", ["vi", "binder"])
def test_recovers_a_clear_partition_whatever_the_labels(loss: str) -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(5), [40, 30, 20, 8, 2])
    z = np.stack([rng.permutation(5)[truth] for _ in range(20)]).reshape(2, 10, 100)
    z[1, :3, 0] = 99  # out of place in three draws
    found = point_partition(z, loss=loss)
    assert found.labels.tolist() == truth.tolist()  # numbered by size
    again = point_partition(torch.from_numpy(z), loss=loss)
    assert torch.equal(found.labels, again.labels)


def test_many_draws_are_thinned_but_the_loss_is_of_all() -> None:
    z = noisy_draws(5, 30, num_draws=90)
    found = point_partition(z, max_draws=20, starts=2)
    own = np.mean([variation_of_information(found.labels, d) for d in z])
    assert found.expected_loss == pytest.approx(own, abs=1e-12)


@pytest.mark.parametrize("loss", ["vi", "binder"])
def test_a_singleton_posterior(loss: str) -> None:
    assert point_partition([[4]], loss=loss) == (torch.tensor([0]), 0.0, 1)
    z = np.stack([np.random.default_rng(i).permutation(30) for i in range(4)])
    found = point_partition(z, loss=loss)  # all singletons: more clusters than first slots
    assert (found.num_clusters, found.expected_loss) == (30, 0.0)


@pytest.mark.parametrize(
    ("draws", "options", "message"),
    [
        (np.eye(3), {"loss": "vi"}, "loss of a similarity must be binder or vi.lb, got 'vi'"),
        ([[0, 1]], {"loss": "vi.lb"}, "loss of draws must be binder or vi, got 'vi.lb'"),
        (np.eye(3)[:2], {"loss": "binder"}, r"similarity matrix \(N, N\).*got shape \(2, 3\)"),
        (2.0 * np.eye(3), {"loss": "binder"}, "ones on the diagonal"),
        (np.array([[1.0, 0.2], [0.3, 1.0]]), {"loss": "binder"}, "symmetric"),
        ([[0, 1]], {"starts": 0}, "starts must be an integer of at least 1"),
        ([[0, 1]], {"max_draws": 0}, "max_draws must be an integer of at least 1"),
        ([[0, 1]], {"seed": -1}, "seed must lie in"),
        ([[0.5, 1]], {}, "z must be integers"),
    ],
)
def test_refuses(draws: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        point_partition(draws, **options)


@pytest.mark.parametrize("loss", ["vi", "binder"])
def test_the_ball_is_the_smallest_with_its_share(loss: str) -> None:
    z = noisy_draws(7, 12, num_draws=40)
    centre = point_partition(z, loss=loss).labels
    ball = credible_ball(z, centre, loss=loss, probability=0.9)
    distances = np.array([LOSSES[loss](centre, d) for d in z])
    np.testing.assert_allclose(ball.distances, distances)
    assert (distances <= ball.radius).mean() >= 0.9
    assert (distances < ball.radius).mean() < 0.9
    inside = z[distances <= ball.radius]
    counts = [len(set(d)) for d in inside]
    assert LOSSES[loss](centre, ball.farthest) == pytest.approx(ball.radius)
    assert len(ball.coarsest.unique()) == min(counts)
    assert len(ball.finest.unique()) == max(counts)
    reach = [
        LOSSES[loss](centre, d) for d, k in zip(inside, counts, strict=True) if k == max(counts)
    ]
    assert LOSSES[loss](centre, ball.finest) == pytest.approx(max(reach))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "vi.lb"}, "loss must be vi or binder"),
        ({"probability": 0.0}, r"probability must lie in \(0, 1\]"),
        ({"labels": [0]}, r"labels must be one integer per row, shape \(3,\)"),
    ],
)
def test_refuses_a_ball(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        credible_ball([[0, 0, 1]], **{"labels": [0, 0, 1], **options})


def test_assignment_entropy_from_the_similarity_row() -> None:
    z = noisy_draws(9, 15).reshape(3, 5, 15)
    labels = point_partition(z).labels.numpy()
    p = similarity_matrix(z).numpy()
    for i, entropy in enumerate(assignment_entropy(z, labels).tolist()):
        q = np.array([p[i, labels == k].mean() for k in range(labels.max() + 1)])
        q = q[q > 0] / q.sum()
        assert entropy == pytest.approx(-(q * np.log(q)).sum(), abs=1e-12)


def test_chains_that_agree_and_one_that_does_not() -> None:
    rng = np.random.default_rng(11)
    truth = np.repeat(np.arange(4), 10)
    merged = np.minimum(truth, 2)
    z = np.stack(
        [np.stack([rng.permutation(4)[c] for _ in range(6)]) for c in (truth, truth, merged)]
    )
    agreement = chain_agreement(z, num_pairs=20_000)
    p = [similarity_matrix(c).numpy() for c in z]
    apart = ~np.eye(40, dtype=bool)
    for found, own in zip(agreement.distance.tolist(), p, strict=True):
        want = np.sqrt(np.mean((own - np.mean(p, axis=0))[apart] ** 2))
        assert found == pytest.approx(want, rel=0.06)  # 20,000 of 1560 pairs with replacement
    want = adjusted_rand_index(truth, merged)
    np.testing.assert_allclose(agreement.rand_index, [[1, 1, want], [1, 1, want], [want, want, 1]])


def test_one_chain_agrees_with_itself() -> None:
    agreement = chain_agreement([[0, 0, 1], [0, 1, 1]], num_pairs=10)
    assert agreement.distance.tolist() == [0.0]
    assert agreement.rand_index.tolist() == [[1.0]]
    with pytest.raises(ValueError, match="z must label two points or more"):
        chain_agreement([[0]])
