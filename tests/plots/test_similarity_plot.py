"""The heat map shows the matrix itself, its points gathered by cluster."""

import numpy as np
import pytest

from probact.plots import plot_similarity


def test_cells_hold_the_matrix_in_the_order_of_the_clusters() -> None:
    rng = np.random.default_rng(0)
    p = rng.random((6, 6))
    p = 0.5 * (p + p.T)
    np.fill_diagonal(p, 1.0)
    z = np.array([2, 0, 2, 0, 1, 2])
    ax = plot_similarity(p, z)
    shown = np.asarray(ax.images[0].get_array())
    members = [
        sorted(np.flatnonzero(z == k), key=lambda i: -p[i, z == z[i]].mean()) for k in range(3)
    ]
    order = np.concatenate(members)
    np.testing.assert_array_equal(shown, p[np.ix_(order, order)])
    assert ax.images[0].get_clim() == (0.0, 1.0)
    assert "draws" in ax.images[0].colorbar.ax.get_ylabel()


def test_squares_outline_the_clusters() -> None:
    ax = plot_similarity(np.eye(5), [0, 1, 0, 1, 0])
    x, y = ax.lines[0].get_data()
    assert (x[0], x[1], x[6], x[7]) == (-0.5, 2.5, 2.5, 4.5)
    assert (y[0], y[2], y[6], y[8]) == (-0.5, 2.5, 2.5, 4.5)
    assert not plot_similarity(np.eye(61), np.arange(61)).lines


@pytest.mark.parametrize(
    ("matrix", "labels", "message"),
    [
        (np.eye(3)[:2], [0, 0], r"matrix must be \(N, N\), got shape \(2, 3\)"),
        (2.0 * np.eye(2), [0, 0], r"matrix must lie in \[0, 1\], got 0 to 2"),
        (np.eye(2), [0, 2], "labels must be whole numbers from 0 to 1, got 2"),
        (np.eye(2), [0], r"labels must be \(2,\)"),
        (np.full((2, 2), np.nan), [0, 0], "matrix has 4 entries that are not finite"),
    ],
)
def test_refuses(matrix: np.ndarray, labels: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plot_similarity(matrix, labels)
