"""Precision, recall, density and coverage against all pairs at once, and where they are known."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from bad_inputs import data_cases, verdict
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from probact.analysis import neighbours, precision_recall
from probact.analysis.neighbours import nearest

Array = NDArray[np.float64]


def by_all_pairs(x: Array, y: Array, k: int) -> tuple[float, ...]:
    """The definitions, on whole matrices of exact distances."""
    slack = 1e-9
    between, in_x, in_y = cdist(x, y), cdist(x, x), cdist(y, y)
    np.fill_diagonal(in_x, np.inf)
    np.fill_diagonal(in_y, np.inf)
    r_x, r_y = np.sort(in_x, 1)[:, k - 1], np.sort(in_y, 1)[:, k - 1]
    inside = between <= r_x[:, None] + slack
    precision = inside.any(0).mean()
    recall = (between <= r_y + slack).any(1).mean()
    return precision, recall, inside.sum() / (k * len(y)), inside.any(1).mean()


def means(x: Any, y: Any, k: int = 3) -> tuple[float, ...]:
    return tuple(share.mean for share in precision_recall(x, y, k=k))


@pytest.mark.parametrize("k", [1, 3, 7])
@pytest.mark.parametrize(("n", "m", "dim"), [(80, 60, 2), (50, 90, 10), (40, 41, 1)])
def test_against_all_pairs(n: int, m: int, dim: int, k: int) -> None:
    rng = np.random.default_rng(n + k)
    x, y = 50.0 + rng.normal(size=(n, dim)), 50.3 + 0.8 * rng.normal(size=(m, dim))
    assert means(x, y, k) == pytest.approx(by_all_pairs(x, y, k))


@pytest.mark.parametrize("k", [1, 4])
def test_ties_on_a_lattice_count_as_inside(k: int) -> None:
    """Whole coordinates: most distances are equal to some radius."""
    rng = np.random.default_rng(k)
    x, y = rng.integers(0, 5, (60, 3)).astype(float), rng.integers(0, 5, (50, 3)).astype(float)
    for shift in (0.0, 1e5 + 1 / 3):
        assert means(x + shift, y + shift, k) == pytest.approx(by_all_pairs(x, y, k))


def test_cases_known_by_hand() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 4))
    copy = precision_recall(x, x[::-1])
    assert (copy.precision.mean, copy.recall.mean, copy.coverage.mean) == (1.0, 1.0, 1.0)
    assert copy.density.mean == pytest.approx(4 / 3)  # itself and the k = 3 whose ball reaches it
    assert means(x, x + 100.0) == (0.0, 0.0, 0.0, 0.0)
    corner = precision_recall(x, 0.05 * x)
    assert corner.precision.mean == 1.0
    assert corner.recall.mean < 0.05
    half = np.concatenate([x, x + 100.0])
    dropped = precision_recall(half, x + 1e-9)
    assert (dropped.precision.mean, dropped.recall.mean, dropped.coverage.mean) == (1.0, 0.5, 0.5)
    mixed = np.concatenate([x[:150], x[150:] + 1000.0])
    assert precision_recall(x, mixed).precision.mean == 0.75


def test_one_outlier_flatters_recall_only() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(300, 2)), 0.02 * rng.normal(size=(300, 2))
    before = precision_recall(x, y)
    y[:3] = [[9.0, 9.0], [-9.0, -9.0], [9.0, -9.0]]
    after = precision_recall(x, y)
    assert before.recall.mean < 0.05
    assert after.recall.mean > 0.9
    assert after.coverage.mean < before.coverage.mean + 0.01


def test_standard_errors_are_those_of_means_over_rows() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(90, 3)), 1.0 + rng.normal(size=(70, 3))
    found = precision_recall(x, y)
    p = found.precision
    assert p.standard_error == pytest.approx(math.sqrt(p.mean * (1.0 - p.mean) / 69))
    p = found.coverage
    assert p.standard_error == pytest.approx(math.sqrt(p.mean * (1.0 - p.mean) / 89))
    assert found.density.standard_error > 0.0


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(101, 5)), rng.normal(size=(67, 5))
    want = means(x, y)
    monkeypatch.setattr(neighbours, "_BLOCK", 200)
    assert means(x, y) == pytest.approx(want)


def test_units_images_and_types() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.random((60, 1, 3, 3)).astype(np.float32), rng.random((50, 1, 3, 3))
    want = means(x, y)
    assert means(x.reshape(60, 9), torch.from_numpy(y)) == want
    assert means(1e-60 * x.astype(float), 1e-60 * y) == pytest.approx(want)
    assert means(2.0**300 * x.astype(float), 2.0**300 * y) == pytest.approx(want)


def test_nearest_rows() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(30, 4)), rng.normal(size=(40, 4))
    distance, index = nearest(torch.from_numpy(x), torch.from_numpy(y), 3)
    d = cdist(x, y)
    np.testing.assert_allclose(distance, np.sort(d, 1)[:, :3], rtol=1e-13)
    np.testing.assert_array_equal(index, np.argsort(d, 1)[:, :3])
    equal, own = nearest(torch.from_numpy(x), torch.from_numpy(x), 1)
    assert bool((equal == 0.0).all())  # without rounding
    np.testing.assert_array_equal(own[:, 0], np.arange(30))


@pytest.mark.parametrize(("name", "make", "expect"), list(data_cases()))
def test_awkward_rows(name: str, make: Any, expect: str) -> None:
    other = name.startswith(("3-d", "N=", "D>>N"))  # rows of images, or too few for k
    wanted = "either" if other and name != "N=0" else expect

    def thunk() -> Any:
        return precision_recall(make(), make(), k=2)

    assert verdict(thunk, wanted, lambda f: all(0 <= s.mean < math.inf for s in f)) is None


@pytest.mark.parametrize(
    ("real", "generated", "k", "message"),
    [
        (np.zeros((5, 2)), np.zeros((5, 3)), 3, "generated must have 2 numbers a row, got 3"),
        (np.zeros((3, 2)), np.zeros((5, 2)), 3, "real must have at least 4 rows for k = 3, got 3"),
        (np.zeros((5, 2)), np.zeros((3, 2)), 3, "generated must have at least 4 rows"),
        (np.zeros((5, 2)), np.zeros((5, 2)), 0, "k must be an integer of at least 1"),
        (np.full((5, 1, 2), np.nan), np.zeros((5, 2)), 3, "real has 5 rows with NaN"),
        (np.zeros((5, 2)), np.full((5, 2), 1e200), 3, "generated must be below 1e150"),
    ],
)
def test_refuses(real: Array, generated: Array, k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        precision_recall(real, generated, k=k)
