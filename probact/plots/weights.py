"""One class's weights beside the laws fitted to them: densities, quantiles, distribution."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from probact.plots.arrays import finite_array, increasing_array
from probact.plots.style import (
    DASHES,
    INK,
    LABEL_SIZE,
    LINES,
    MUTED,
    PALE,
    TICK_SIZE,
    new_axes,
    tidy,
)

__all__ = ["plot_pit_ecdf", "plot_weight_density", "plot_weight_qq"]

WEIGHT = "weight"


def plot_weight_density(
    weights: ArrayLike,
    grid: ArrayLike,
    densities: Mapping[str, ArrayLike],
    *,
    log: bool = False,
    bins: int = 60,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Histogram of weights (n,) and densities (G,) on an increasing grid (G,), a line a law.

    With `log` the density axis is logarithmic and ends below the height of a single weight: on it
    an asymmetric Laplace law is two straight lines.

    Raises: ValueError if an array has another shape or is not finite, the grid does not increase,
    a density is negative, or bins is not a positive integer.

    >>> ax = plot_weight_density([0.1, 0.4], [0, 1], {"normal": [0.5, 0.4]}, bins=5)
    >>> [line.get_label() for line in ax.lines]
    ['normal']
    """
    x, g = finite_array("weights", weights, "n"), increasing_array("grid", grid)
    curves = {name: _density(name, y, len(g)) for name, y in densities.items()}
    if isinstance(bins, bool) or not isinstance(bins, int | np.integer) or bins < 1:
        raise ValueError(f"bins must be a positive integer, got {bins!r}")
    ax = new_axes(4.6, 3.2) if ax is None else ax
    tidy(ax, xlabel=WEIGHT, ylabel="density (per unit of weight)")
    heights, edges, _ = ax.hist(
        x,
        bins=int(bins),
        density=True,
        histtype="stepfilled",
        facecolor=PALE,
        edgecolor=MUTED,
        linewidth=0.6,
    )
    for i, (name, y) in enumerate(curves.items()):
        shown = np.where(y > 0.0, y, np.nan) if log else y
        ax.plot(g, shown, color=LINES[i % len(LINES)], ls=DASHES[i % len(DASHES)], lw=1.3,
                label=name)  # fmt: skip
    top = max([float(np.max(heights)), *(float(y.max()) for y in curves.values())])
    ax.tick_params(which="both", labelsize=TICK_SIZE, colors=INK)
    if log:
        one = 1.0 / (len(x) * float(np.max(np.diff(edges))))  # height of a bin with one weight
        ax.set_yscale("log")
        ax.set_ylim(0.3 * one, 2.0 * top)
    else:
        ax.set_ylim(0.0, 1.05 * top)
    return _finish(ax, title, len(curves))


def plot_weight_qq(
    weights: ArrayLike,
    quantiles: Mapping[str, ArrayLike],
    *,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Sorted weights (n,) against the quantiles (n,) of laws at their ranks; dots a law.

    On the dashed diagonal a law and the weights agree. Quantiles are those of the probabilities
    (i - 1/2) / n, ascending.

    Raises: ValueError if an array has another shape or is not finite, or quantiles decrease.

    >>> ax = plot_weight_qq([0.3, 0.1], {"normal": [0.0, 0.4]})
    >>> ax.lines[-1].get_ydata().tolist()
    [0.1, 0.3]
    """
    y = np.sort(finite_array("weights", weights, "n"))
    points = {name: _ascending(name, q, len(y)) for name, q in quantiles.items()}
    ax = new_axes(3.8, 3.4) if ax is None else ax
    tidy(ax, xlabel="quantile of the fitted law", ylabel="sorted weight", grid="both")
    ends = [float(y[0]), float(y[-1])]
    ax.plot(ends, ends, color=INK, linestyle="--", linewidth=0.8)
    for i, (name, q) in enumerate(points.items()):
        ax.plot(
            q,
            y,
            "os^Dv"[i % 5],
            color=LINES[i % len(LINES)],
            markersize=2.2,
            markeredgewidth=0.0,
            label=name,
        )
    return _finish(ax, title, len(points))


def plot_pit_ecdf(
    pits: Mapping[str, ArrayLike],
    *,
    half_width: float | None = None,
    band_label: str = "",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Empirical distribution function less u of the values u = F(weight) in [0, 1] of fitted laws.

    Under a law that holds the curve stays in the band of `half_width` around zero, simultaneously
    in u, with the probability that the band was made for; say in `band_label` for which null. A
    Kolmogorov-Smirnov quantile is such a width: 1.36 / sqrt(n) at 95 % for a law known before, a
    smaller one for parameters fitted to the same weights.

    Raises: ValueError if an array is not (n,), not finite or leaves [0, 1], or half_width is not
    a positive number.

    >>> ax = plot_pit_ecdf({"normal": [0.2, 0.6]}, half_width=0.4)
    >>> ax.lines[-1].get_xdata().tolist()
    [0.0, 0.2, 0.2, 0.6, 0.6, 1.0]
    """
    curves = {name: np.sort(_probabilities(name, u)) for name, u in pits.items()}
    if half_width is not None and not (np.isfinite(half_width) and half_width > 0.0):
        raise ValueError(f"half_width must be a positive number, got {half_width!r}")
    ax = new_axes(6.2, 3.0) if ax is None else ax
    ylabel = "empirical minus fitted distribution"
    tidy(ax, xlabel="fitted distribution function u (probability)", ylabel=ylabel, grid="both")
    if half_width is not None:
        ax.axhspan(-half_width, half_width, color=PALE, alpha=0.7, lw=0.0, label=band_label)
    ax.axhline(0.0, color=INK, linewidth=0.8)
    for i, (name, u) in enumerate(curves.items()):
        before = np.arange(len(u)) / len(u)
        across = np.concatenate([[0.0], np.repeat(u, 2), [1.0]])
        after = np.column_stack([before, before + 1.0 / len(u)]).ravel()
        up = np.concatenate([[0.0], after - np.repeat(u, 2), [0.0]])
        ax.plot(across, up, color=LINES[i % len(LINES)], ls=DASHES[i % len(DASHES)], lw=1.2,
                label=name)  # fmt: skip
    ax.set_xlim(0.0, 1.0)
    return _finish(ax, title, len(curves) + bool(band_label), beside=True)


def _finish(ax: Axes, title: str, num_labels: int, *, beside: bool = False) -> Axes:
    ax.set_title(title, fontsize=LABEL_SIZE, color=INK)
    if num_labels and beside:
        ax.legend(fontsize=TICK_SIZE, frameon=False, labelcolor=INK, loc="upper left",
                  bbox_to_anchor=(1.0, 1.0))  # fmt: skip
    elif num_labels:
        ax.legend(fontsize=TICK_SIZE, frameon=False, labelcolor=INK)
    return ax


def _density(name: str, value: ArrayLike, size: int) -> NDArray[np.float64]:
    array = finite_array(f"density of {name}", value, size)
    if array.min() < 0.0:
        raise ValueError(f"density of {name} must not be negative, got {array.min():g}")
    return array


def _ascending(name: str, value: ArrayLike, size: int) -> NDArray[np.float64]:
    array = finite_array(f"quantiles of {name}", value, size)
    if (np.diff(array) < 0.0).any():
        raise ValueError(f"quantiles of {name} must not decrease")
    return array


def _probabilities(name: str, value: ArrayLike) -> NDArray[np.float64]:
    array = finite_array(f"values of {name}", value, "n")
    if array.min() < 0.0 or array.max() > 1.0:
        raise ValueError(
            f"values of {name} must lie in [0, 1], got {array.min():g} to {array.max():g}"
        )
    return array
