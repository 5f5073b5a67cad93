"""One number a class, sorted, with its standard error: are classes alike up to their errors?"""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator
from numpy.typing import ArrayLike, NDArray

from probact.plots.arrays import finite_array
from probact.plots.style import INK, LABEL_SIZE, LINES, MUTED, TICK_SIZE, new_axes, tidy

__all__ = ["plot_rates_across_classes"]


def plot_rates_across_classes(
    values: Mapping[str, ArrayLike],
    log_errors: Mapping[str, ArrayLike],
    *,
    ylabel: str,
    reference: float | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Positive numbers (K,) of every head by name, each sorted over its classes, on a log axis.

    log_errors (K,) are standard errors of their logarithms: the pale band is two of them to either
    side. The across axis is the share of the head's classes, so that K may differ. `reference`
    draws a line, such as asymmetry 1. The dotted line of each head is its mean logarithm: classes
    that differ by their errors alone would leave it inside the band for 95 % of them.

    Raises: ValueError if an array has another shape or is not finite, a value or the reference is
    not positive, an error is negative, or the two mappings name other heads.

    >>> ax = plot_rates_across_classes({"net": [2.0, 1.0]}, {"net": [0.1, 0.1]}, ylabel="kappa")
    >>> ax.lines[0].get_ydata().tolist()
    [1.0, 2.0]
    """
    if not values or list(values) != list(log_errors):
        raise ValueError(f"log_errors must be of the heads {list(values)}, got {list(log_errors)}")
    heads = {name: _sorted(name, given, log_errors[name]) for name, given in values.items()}
    if reference is not None and not (np.isfinite(reference) and reference > 0.0):
        raise ValueError(f"reference must be a positive number, got {reference!r}")
    ax = new_axes(5.0, 3.4) if ax is None else ax
    tidy(ax, xlabel="share of the classes", ylabel=ylabel, grid="y")
    for i, (name, (y, error)) in enumerate(heads.items()):
        color, share = LINES[i % len(LINES)], (np.arange(len(y)) + 0.5) / len(y)
        ax.plot(share, y, color=color, lw=1.4, label=name)
        low, high = y * np.exp(-2.0 * error), y * np.exp(2.0 * error)
        ax.fill_between(share, low, high, color=color, alpha=0.18, lw=0.0)
        ax.axhline(float(np.exp(np.log(y).mean())), color=color, ls=":", lw=0.9)
    if reference is not None:
        ax.axhline(reference, color=MUTED, ls="--", lw=0.9)
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
    ax.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set_xlim(0.0, 1.0)
    ax.set_title(title, fontsize=LABEL_SIZE, color=INK)
    ax.legend(fontsize=TICK_SIZE, frameon=False, labelcolor=INK, loc="upper left",
              bbox_to_anchor=(1.0, 1.0))  # fmt: skip
    return ax


def _sorted(
    name: str, values: ArrayLike, log_errors: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both (K,) in the order of the values."""
    y = finite_array(f"values of {name}", values, "K")
    error = finite_array(f"log_errors of {name}", log_errors, len(y))
    if y.min() <= 0.0:
        raise ValueError(f"values of {name} must be positive, got {y.min():g}")
    if error.min() < 0.0:
        raise ValueError(f"log_errors of {name} must not be negative, got {error.min():g}")
    order = np.argsort(y, kind="stable")
    return y[order], error[order]
