"""Activation patterns: laws of probabilities, distances, groups, and what moves them."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator
from numpy.typing import ArrayLike

from probact.plots.arrays import finite_array
from probact.plots.style import (
    ACCENT,
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

__all__ = [
    "plot_active_values",
    "plot_constellations",
    "plot_distance_counts",
    "plot_layer_distances",
    "plot_probabilities",
    "plot_probability_variances",
]


def plot_probabilities(
    p: ArrayLike,
    grid: ArrayLike | None = None,
    density: ArrayLike | None = None,
    *,
    title: str = "",
    label: str = "predicted law",
    ax: Axes | None = None,
) -> Axes:
    """Histogram of activation probabilities (n,) of units, and a law's density (M,) on grid (M,).

    Raises: ValueError for arrays of other shapes, not finite, or p outside [0, 1].

    >>> plot_probabilities([0.1, 0.5, 0.9]).get_xlabel()
    'probability of a unit to be active'
    """
    x = finite_array("p", p, "n")
    if x.min() < 0.0 or x.max() > 1.0:
        raise ValueError(f"p must lie in [0, 1], got {x.min():g} to {x.max():g}")
    ax = new_axes(3.6, 2.8) if ax is None else ax
    tidy(ax, xlabel="probability of a unit to be active", ylabel="density over units")
    heights, _, _ = ax.hist(
        x, np.linspace(0.0, 1.0, 21).tolist(), density=True, color=PALE, ec=MUTED, lw=0.5
    )
    if grid is not None and density is not None:
        at = finite_array("grid", grid, "M")
        curve = finite_array("density", density, len(at))
        ax.plot(at, curve, color=ACCENT, lw=1.4, label=label)
        ax.legend(fontsize=TICK_SIZE, frameon=False, labelcolor=INK)
    ax.set_xlim(0.0, 1.0)
    ax.set_ylim(0.0, 1.25 * float(np.max(heights)))
    ax.set_title(title, fontsize=LABEL_SIZE, color=INK)
    return ax


def plot_probability_variances(
    measured: Mapping[str, ArrayLike],
    predicted: Mapping[str, ArrayLike] | None = None,
    *,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Variance of p over units by layer (L,), for each name; predicted ones (L,) as open rings.

    Lines mark 1/12, that of the uniform law, and 1/4, of units that never change.

    Raises: ValueError for arrays that are not (L,) or not finite, or a name that is not measured.

    >>> len(plot_probability_variances({"none": [0.08, 0.1]}).lines)
    3
    """
    given = {name: finite_array(name, v, "L") for name, v in measured.items()}
    unknown = sorted(set(predicted or {}) - set(given))
    if unknown:
        raise ValueError(f"predicted has {unknown}, measured only {sorted(given)}")
    ax = new_axes(4.4, 3.2) if ax is None else ax
    tidy(ax, xlabel="layer", ylabel="variance of p over units")
    for height, text in ((1 / 12, "uniform"), (0.25, "0 or 1")):
        ax.axhline(height, color=MUTED, lw=0.7, ls=":")
        ax.annotate(text, (1.01, height), xycoords=("axes fraction", "data"), ha="left",
                    va="center", fontsize=TICK_SIZE, color=MUTED)  # fmt: skip
    for i, (name, y) in enumerate(given.items()):
        color, layer = LINES[i % len(LINES)], np.arange(1, len(y) + 1)
        ax.plot(layer, y, marker="os^Dvp"[i % 6], ms=3.0, color=color, lw=1.2,
                ls=DASHES[i % len(DASHES)], label=name)  # fmt: skip
        if predicted and name in predicted:
            law = finite_array(f"predicted {name}", predicted[name], len(y))
            ax.plot(layer, law, "o", ms=7.0, mfc="none", mec=color, mew=0.9, ls="none")
    ax.set_ylim(-0.01, 0.29)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _finish(ax, title)


def plot_distance_counts(
    counts: ArrayLike,
    expected: ArrayLike | None = None,
    *,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Share of pairs at each Hamming distance 0, .., B, from counts (B + 1,); a law (B + 1,).

    Raises: ValueError for counts below zero or all zero, or arrays of other sizes.

    >>> plot_distance_counts([1, 2, 1]).lines[0].get_ydata().tolist()
    [0.25, 0.5, 0.25]
    """
    c = finite_array("counts", counts, "B")
    if c.min() < 0.0 or c.sum() <= 0.0:
        raise ValueError("counts must not be negative, nor all zero")
    ax = new_axes(4.0, 2.8) if ax is None else ax
    tidy(ax, xlabel="Hamming distance (bits)", ylabel="share of pairs per bit")
    ax.xaxis.set_major_locator(MaxNLocator(5))
    at, kept = np.arange(len(c)), np.flatnonzero(c)
    ax.plot(at, c / c.sum(), color=LINES[0], lw=1.2, label="measured")
    low, high = kept[0], kept[-1]
    if expected is not None:
        law = finite_array("expected", expected, len(c))
        ax.plot(at, law, color=ACCENT, lw=1.2, ls="--", label="fair coins")
        visible = np.flatnonzero(law > 1e-3 * law.max())
        low, high = min(low, visible[0]), max(high, visible[-1])
    ax.set_xlim(low, max(high, low + 1))
    ax.set_ylim(bottom=0.0)
    return _finish(ax, title)


def plot_constellations(
    curves: Mapping[str, ArrayLike], *, title: str = "", ax: Axes | None = None
) -> Axes:
    """Groups C(h) of diameter at most h = 0, .., B, for each name (B + 1,), on a log axis.

    Raises: ValueError for curves that are not finite, or below one group.

    >>> plot_constellations({"measured": [3, 2, 1]}).get_yscale()
    'log'
    """
    ax = new_axes(4.0, 2.8) if ax is None else ax
    tidy(ax, xlabel="diameter h (bits)", ylabel="groups of diameter h or less", grid="both")
    for i, (name, curve) in enumerate(curves.items()):
        y = finite_array(name, curve, "B")
        if y.min() < 1.0:
            raise ValueError(f"{name} must be at least one group, got {y.min():g}")
        ax.step(np.arange(len(y)), y, where="post", color=LINES[i % len(LINES)], lw=1.3,
                ls=DASHES[i % len(DASHES)], label=name)  # fmt: skip
    ax.set_yscale("log")
    return _finish(ax, title)


def plot_layer_distances(
    layers: Sequence[str],
    means: Mapping[str, ArrayLike],
    errors: Mapping[str, ArrayLike],
    *,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Share of bits that differ in each layer: means (L,) and their errors (L,), for each name.

    Raises: ValueError for arrays that are not (L,) or not finite, or names that differ.

    >>> ax = plot_layer_distances(["a"], {"noise": [0.1]}, {"noise": [0.01]})
    >>> [tick.get_text() for tick in ax.get_xticklabels()]
    ['a']
    """
    if set(means) != set(errors):
        raise ValueError(f"means and errors differ: {sorted(means)} and {sorted(errors)}")
    ax = new_axes(4.4, 3.0) if ax is None else ax
    tidy(ax, xlabel="layer", ylabel="share of bits that differ", grid="y")
    at = np.arange(len(layers))
    for i, name in enumerate(means):
        mean = finite_array(name, means[name], len(layers))
        error = finite_array(f"errors of {name}", errors[name], len(layers))
        ax.errorbar(at, mean, error, color=LINES[i % len(LINES)], marker="os^Dvp"[i % 6], ms=4.0,
                    lw=1.2, ls=DASHES[i % len(DASHES)], capsize=2.0, label=name)  # fmt: skip
    ax.set_xticks(at, list(layers))
    if all(np.asarray(m).min() > 0.0 for m in means.values()):
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_locator(LogLocator(subs=(2.0, 3.0, 5.0)))
        ax.yaxis.set_minor_formatter("{x:g}")
        ax.tick_params(axis="y", which="minor", labelsize=TICK_SIZE, colors=INK)
    return _finish(ax, title)


def plot_active_values(
    values: ArrayLike,
    grid: ArrayLike,
    densities: Mapping[str, ArrayLike],
    *,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Histogram of a unit's values (N,) above zero, and densities (M,) on grid (M,) by name.

    Raises: ValueError for arrays of other shapes, not finite, or values that are not above zero.

    >>> len(plot_active_values([1.0, 2.0], [0.5, 1.0], {"law": [0.4, 0.2]}).lines)
    1
    """
    x, at = finite_array("values", values, "N"), finite_array("grid", grid, "M")
    if x.min() <= 0.0:
        raise ValueError(f"values must be above zero, got {x.min():g}")
    ax = new_axes(4.0, 2.8) if ax is None else ax
    tidy(ax, xlabel="value of the unit, where active", ylabel="density")
    ax.hist(x, 25, density=True, color=PALE, ec=MUTED, lw=0.4)
    for i, (name, density) in enumerate(densities.items()):
        ax.plot(at, finite_array(name, density, len(at)), color=LINES[i % len(LINES)], lw=1.3,
                ls=DASHES[i % len(DASHES)], label=name)  # fmt: skip
    return _finish(ax, title)


def _finish(ax: Axes, title: str) -> Axes:
    ax.set_title(title, fontsize=LABEL_SIZE, color=INK)
    if ax.get_legend_handles_labels()[1]:
        ax.legend(fontsize=TICK_SIZE, frameon=False, labelcolor=INK)
    return ax
