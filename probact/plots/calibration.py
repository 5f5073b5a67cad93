"""Predicted probabilities against what happened, and scores against the size of the data."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from probact.plots.arrays import finite_array
from probact.plots.style import DASHES, INK, LINES, MUTED, TICK_SIZE, new_axes, shorten, tidy

__all__ = ["plot_against_size", "plot_reliability", "plot_scores"]

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def plot_reliability(curves: Mapping[str, ArrayLike], *, ax: Axes | None = None) -> Axes:
    """Share of right answers against confidence, one line a predictor; the diagonal is calibrated.

    curves: name -> (3, B) mean confidence of a bin, share right in it, its standard error; such as
    the first three of `probact.analysis.reliability_curve`. Guo et al. 2017, figure 1.

    Raises: ValueError if there is no curve, an array is not (3, B) or not finite, confidence or
    share are outside [0, 1], or an error is negative.

    >>> ax = plot_reliability({"softmax": [[0.6, 0.9], [0.5, 0.7], [0.1, 0.05]]})
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('confidence', 'share right, ± 1 standard error')
    """
    if not curves:
        raise ValueError("curves must hold one curve or more, got none")
    arrays = {name: finite_array(f"curve {name!r}", v, 3, "B") for name, v in curves.items()}
    for name, (confidence, share, error) in arrays.items():
        parts = np.concatenate([confidence, share])
        if parts.min() < 0.0 or parts.max() > 1.0 or error.min() < 0.0:
            raise ValueError(f"curve {name!r} must hold two shares in [0, 1] and an error >= 0")
    ax = new_axes(4.2, 4.0) if ax is None else ax
    tidy(ax, xlabel="confidence", ylabel="share right, ± 1 standard error", grid="both")
    ax.plot([0.0, 1.0], [0.0, 1.0], color=MUTED, linestyle="--", linewidth=0.9)
    for index, (name, (confidence, share, error)) in enumerate(arrays.items()):
        order = np.argsort(confidence, kind="stable")
        _draw_line(ax, confidence[order], share[order], error[order], name, index)
    low = min(float(confidence.min()) for confidence, _, _ in arrays.values())
    ax.set_xlim(max(0.0, low - 0.05), 1.02)
    ax.set_ylim(0.0, 1.05)
    ax.legend(fontsize=TICK_SIZE, frameon=False, labelcolor=INK,
              loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)  # fmt: skip
    return ax


def plot_against_size(
    sizes: ArrayLike,
    series: Mapping[str, ArrayLike],
    *,
    xlabel: str = "images a class",
    ylabel: str = "held-out negative log-likelihood (nats)",
    ax: Axes | None = None,
) -> Axes:
    """A score against the size of the training data on a logarithmic axis, one line a predictor.

    sizes (P,): positive and different; series: name -> (2, P) score and its standard error. Lines
    stand a little beside each other, so that no bar hides another.

    Raises: ValueError if there is no series, an array is not (2, P) or not finite, an error is
    negative, or sizes are not positive and different.

    >>> ax = plot_against_size([10, 30], {"point": [[0.5, 0.3], [0.02, 0.01]]})
    >>> ax.get_xscale(), ax.get_xlabel()
    ('log', 'images a class')
    """
    at = finite_array("sizes", sizes, "P")
    if at.min() <= 0.0 or len(np.unique(at)) != len(at):
        raise ValueError(f"sizes must be positive and different, got {at.tolist()}")
    arrays = _scored(series, len(at))
    ax = new_axes(5.2, 3.6) if ax is None else ax
    tidy(ax, xlabel=xlabel, ylabel=f"{ylabel},\n± 1 standard error", grid="y")
    ax.set_xscale("log")
    order = np.argsort(at)
    gap = float(np.diff(np.log(at[order])).min()) if len(at) > 1 else 1.0
    for index, (name, (score, error)) in enumerate(arrays.items()):
        shift = 0.15 * gap * (index - 0.5 * (len(arrays) - 1)) / max(1, len(arrays) - 1)
        places = at[order] * np.exp(shift)
        _draw_line(ax, places, score[order], error[order], name, index)
    ax.set_xticks(at[order], [f"{size:g}" for size in at[order]], fontsize=TICK_SIZE)
    ax.minorticks_off()
    ax.legend(fontsize=TICK_SIZE, frameon=False)
    return ax


def plot_scores(
    names: Sequence[str],
    series: Mapping[str, ArrayLike],
    *,
    xlabel: str,
    reference: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Scores of the same predictors under several conditions: a row each, a marker a condition.

    names (L,): the rows, from the top; series: condition -> (2, L) score and its standard error;
    reference: a value to draw as a line.

    Raises: ValueError if there is no series, an array is not (2, L) or not finite, an error is
    negative, a name comes twice, or the reference is not finite.

    >>> series = {"noise": [[0.8, 0.9], [0.02, 0.01]]}
    >>> ax = plot_scores(["point", "Laplace"], series, xlabel="AUROC")
    >>> [tick.get_text() for tick in ax.get_yticklabels()]
    ['point', 'Laplace']
    """
    if len(set(names)) != len(names):
        raise ValueError(f"names must differ from each other, got {list(names)}")
    if reference is not None and not np.isfinite(reference):
        raise ValueError(f"reference must be finite, got {reference}")
    arrays = _scored(series, len(names))
    ax = new_axes(5.6, 1.2 + 0.38 * len(names)) if ax is None else ax
    tidy(ax, xlabel=f"{xlabel}, ± 1 standard error", ylabel="", grid="x")
    if reference is not None:
        ax.axvline(reference, color=MUTED, linestyle="--", linewidth=0.9)
    for index, (name, (score, error)) in enumerate(arrays.items()):
        rows = np.arange(len(names)) + 0.5 * (index + 0.5) / len(arrays) - 0.25
        ax.errorbar(
            score, rows, xerr=error, fmt=MARKERS[index % len(MARKERS)], markersize=4.5,
            color=LINES[index % len(LINES)], elinewidth=0.9, capsize=2.0, label=name,
        )  # fmt: skip
    ax.set_yticks(range(len(names)), shorten(list(names), 32), fontsize=TICK_SIZE)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.legend(fontsize=TICK_SIZE, frameon=False, labelcolor=INK,
              loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)  # fmt: skip
    return ax


def _scored(series: Mapping[str, ArrayLike], size: int) -> dict[str, NDArray[np.float64]]:
    """Scores and errors (2, size) of each series."""
    if not series:
        raise ValueError("series must hold one series or more, got none")
    arrays = {n: finite_array(f"series {n!r}", values, 2, size) for n, values in series.items()}
    for name, (_, error) in arrays.items():
        if error.min() < 0.0:
            raise ValueError(f"series {name!r} must have errors >= 0, got {error.min():g}")
    return arrays


def _draw_line(
    ax: Axes,
    at: NDArray[np.float64],
    values: NDArray[np.float64],
    errors: NDArray[np.float64],
    name: str,
    index: int,
) -> None:
    """One line with its bars, in a colour, dash and marker of its own."""
    ax.errorbar(
        at,
        values,
        yerr=errors,
        color=LINES[index % len(LINES)],
        linestyle=DASHES[index % len(DASHES)],
        marker=MARKERS[index % len(MARKERS)],
        markersize=4.0,
        linewidth=1.1,
        elinewidth=0.9,
        capsize=2.0,
        label=name,
    )
