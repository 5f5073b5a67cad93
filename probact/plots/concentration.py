"""Posterior of a concentration: one histogram per chain, or one interval per class."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from probact.plots.arrays import class_labels, finite_array
from probact.plots.style import (
    ACCENT,
    INK,
    LINES,
    MUTED,
    TICK_SIZE,
    new_axes,
    shorten,
    tidy,
)

__all__ = ["plot_concentration_posterior"]

XLABEL = "concentration $\\kappa$ (dimensionless)"
QUANTILES = (0.03, 0.25, 0.5, 0.75, 0.97)  # equal-tailed 94 % and 50 % intervals, and the median
ALL_NAMED = 60  # above so many classes the rows carry positions, not names


def plot_concentration_posterior(
    draws: ArrayLike,
    *,
    class_names: Sequence[str] | None = None,
    norms: ArrayLike | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Posterior draws of a concentration: shared (chains, draws) or by class (chains, draws, C).

    Shared: a histogram per chain. Per class: the 94 % and 50 % equal-tailed intervals and the
    median over all chains, each chain's own median as a small tick. `norms` (C,) marks the
    concentrations |w_i| to which the classifier ties its classes. Seo et al. 2021.

    Raises: ValueError if an array has another shape or is not finite, a draw or norm is negative
    or the names are not C.

    >>> ax = plot_concentration_posterior([[[4.0, 8.0], [5.0, 9.0]]], norms=[4.5, 8.5])
    >>> ax.get_ylabel()
    'class'
    """
    letters = ("chains", "draws", "C")
    if np.ndim(draws) not in (2, 3):
        shape = np.shape(draws)
        raise ValueError(f"draws must be (chains, draws) or (chains, draws, C), got shape {shape}")
    kappa = finite_array("draws", draws, *letters[: np.ndim(draws)])
    size: int | str = kappa.shape[2] if kappa.ndim == 3 else "C"
    ties = None if norms is None else finite_array("norms", norms, size)
    for name, array in (("draws", kappa), ("norms", ties)):
        if array is not None and array.min() < 0.0:
            raise ValueError(f"{name} must not be negative, got {array.min():g}")
    if kappa.ndim == 2:
        if class_names is not None:
            raise ValueError("class_names go with draws (chains, draws, C), got (chains, draws)")
        return _draw_shared(new_axes(4.4, 3.0) if ax is None else ax, kappa, ties)
    names = class_labels(class_names, kappa.shape[2])
    height = min(1.0 + 0.22 * len(names), 9.0)
    return _draw_classes(new_axes(4.8, height) if ax is None else ax, kappa, names, ties)


def _draw_shared(ax: Axes, kappa: NDArray[np.float64], ties: NDArray[np.float64] | None) -> Axes:
    """Outlined histograms on common bins, and the norms as a rug."""
    tidy(ax, xlabel=XLABEL, ylabel="posterior density (per unit of $\\kappa$)")
    bins = np.histogram_bin_edges(kappa, bins=30).tolist()
    for chain, values in enumerate(kappa):
        ax.hist(
            values,
            bins=bins,
            density=True,
            histtype="step",
            color=LINES[chain % len(LINES)],
            linewidth=1.2,
            label=f"chain {chain}",
        )
    if ties is not None:
        at_foot = ax.get_xaxis_transform()  # x in data, y in the axes' own fraction
        ax.plot(
            ties,
            np.full(len(ties), 0.03),
            "|",
            color=INK,
            markersize=12,
            markeredgewidth=1.4,
            transform=at_foot,
            clip_on=False,
            label="norm tie $|w_i|$",
        )
    ax.legend(fontsize=TICK_SIZE, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax


def _draw_classes(
    ax: Axes, kappa: NDArray[np.float64], names: list[str], ties: NDArray[np.float64] | None
) -> Axes:
    """One row per class, class 0 on top."""
    tidy(ax, xlabel=XLABEL, ylabel="class", grid="x")
    rows = np.arange(len(names))
    outer_low, low, median, high, outer_high = np.quantile(kappa, QUANTILES, axis=(0, 1))
    ax.hlines(rows, outer_low, outer_high, color=MUTED, linewidth=1.0, label="94 % interval")
    ax.hlines(rows, low, high, color=INK, linewidth=2.6, label="50 % interval")
    chain_medians = np.median(kappa, axis=1)  # (chains, C)
    above = np.broadcast_to(rows - 0.28, chain_medians.shape)  # beside the interval, not on it
    ax.plot(
        chain_medians.ravel(),
        above.ravel(),
        "|",
        color=LINES[0],
        markersize=4.5 if len(names) <= 30 else 2.0,
        label="median of a chain",
    )
    ax.plot(median, rows, "o", color=INK, markersize=4.0, mec="white", mew=0.6, label="median")
    if ties is not None:
        ax.plot(
            ties,
            rows,
            "D",
            mfc="none",
            color=ACCENT,
            ms=5.0 if len(names) <= 30 else 3.0,
            label="norm tie $|w_i|$",
        )
    if len(names) <= ALL_NAMED:
        ax.set_yticks(rows, shorten(names), fontsize=TICK_SIZE if len(names) <= 30 else 5.5)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.legend(fontsize=TICK_SIZE, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax
