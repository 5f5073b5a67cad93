"""What is left of a classifier's accuracy when weights of its head are removed."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator
from numpy.typing import ArrayLike, NDArray

from probact.plots.arrays import finite_array
from probact.plots.style import DASHES, INK, LINES, TICK_SIZE, new_axes, tidy

__all__ = ["plot_pruning"]

MARKERS = ("o", "s", "^", "D", "v", "P")


def plot_pruning(
    kept: ArrayLike,
    series: Mapping[str, ArrayLike],
    *,
    full: float | None = None,
    ylabel: str = "accuracy on test images",
    ax: Axes | None = None,
) -> Axes:
    """Accuracy against the share of weights kept, a line with error bars for each rule.

    kept (P,): shares in (0, 1], drawn on a log scale from right to left. series: name -> (2, P)
    mean accuracies in [0, 1] and their standard errors. full: accuracy with all weights.

    Raises: ValueError if there is no series, shares or accuracies are outside those ranges, an
    array is of another shape or not finite, or a standard error is negative.

    >>> ax = plot_pruning([0.5, 0.1], {"magnitude": [[0.9, 0.8], [0.01, 0.02]]}, full=0.95)
    >>> ax.get_xlabel()
    'share of weights kept'
    """
    at = finite_array("kept", kept, "P")
    if at.min() <= 0.0 or at.max() > 1.0 or len(np.unique(at)) != len(at):
        raise ValueError("kept must hold shares above 0 and up to 1 that differ from each other")
    if not series:
        raise ValueError("series must hold one series or more, got none")
    lines = {name: _checked(name, values, len(at)) for name, values in series.items()}
    ax = new_axes(7.2, 3.6) if ax is None else ax
    tidy(ax, xlabel="share of weights kept", ylabel=ylabel, grid="y")
    ax.set_xscale("log")
    if full is not None:
        level = float(finite_array("full", full))
        ax.axhline(level, color=INK, linewidth=0.7, linestyle=":")
        ax.annotate("all weights", (1.0, level), (0, 2), textcoords="offset points",
                    xycoords=("axes fraction", "data"), ha="right", fontsize=TICK_SIZE,
                    color=INK)  # fmt: skip
    order = np.argsort(at)
    for index, (name, values) in enumerate(lines.items()):
        _draw_line(ax, at[order], values[:, order], name, index)
    ax.set_xticks(at, [f"{100.0 * share:g} %" for share in at], fontsize=TICK_SIZE)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.invert_xaxis()
    ax.set_ylim(bottom=0.0)
    ax.legend(fontsize=TICK_SIZE, frameon=False, title="removed first", loc="center left",
              bbox_to_anchor=(1.01, 0.5), title_fontsize=TICK_SIZE)  # fmt: skip
    return ax


def _checked(name: str, values: ArrayLike, size: int) -> NDArray[np.float64]:
    """Mean and standard error (2, P) of a series."""
    array = finite_array(f"series {name!r}", values, 2, size)
    if array[0].min() < 0.0 or array[0].max() > 1.0 or array[1].min() < 0.0:
        raise ValueError(f"series {name!r} must hold accuracies in [0, 1] and errors from 0 up")
    return array


def _draw_line(
    ax: Axes, at: NDArray[np.float64], values: NDArray[np.float64], name: str, index: int
) -> None:
    ax.errorbar(
        at,
        values[0],
        yerr=values[1],
        color=LINES[index % len(LINES)],
        linestyle=DASHES[index % len(DASHES)],
        marker=MARKERS[index % len(MARKERS)],
        markersize=4.0,
        linewidth=1.2,
        elinewidth=0.9,
        capsize=2.0,
        label=name,
    )
