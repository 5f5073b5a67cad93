"""Accuracy against weights kept, and the strips of a split tree, drawn as they came."""

from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from probact.plots import plot_pruning, plot_split_tree

SERIES = {"magnitude": [[0.9, 0.8, 0.5], [0.01, 0.0, 0.1]], "random": [[0.7, 0.4, 0.1], [0.0] * 3]}
NAMES = ["+", "+-", "++", "-"]
INTERVALS = [[0.0, 3.0], [0.0, 1.0], [1.0, 3.0], [-2.0, 0.0]]
SIZES = [5, 3, 2, 4]


def test_lines_and_bars_are_the_numbers() -> None:
    ax = plot_pruning([0.5, 0.02, 0.1], SERIES, full=0.95)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(SERIES)
    for container, (mean, error) in zip(ax.containers, SERIES.values(), strict=True):
        order = [1, 2, 0]
        line, _, (bars,) = container.lines
        np.testing.assert_allclose(line.get_xdata(), [0.02, 0.1, 0.5])
        np.testing.assert_allclose(line.get_ydata(), np.take(mean, order))
        half = [np.ptp(segment[:, 1]) / 2 for segment in bars.get_segments()]
        np.testing.assert_allclose(half, np.take(error, order), atol=1e-12)
    low, high = ax.get_xlim()
    assert low > high  # fewer weights to the right
    assert any(np.allclose(line.get_ydata(), 0.95) for line in ax.lines)
    assert {tick.get_text() for tick in ax.get_xticklabels()} == {"50 %", "2 %", "10 %"}
    FigureCanvasAgg(ax.figure).draw()


@pytest.mark.parametrize(
    ("kept", "series", "message"),
    [
        ([0.5], {}, "series must hold one series or more"),
        ([0.0, 0.5, 0.1], SERIES, "above 0 and up to 1"),
        ([0.5, 0.5, 0.1], SERIES, "differ"),
        ([0.5, 0.1], SERIES, r"series 'magnitude' must be \(2, 2\)"),
        ([0.5], {"a": [[1.1], [0.0]]}, r"accuracies in \[0, 1\]"),
        ([0.5], {"a": [[0.9], [-0.1]]}, "errors from 0 up"),
        ([0.5], {"a": [[np.nan], [0.0]]}, "not finite"),
    ],
)
def test_pruning_refuses(kept: Any, series: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plot_pruning(kept, series)


def test_strips_lie_at_their_weights_and_depths() -> None:
    ax = plot_split_tree(NAMES, INTERVALS, SIZES, weights=[-2.0, 0.5, 3.0])
    found = [(p.get_x(), p.get_x() + p.get_width()) for p in ax.patches]
    np.testing.assert_allclose(found, INTERVALS)
    depths = [p.get_y() + p.get_height() / 2 for p in ax.patches]
    np.testing.assert_allclose(depths, [len(name) for name in NAMES])
    plus, inner, deeper, minus = (to_hex(p.get_facecolor()) for p in ax.patches)
    assert plus == deeper
    assert len({plus, inner, minus}) == 3
    minus_sign = "\N{MINUS SIGN}"
    assert [t.get_text() for t in ax.texts] == ["+  5", "++  2", f"4  {minus_sign}"]
    ticks = ax.collections[0].get_segments()
    np.testing.assert_allclose([tick[0, 0] for tick in ticks], [-2.0, 0.5, 3.0])
    low, high = ax.get_ylim()
    assert low > high  # the root above
    FigureCanvasAgg(ax.figure).draw()


@pytest.mark.parametrize(
    ("names", "intervals", "sizes", "message"),
    [
        (["+", "top", "++", "-"], INTERVALS, SIZES, "names must be of"),
        (["+", "", "++", "-"], INTERVALS, SIZES, "names must be of"),
        (NAMES, INTERVALS[:3], SIZES, r"intervals must be \(4, 2\)"),
        (NAMES, INTERVALS, SIZES[:3], r"sizes must be \(4,\)"),
        (NAMES, [pair[::-1] for pair in INTERVALS], SIZES, "lower bound above"),
        ([], [], [], "intervals must"),
    ],
)
def test_split_tree_refuses(names: Any, intervals: Any, sizes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plot_split_tree(names, intervals, sizes)
