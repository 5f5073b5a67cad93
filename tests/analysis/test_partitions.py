"""Losses of partitions against scikit-learn and pair counting; similarities against a loop."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn import metrics

from probact.analysis import (
    adjusted_rand_index,
    binder_loss,
    partitions,
    random_rows,
    similarity_matrix,
    variation_of_information,
)
from probact.inference import from_draws

PAIRS = [
    ([0], [3]),
    ([0, 0, 1, 1], [1, 1, 0, 0]),
    ([0, 1, 2, 3], [0, 0, 0, 0]),
    ([0, 0, 0, 0], [7, 7, 7, 7]),
    ([0, 1, 2, 3], [3, 2, 1, 0]),
    ([-5, 9, 9, -5, 0], [2, 2, 1, 1, 1]),
]


def random_pairs() -> list[tuple[list[int], list[int]]]:
    rng = np.random.default_rng(0)
    return [
        (rng.integers(0, k, 40).tolist(), rng.integers(0, m, 40).tolist())
        for k, m in itertools.product((1, 2, 7, 40), repeat=2)
    ]


@pytest.mark.parametrize(("a", "b"), PAIRS + random_pairs())
def test_losses_agree_with_scikit_learn(a: list[int], b: list[int]) -> None:
    n = len(a)
    if n > 1:
        assert binder_loss(a, b) == pytest.approx(1.0 - metrics.rand_score(a, b), abs=1e-14)
    shared = metrics.mutual_info_score(a, b)
    alone = metrics.mutual_info_score(a, a) + metrics.mutual_info_score(b, b)
    assert variation_of_information(a, b) == pytest.approx(alone - 2.0 * shared, abs=1e-12)
    assert variation_of_information(a, b) <= math.log(n) + 1e-12
    want = metrics.adjusted_rand_score(a, b)
    assert adjusted_rand_index(a, b) == pytest.approx(want, abs=1e-12)


def test_binder_loss_counts_the_pairs() -> None:
    a, b = [0, 1, 1, 2, 0, 1], [0, 0, 1, 1, 2, 2]
    pairs = list(itertools.combinations(range(6), 2))
    differ = sum((a[i] == a[j]) != (b[i] == b[j]) for i, j in pairs)
    assert binder_loss(a, b) == pytest.approx(differ / len(pairs))


def test_losses_are_metrics() -> None:
    z = np.random.default_rng(1).integers(0, 3, (7, 9))
    for loss in (binder_loss, variation_of_information):
        for a, b, c in itertools.product(z, repeat=3):
            assert loss(a, c) <= loss(a, b) + loss(b, c) + 1e-12
            assert loss(a, b) == pytest.approx(loss(b, a), abs=1e-14)
            assert loss(a, (a + 5) * 7) == 0.0


def plain_similarity(z: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.mean([draw[:, None] == draw[None, :] for draw in z], axis=0)


@pytest.mark.parametrize("cells", [2**24, 100])
def test_similarity_is_the_share_of_draws(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "_CELLS", cells)
    z = np.random.default_rng(2).integers(0, 5, (2, 7, 23))
    z[0] = z[0] * 1000 - 500  # labels need not count from zero
    p = similarity_matrix(z)
    np.testing.assert_allclose(p, plain_similarity(z.reshape(-1, 23)), rtol=1e-15)
    assert p.dtype == torch.float64
    torch.testing.assert_close(p, p.T, rtol=0, atol=0)


def test_similarity_reads_a_posterior() -> None:
    z = np.random.default_rng(3).integers(0, 3, (4, 6)).astype(np.int16)
    want = similarity_matrix(z)
    torch.testing.assert_close(similarity_matrix(from_draws({"z": z})), want, rtol=0, atol=0)
    plain = {"posterior": {"z": z[None]}}
    torch.testing.assert_close(similarity_matrix(plain), want, rtol=0, atol=0)


def test_similarity_of_chosen_rows() -> None:
    z = np.random.default_rng(4).integers(0, 4, (20, 30))
    rows = random_rows(30, 7)
    assert len(set(rows.tolist())) == 7
    assert rows.tolist() == sorted(rows.tolist())
    whole = similarity_matrix(z)
    torch.testing.assert_close(similarity_matrix(z, rows=7), whole[rows][:, rows])
    torch.testing.assert_close(similarity_matrix(z, rows=[4, 2]), whole[[4, 2]][:, [4, 2]])
    assert not torch.equal(rows, random_rows(30, 7, seed=1))


def test_more_points_than_fit_need_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "MOST_ROWS", 10)
    z = np.zeros((3, 11), dtype=np.int64)
    with pytest.raises(ValueError, match=r"11 points have 11\^2 similarities; pass rows="):
        similarity_matrix(z)
    assert similarity_matrix(z, rows=5).shape == (5, 5)


@pytest.mark.parametrize(
    ("z", "error", "message"),
    [
        (np.zeros((3, 4)), ValueError, "z must be integers, got dtype torch.float64"),
        (np.zeros(4, dtype=np.int64), ValueError, r"z must be \(chain, draw, N\)"),
        (np.zeros((0, 4), dtype=np.int64), ValueError, r"none of them 0, got \(0, 4\)"),
        (np.zeros((2, 0), dtype=np.int64), ValueError, r"none of them 0, got \(2, 0\)"),
        (
            {"posterior": {}},
            TypeError,
            "z must be labels or a posterior with draws of z, got dict",
        ),
        (None, TypeError, "z must be labels or a posterior"),
        ("z", TypeError, "z must be labels or a posterior"),
    ],
)
def test_refuses_draws(z: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        similarity_matrix(z)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (0, "size must be an integer of at least 1"),
        (9, "size must be at most num_points = 4, got 9"),
        ([4], "rows must be indices from 0 to 3"),
        ([], "rows must be"),
        ([[0, 1]], "rows must be one integer per row"),
        ([0.5], "rows must be integers"),
    ],
)
def test_refuses_rows(rows: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        similarity_matrix(np.zeros((2, 4), dtype=np.int64), rows=rows)


@pytest.mark.parametrize("loss", [binder_loss, variation_of_information, adjusted_rand_index])
@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([0, 1], [0], r"b must be one integer per row, shape \(2,\), got \(1,\)"),
        ([[0, 1]], [0, 1], "a must be one integer per row"),
        ([0.5, 1], [0, 1], "a must be integers"),
        (np.zeros(0, dtype=np.int64), [0], "a must label one point or more"),
    ],
)
def test_refuses_partitions(loss: Any, a: Any, b: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loss(a, b)
