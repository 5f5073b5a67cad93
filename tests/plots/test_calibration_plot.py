"""What is drawn is what was given: points, bars, the diagonal, the order of rows."""

from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from probact.analysis import reliability_curve
from probact.plots import plot_against_size, plot_reliability, plot_scores

CURVE = [[0.9, 0.6], [0.7, 0.5], [0.05, 0.1]]


def bars(ax: Any, index: int, axis: int = 1) -> np.ndarray:
    """Ends (P, 2) of the bars of a series, along an axis."""
    segments = ax.containers[index].lines[2][0].get_segments()
    return np.array([segment[:, axis] for segment in segments])


def test_reliability_has_the_diagonal_and_sorted_points() -> None:
    ax = plot_reliability({"point": CURVE, "other": CURVE})
    diagonal = ax.lines[0]
    assert diagonal.get_xdata().tolist() == diagonal.get_ydata().tolist() == [0.0, 1.0]
    line = ax.containers[0].lines[0]
    assert line.get_xdata().tolist() == [0.6, 0.9]
    assert line.get_ydata().tolist() == [0.5, 0.7]
    np.testing.assert_allclose(bars(ax, 0), [[0.4, 0.6], [0.65, 0.75]])
    assert ax.get_legend_handles_labels()[1] == ["point", "other"]
    FigureCanvasAgg(ax.figure).draw()


def test_reliability_takes_what_the_analysis_gives() -> None:
    curve = reliability_curve([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]], [0, 1, 0])
    ax = plot_reliability({"point": [part.numpy() for part in curve[:3]]})
    assert len(ax.containers[0].lines[0].get_xdata()) == 3


def test_against_size_is_logarithmic_with_lines_beside_each_other() -> None:
    ax = plot_against_size([100, 10], {n: [[1.0, 2.0], [0.1, 0.2]] for n in "abc"})
    at = np.array([c.lines[0].get_xdata() for c in ax.containers])
    assert np.all(np.diff(at, axis=0) > 0)
    np.testing.assert_allclose(at[1], [10, 100])
    assert ax.containers[0].lines[0].get_ydata().tolist() == [2.0, 1.0]
    np.testing.assert_allclose(bars(ax, 2), [[1.8, 2.2], [0.9, 1.1]])
    assert [t.get_text() for t in ax.get_xticklabels()] == ["10", "100"]
    FigureCanvasAgg(ax.figure).draw()


def test_scores_stand_in_their_rows() -> None:
    ax = plot_scores(
        ["one", "two"],
        {"a": [[0.5, 0.7], [0.1, 0.1]], "b": [[0.6, 0.9], [0.1, 0.2]]},
        xlabel="AUROC", reference=0.5,
    )  # fmt: skip
    rows = np.array([c.lines[0].get_ydata() for c in ax.containers])
    assert np.all(np.round(rows) == [[0, 1], [0, 1]])
    assert len(np.unique(rows)) == 4
    np.testing.assert_allclose(bars(ax, 1, axis=0), [[0.5, 0.7], [0.7, 1.1]])
    assert ax.get_xlabel() == "AUROC, ± 1 standard error"
    FigureCanvasAgg(ax.figure).draw()


@pytest.mark.parametrize(
    ("plot", "arguments", "message"),
    [
        (plot_reliability, ({},), "curves must hold one curve"),
        (plot_reliability, ({"a": [[0.5], [1.5], [0.1]]},), "two shares in"),
        (plot_reliability, ({"a": [[0.5], [0.5], [-0.1]]},), "an error >= 0"),
        (plot_reliability, ({"a": [[0.5], [0.5]]},), r"curve 'a' must be \(3, B\)"),
        (plot_against_size, ([1], {}), "series must hold one series"),
        (plot_against_size, ([0, 1], {"a": np.ones((2, 2))}), "positive and different"),
        (plot_against_size, ([1, 1], {"a": np.ones((2, 2))}), "positive and different"),
        (plot_against_size, ([1, 2], {"a": np.ones((2, 3))}), r"must be \(2, 2\)"),
        (plot_against_size, ([1, 2], {"a": -np.ones((2, 2))}), "errors >= 0"),
        (plot_scores, (["a", "a"], {"x": np.ones((2, 2))}), "names must differ"),
        (plot_scores, (["a"], {"x": [[np.nan], [1.0]]}), "not finite"),
    ],
)
def test_refuses(plot: Any, arguments: tuple[Any, ...], message: str) -> None:
    options = {"xlabel": "score"} if plot is plot_scores else {}
    with pytest.raises(ValueError, match=message):
        plot(*arguments, **options)
    with pytest.raises(ValueError, match="reference must be finite"):
        plot_scores(["a"], {"x": [[1.0], [1.0]]}, xlabel="score", reference=float("nan"))
