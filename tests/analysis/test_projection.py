"""Projection on right singular vectors, against numpy."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from probact.analysis.projection import singular_projection


def matrix(rows: int, columns: int, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.standard_normal((rows, columns)) + 0.5)  # not centred


@pytest.mark.parametrize(("rows", "columns"), [(30, 8), (8, 30), (12, 12), (1, 5), (5, 1)])
def test_against_numpy(rows: int, columns: int) -> None:
    x = matrix(rows, columns)
    _, values, right = np.linalg.svd(x.numpy())
    for dim in range(1, min(rows, columns) + 1):
        found = singular_projection(x, dim)
        assert found.scores.shape == (rows, dim)
        np.testing.assert_allclose(found.singular_values, values[:dim], rtol=1e-12)
        cosines = np.abs((found.directions.numpy() * right[:dim]).sum(1))
        np.testing.assert_allclose(cosines, 1.0, rtol=1e-10)
        projected = np.abs(x.numpy() @ right[:dim].T)
        np.testing.assert_allclose(found.scores.abs(), projected, atol=1e-10)
        assert found.share == pytest.approx((values[:dim] ** 2).sum() / (values**2).sum())
        # Eckart & Young: no other d dimensions lose less
        lost = np.linalg.norm(x - found.scores @ found.directions) ** 2
        assert lost == pytest.approx((values[dim:] ** 2).sum(), rel=1e-9, abs=1e-18)


def test_rows_are_not_centred() -> None:
    x = torch.tensor([[10.0, 10.0], [10.0, 11.0], [10.0, 9.0]], dtype=torch.float64)
    direction = singular_projection(x, 1).directions[0]
    torch.testing.assert_close(
        direction, torch.full((2,), math.sqrt(0.5)).double(), atol=1e-2, rtol=0
    )
    assert bool((singular_projection(x, 1).scores > 0).all())


def test_signs_are_fixed() -> None:
    x = matrix(20, 7)
    first, turned = singular_projection(x, 5), singular_projection(-x, 5)
    torch.testing.assert_close(first.directions, turned.directions)
    torch.testing.assert_close(first.scores, -turned.scores)
    largest = first.directions.gather(1, first.directions.abs().argmax(1, keepdim=True))
    assert bool((largest > 0).all())


def test_order_of_rows_and_columns_does_not_matter() -> None:
    x = matrix(15, 9)
    rows, columns = torch.arange(14, -1, -1), torch.tensor([3, 0, 8, 1, 7, 2, 6, 5, 4])
    found = singular_projection(x, 4)
    torch.testing.assert_close(singular_projection(x[rows], 4).scores, found.scores[rows])
    torch.testing.assert_close(singular_projection(x[:, columns], 4).scores, found.scores)


def test_single_precision_comes_out_in_double() -> None:
    assert singular_projection(matrix(6, 4).float(), 2).scores.dtype == torch.float64


@pytest.mark.parametrize(
    ("x", "dim", "message"),
    [
        (matrix(6, 4), 5, "dim must be at most the rank of x, which is 4, got 5"),
        (torch.ones(6, 4), 2, "dim must be at most the rank of x, which is 1, got 2"),
        (torch.zeros(6, 4), 1, "rank of x, which is 0"),
        (matrix(6, 4), 0, "dim must be an integer of at least 1, got 0"),
        (torch.ones(6), 1, "x must be a matrix"),
        (torch.full((2, 2), math.nan), 1, "x has 2 rows with NaN"),
    ],
)
def test_refusals(x: Tensor, dim: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        singular_projection(x, dim)
