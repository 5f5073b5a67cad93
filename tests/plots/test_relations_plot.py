"""The heat map shows the matrix itself, reordered, with ticks that stay readable."""

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from probact.plots import plot_class_relations


def relations(size: int) -> np.ndarray:
    logits = np.random.default_rng(1).normal(size=(size, size)) + 5.0 * np.eye(size)
    exp = np.exp(logits)
    return exp / exp.sum(axis=1, keepdims=True)


def test_cells_hold_log10_of_the_matrix_in_the_order_asked() -> None:
    matrix = relations(4)
    ax = plot_class_relations(matrix, order=[2, 0, 3, 1], class_names=list("abcd"))
    shown = np.asarray(ax.images[0].get_array())
    assert shown[0, 3] == pytest.approx(np.log10(matrix[2, 1]))  # row class c, column class b
    assert shown[3, 0] == pytest.approx(np.log10(matrix[1, 2]))
    assert [tick.get_text() for tick in ax.get_xticklabels()] == list("cadb")
    assert [tick.get_text() for tick in ax.get_yticklabels()] == list("cadb")


def test_linear_scale_shows_the_probabilities() -> None:
    ax = plot_class_relations(relations(4), log=False)
    np.testing.assert_array_equal(ax.images[0].get_array(), relations(4))
    assert "log" not in ax.images[0].colorbar.ax.get_ylabel()


def test_zero_is_left_out_and_said_so() -> None:
    matrix = np.array([[1.0, 0.0], [0.25, 0.75]])
    ax = plot_class_relations(matrix)
    shown = ax.images[0].get_array()
    assert shown.mask.tolist() == [[False, True], [False, False]]
    assert "zero in grey" in ax.images[0].colorbar.ax.get_ylabel()
    assert "grey" not in plot_class_relations(relations(3)).images[0].colorbar.ax.get_ylabel()


def test_floor_sets_the_foot_of_the_scale_and_its_arrow() -> None:
    ax = plot_class_relations([[0.999, 0.001], [0.5, 0.5]], floor=0.1)
    assert ax.images[0].get_clim()[0] == pytest.approx(-1.0)
    assert ax.images[0].colorbar.extend == "min"
    assert plot_class_relations(relations(3), floor=1e-9).images[0].colorbar.extend == "neither"


@pytest.mark.parametrize(("size", "rows"), [(10, 10), (30, 30), (1000, 25)])
def test_named_rows_stay_few_enough_to_read(size: int, rows: int) -> None:
    names = [f"a rather long name of class {index}" for index in range(size)]
    ax = plot_class_relations(relations(size), class_names=names)
    texts = [tick.get_text() for tick in ax.get_yticklabels()]
    assert len(texts) == rows
    assert max(len(text) for text in texts) <= 18
    FigureCanvasAgg(ax.figure).draw()
    boxes = sorted(
        (tick.get_window_extent().extents for tick in ax.get_yticklabels()), key=lambda box: box[1]
    )
    assert all(low[3] <= high[1] + 1.0 for low, high in itertools.pairwise(boxes))


def test_many_classes_without_names_show_positions() -> None:
    ax = plot_class_relations(relations(200))
    assert "position" in ax.get_xlabel()
    assert "position" in ax.get_ylabel()
    assert len(ax.get_yticks()) < 15


@pytest.mark.parametrize(
    ("matrix", "keywords", "message"),
    [
        (np.full((2, 3), 0.3), {}, r"matrix must be \(C, C\), got shape \(2, 3\)"),
        (np.full((2, 2), -0.1), {}, r"matrix must lie in \[0, 1\]"),
        (np.full((2, 2), 1.1), {}, r"matrix must lie in \[0, 1\]"),
        (np.zeros((2, 2)), {}, "zero all over"),
        (np.full((2, 2), 0.5), {"order": [0, 0]}, "order must hold each class 0 to 1 once"),
        (np.full((2, 2), 0.5), {"order": [0]}, r"order must be \(2,\)"),
        (np.full((2, 2), 0.5), {"class_names": ["a"]}, "class_names must hold 2 names, got 1"),
        (np.full((2, 2), 0.5), {"floor": 0.6}, "floor must lie between"),
        (np.full((2, 2), 0.5), {"floor": 0.0}, "floor must lie between"),
    ],
)
def test_refuses(matrix: np.ndarray, keywords: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plot_class_relations(matrix, **keywords)  # type: ignore[arg-type]
