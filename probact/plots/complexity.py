"""Complexity along the layers of a network, or along a setting of its training."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from probact.plots.arrays import finite_array
from probact.plots.style import DASHES, LINES, TICK_SIZE, new_axes, shorten, tidy

__all__ = ["plot_complexity"]

MARKERS = ("o", "s", "^", "D", "v", "P")


def plot_complexity(
    positions: ArrayLike | Sequence[str],
    series: Mapping[str, ArrayLike],
    *,
    xlabel: str = "layer",
    ylabel: str = "relative entropy (nats)",
    log_x: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Mean readings with bars from minimum to maximum over the kept draws, one line per series.

    positions (P,): numbers, or names to space evenly. series: name -> (3, P) mean, minimum and
    maximum in nats. Series stand a little beside each other, so that no bar hides another.
    Jamroz et al. 2020, figures 3 to 6.

    Raises: ValueError if there is no series, an array is not (3, P) or not finite, a mean lies
    outside its bar, or log_x meets names or positions that are not positive.

    >>> ax = plot_complexity([1, 2, 3], {"dropout": [[9, 8, 6], [8, 7, 5], [10, 9, 7]]})
    >>> ax.get_xlabel(), ax.get_legend_handles_labels()[1]
    ('layer', ['dropout'])
    """
    at, names = _positions(positions)
    if not series:
        raise ValueError("series must hold one series or more, got none")
    arrays = {name: _checked(name, values, len(at)) for name, values in series.items()}
    if log_x and (names is not None or at.min() <= 0.0):
        raise ValueError("log_x needs positive numbers as positions")
    ax = new_axes(5.6, 3.6) if ax is None else ax
    tidy(ax, xlabel=xlabel, ylabel=ylabel, grid="y")
    if log_x:
        ax.set_xscale("log")
    places = _beside(at, len(arrays), log_x=log_x)
    for index, (name, values) in enumerate(arrays.items()):
        _draw_series(ax, places[index], values, name, index)
    if names is not None:
        ax.set_xticks(at, shorten(names, 14), fontsize=TICK_SIZE)
        if max(map(len, names)) > 6 or len(names) > 12:
            for tick in ax.get_xticklabels():
                tick.set(rotation=45, ha="right", rotation_mode="anchor")
    elif len(at) <= 16 and not log_x:
        ax.set_xticks(at, [f"{position:g}" for position in at], fontsize=TICK_SIZE)
    ax.legend(
        fontsize=TICK_SIZE,
        frameon=False,
        title="bars: least to greatest draw",
        title_fontsize=TICK_SIZE,
    )
    return ax


def _positions(
    positions: ArrayLike | Sequence[str],
) -> tuple[NDArray[np.float64], list[str] | None]:
    """Where the points stand, and the names that stand there."""
    values = list(np.asarray(positions).ravel())
    if values and all(isinstance(value, str) for value in values):
        return np.arange(len(values), dtype=np.float64), [str(value) for value in values]
    at = finite_array("positions", positions, "P")
    if len(np.unique(at)) != len(at):
        raise ValueError("positions must differ from each other")
    return at, None


def _checked(name: str, values: ArrayLike, size: int) -> NDArray[np.float64]:
    """Mean, minimum and maximum (3, P) of a series."""
    array = finite_array(f"series {name!r}", values, 3, size)
    if np.any(array[0] < array[1]) or np.any(array[0] > array[2]):
        raise ValueError(f"series {name!r} must hold mean, minimum, maximum: a mean is outside")
    return array


def _beside(at: NDArray[np.float64], count: int, *, log_x: bool) -> list[NDArray[np.float64]]:
    """Positions (P,) of each series, an eighth of the least gap apart at most."""
    scale = np.log(at) if log_x else at
    gap = float(np.diff(np.sort(scale)).min()) if len(at) > 1 else 1.0
    shifts = 0.12 * gap * (np.arange(count) - 0.5 * (count - 1)) / max(1.0, 0.25 * (count - 1))
    places = [scale + shift for shift in shifts]
    return [np.exp(place) for place in places] if log_x else places


def _draw_series(
    ax: Axes, at: NDArray[np.float64], values: NDArray[np.float64], name: str, index: int
) -> None:
    """One line with its bars, in a colour, dash and marker of its own."""
    order = np.argsort(at)
    mean, least, most = values[:, order]
    ax.errorbar(
        at[order],
        mean,
        yerr=np.stack([mean - least, most - mean]),
        color=LINES[index % len(LINES)],
        linestyle=DASHES[index % len(DASHES)],
        marker=MARKERS[index % len(MARKERS)],
        markersize=4.5,
        linewidth=1.2,
        elinewidth=0.9,
        capsize=2.5,
        label=name,
    )
