"""Sorted weights against their ranks: what is a line for an exponential half, and what is not."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from probact.plots.arrays import finite_array
from probact.plots.style import (
    ACCENT,
    DASHES,
    INK,
    LABEL_SIZE,
    LINES,
    TICK_SIZE,
    new_axes,
    tidy,
)

__all__ = ["plot_log_survival", "plot_rank_log"]


def plot_log_survival(
    sides: Mapping[str, ArrayLike],
    rates: Mapping[str, float] | None = None,
    *,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Log share of weights farther than y from the mode, against y: a line for each exponential.

    sides: distances (L,) from the mode, theta - m of the weights above it or m - theta of those
    below, each by name; L may differ. rates: those of the fit, drawn as lines of slope -rate.

    Raises: ValueError if an array is not (L,), not finite or negative, a rate is not a positive
    number, or rates names another side.

    >>> ax = plot_log_survival({"right": [0.5, 0.1]}, {"right": 3.0})
    >>> ax.lines[0].get_xdata().tolist()
    [0.1, 0.5]
    """
    given = {name: np.sort(_distances(name, y)) for name, y in sides.items()}
    unknown = sorted(set(rates or {}) - set(given))
    if unknown:
        raise ValueError(f"rates has {unknown}, which are not among the sides {sorted(given)}")
    for name, rate in (rates or {}).items():
        if not (np.isfinite(rate) and rate > 0.0):
            raise ValueError(f"rate of {name} must be a positive number, got {rate!r}")
    ax = new_axes(4.4, 3.2) if ax is None else ax
    tidy(ax, xlabel="distance from the mode (units of weight)",
         ylabel="log share of the side farther out (nats)", grid="both")  # fmt: skip
    for i, (name, y) in enumerate(given.items()):
        color, log_survival = LINES[i % len(LINES)], np.log1p(-(np.arange(len(y)) + 0.5) / len(y))
        marker = "os^Dv"[i % 5]
        ax.plot(y, log_survival, marker, color=color, ms=2.2, mew=0.0, label=name)
        if rates and name in rates:
            far = min(float(y[-1]), -1.4 * float(log_survival[-1]) / rates[name])
            dash, label = DASHES[(i + 1) % len(DASHES)], f"slope -{rates[name]:.3g}"
            ax.plot(
                [0.0, far], [0.0, -rates[name] * far], color=color, lw=1.1, ls=dash, label=label
            )
    return _finish(ax, title)


def plot_rank_log(
    weights: ArrayLike,
    slope: float,
    intercept: float,
    *,
    scale: float | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Log of the positive weights (L,), sorted, on the even grid u of [0, 1], and the line on it.

    The picture of Algorithm 1 of the paper on the final layer's weights: the line intercept +
    slope * u is its regression. With `scale` s the curve log s + log(-log(1 - u)) of an
    exponential law is added, which is no line: `rank_log_regression` says what the slope is.

    Raises: ValueError if weights are fewer than two, not finite or not positive, slope or
    intercept is not finite, or scale is not a positive number.

    >>> ax = plot_rank_log([0.2, 0.1, 0.4], 1.4, -2.3)
    >>> ax.lines[0].get_xdata().tolist()
    [0.0, 0.5, 1.0]
    """
    y = np.sort(finite_array("weights", weights, "L"))
    if len(y) < 2 or y[0] <= 0.0:
        raise ValueError(f"weights must be two or more positive ones, got {len(y)} from {y[0]:g}")
    for name, number in (("slope", slope), ("intercept", intercept)):
        if not np.isfinite(number):
            raise ValueError(f"{name} must be finite, got {number!r}")
    if scale is not None and not (np.isfinite(scale) and scale > 0.0):
        raise ValueError(f"scale must be a positive number, got {scale!r}")
    ax = new_axes(4.4, 3.2) if ax is None else ax
    tidy(ax, xlabel="rank u (share of the positive weights)",
         ylabel="log of the sorted weight", grid="both")  # fmt: skip
    u = np.arange(len(y)) / (len(y) - 1)
    ax.plot(u, np.log(y), "o", color=LINES[0], ms=2.2, mew=0.0, label="positive weights")
    ends = np.array([0.0, 1.0])
    ax.plot(ends, intercept + slope * ends, color=ACCENT, lw=1.3, label=f"line, slope {slope:.2f}")
    if scale is not None:
        middle = (np.arange(len(y)) + 0.5) / len(y)
        curve = np.log(scale) + np.log(-np.log1p(-middle))
        ax.plot(middle, curve, color=INK, lw=1.0, ls="--", label="exponential law")
    return _finish(ax, title)


def _finish(ax: Axes, title: str) -> Axes:
    ax.set_title(title, fontsize=LABEL_SIZE, color=INK)
    ax.legend(fontsize=TICK_SIZE, frameon=False, labelcolor=INK)
    return ax


def _distances(name: str, value: ArrayLike) -> NDArray[np.float64]:
    array = finite_array(f"distances of {name}", value, "L")
    if array.min() < 0.0:
        raise ValueError(f"distances of {name} must not be negative, got {array.min():g}")
    return array
