"""Models of activation patterns: components, counts of active units, and checks."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from probact.plots.arrays import finite_array
from probact.plots.style import (
    DASHES,
    INK,
    LABEL_SIZE,
    LINES,
    MUTED,
    PALE,
    TICK_SIZE,
    figure_of,
    new_axes,
    tidy,
)

__all__ = ["plot_component_probabilities", "plot_count_law", "plot_predictive_checks"]


def plot_component_probabilities(
    probs: ArrayLike, weights: ArrayLike, *, ax: Axes | None = None
) -> Axes:
    """Probabilities (C, n) of units, a row a component, named by its weight (C,).

    Raises: ValueError for arrays that are not finite, outside [0, 1], or do not fit.

    >>> ax = plot_component_probabilities([[0.1, 0.9]], [1.0])
    >>> ax.get_yticklabels()[0].get_text()
    '1.00'
    """
    table = finite_array("probs", probs, "C", "n")
    shares = finite_array("weights", weights, "C")
    if len(shares) != len(table) or table.min() < 0 or table.max() > 1:
        raise ValueError(f"probs (C, n) in [0, 1] and weights (C,) must fit, got {table.shape}")
    ax = ax or new_axes(7.0, 0.28 * len(table) + 1.2)
    image = ax.imshow(table, aspect="auto", cmap="viridis", vmin=0.0, vmax=1.0)
    ax.set_yticks(range(len(table)), [f"{share:.2f}" for share in shares])
    ax.set(xlabel="unit", ylabel="weight of component")
    figure_of(ax).colorbar(image, ax=ax, label="probability to be on")
    return ax


def plot_count_law(
    observed: ArrayLike,
    models: Mapping[str, ArrayLike],
    *,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Shares of rows with k = 0 .. n active units: of the patterns, as bars, and of models.

    observed and each model: (n + 1,) shares, at least 0.

    Raises: ValueError if an array is not (n + 1,), not finite or negative.

    >>> ax = plot_count_law([0.5, 0.5], {"fair": [0.4, 0.6]})
    >>> ax.lines[0].get_ydata().tolist()
    [0.4, 0.6]
    """
    shares = _shares("observed", observed, None)
    given = {name: _shares(name, y, len(shares)) for name, y in models.items()}
    ax = new_axes(5.2, 3.2) if ax is None else ax
    tidy(ax, xlabel="active units", ylabel="share of inputs", grid="y")
    k = np.arange(len(shares))
    ax.bar(k, shares, width=1.0, color=PALE, label="observed")
    for i, (name, y) in enumerate(given.items()):
        color, dash = LINES[i % len(LINES)], DASHES[i % len(DASHES)]
        ax.plot(k, y, color=color, ls=dash, lw=1.4, label=name)
    seen = np.flatnonzero(np.max([shares, *given.values()], axis=0) > 1e-4)
    if len(seen):
        ax.set_xlim(seen[0] - 1.0, seen[-1] + 1.0)
    ax.set_title(title, fontsize=LABEL_SIZE, color=INK)
    ax.legend(fontsize=TICK_SIZE, frameon=False, labelcolor=INK)
    return ax


def plot_predictive_checks(
    names: Sequence[str],
    observed: ArrayLike,
    models: Mapping[str, ArrayLike],
    *,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Statistics of replicated data sets over the observed ones, a row each, a line per model.

    names: T of the statistics. observed: (T,), not 0. models: (T, 3) by name, the low end, mean
    and high end of the statistic in data sets that the model draws. A line that misses 1 is a
    statistic that the model does not give.

    Raises: ValueError for shapes that do not fit, values not finite, or an observed 0.

    >>> ax = plot_predictive_checks(["distance"], [2.0], {"fair": [[1.0, 2.0, 4.0]]})
    >>> ax.lines[1].get_xdata().tolist()
    [0.5, 2.0]
    """
    at = finite_array("observed", observed, "T")
    if len(names) != len(at) or not at.all():
        raise ValueError(f"observed must be {len(names)} values other than 0, one per name")
    spans = {name: finite_array(name, y, len(at), 3) for name, y in models.items()}
    ax = new_axes(5.6, 0.9 + 0.17 * len(at) * (len(spans) + 1)) if ax is None else ax
    tidy(ax, xlabel="replicated / observed", ylabel="statistic", grid="x")
    ax.axvline(1.0, color=MUTED, lw=1.0)
    for i, (name, span) in enumerate(spans.items()):
        color = LINES[i % len(LINES)]
        for t, (low, mean, high) in enumerate(span / at[:, None]):
            y = t + (i + 1) / (len(spans) + 1) - 0.5
            ax.plot([low, high], [y, y], color=color, lw=2.2, solid_capstyle="butt")
            ax.plot([mean], [y], "os^Dv"[i % 5], color=color, ms=4, label=name if t == 0 else None)
    ax.set_yticks(range(len(at)), [n.replace("_", " ") for n in names], fontsize=TICK_SIZE)
    ax.set_ylim(len(at) - 0.5, -0.5)
    ax.set_title(title, fontsize=LABEL_SIZE, color=INK)
    ax.legend(
        fontsize=TICK_SIZE, frameon=False, labelcolor=INK, loc="center left",
        bbox_to_anchor=(1.0, 0.5),
    )  # fmt: skip
    return ax


def _shares(name: str, value: ArrayLike, length: int | None) -> np.ndarray:
    array = finite_array(name, value, "n + 1")
    if array.min() < 0.0 or (length is not None and len(array) != length):
        wanted = "shares at least 0" if length is None else f"{length} shares at least 0"
        raise ValueError(f"{name} must be {wanted}, got {len(array)} from {array.min():g}")
    return array
