"""Lines through the means, bars from least to greatest, and nothing hidden."""

from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from probact.plots import plot_complexity

ONE = [[3.0, 2.0, 1.0], [2.5, 1.0, 0.5], [4.0, 2.5, 1.0]]


def bars(ax: Any, index: int) -> np.ndarray:
    """Ends (P, 2) of the bars of a series."""
    segments = ax.containers[index].lines[2][0].get_segments()
    return np.array([segment[:, 1] for segment in segments])


def test_bars_reach_from_least_to_greatest() -> None:
    ax = plot_complexity([3, 1, 2], {"a": ONE})
    line = ax.containers[0].lines[0]
    np.testing.assert_allclose(line.get_xdata(), [1, 2, 3])  # sorted along the axis
    np.testing.assert_allclose(line.get_ydata(), [2, 1, 3])
    np.testing.assert_allclose(bars(ax, 0), [[1, 2.5], [0.5, 1], [2.5, 4]])


@pytest.mark.parametrize("log_x", [False, True])
def test_series_stand_beside_each_other_in_order(log_x: bool) -> None:
    positions = [0.01, 1.0, 100.0] if log_x else [1, 2, 3]
    ax = plot_complexity(positions, dict.fromkeys("abcdefg", ONE), log_x=log_x)
    at = np.array([container.lines[0].get_xdata() for container in ax.containers])
    scale, where = (np.log(at), np.log(positions)) if log_x else (at, np.array(positions))
    assert np.all(np.diff(scale, axis=0) > 0)
    assert np.all(np.abs(scale - where) < 0.25 * np.diff(where)[0])
    styles = {(c.lines[0].get_color(), c.lines[0].get_linestyle()) for c in ax.containers}
    assert len(styles) == 7  # five dashes and six colours: alike only after thirty
    FigureCanvasAgg(ax.figure).draw()


def test_names_stand_at_the_ticks() -> None:
    names = ["conv 1", "conv 2", "a very long name of a layer"]
    ax = plot_complexity(names, {"a": ONE}, ylabel="total correlation (nats)")
    texts = [tick.get_text() for tick in ax.get_xticklabels()]
    assert texts[:2] == names[:2]
    assert len(texts[2]) <= 14
    assert ax.get_ylabel() == "total correlation (nats)"


@pytest.mark.parametrize(
    ("positions", "series", "options", "message"),
    [
        ([1, 2, 3], {}, {}, "series must hold one series or more"),
        ([1, 2], {"a": ONE}, {}, r"series 'a' must be \(3, 2\), got shape \(3, 3\)"),
        ([1, 2, 3], {"a": [[5, 2, 1], *ONE[1:]]}, {}, "a mean is outside"),
        ([1, 1, 3], {"a": ONE}, {}, "positions must differ"),
        ([0, 1, 3], {"a": ONE}, {"log_x": True}, "log_x needs positive numbers"),
        (["x", "y", "z"], {"a": ONE}, {"log_x": True}, "log_x needs positive numbers"),
        ([], {"a": ONE}, {}, "positions must not be empty"),
        ([1, 2, 3], {"a": [[np.inf] * 3] * 3}, {}, "entries that are not finite"),
    ],
)
def test_refuses(positions: Any, series: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plot_complexity(positions, series, **options)
