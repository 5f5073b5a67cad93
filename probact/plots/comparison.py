"""Laws side by side: how well each explains activations that it was not fitted to."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from probact.plots.arrays import finite_array
from probact.plots.style import ACCENT, INK, MUTED, TICK_SIZE, new_axes, shorten, tidy

__all__ = ["plot_law_comparison"]


def plot_law_comparison(
    names: Sequence[str],
    values: ArrayLike,
    errors: ArrayLike,
    *,
    reference: float | None = None,
    reference_name: str = "reference",
    ax: Axes | None = None,
) -> Axes:
    """Held-out mean log density (L,) of L laws in nats per activation, +- one standard error (L,).

    Sorted, the highest on top and marked; `reference` is a value to draw as a line.

    Raises: ValueError if an array is not (L,) or not finite, an error is negative or a name is
    given twice.

    >>> ax = plot_law_comparison(["uniform", "vMF"], [-3.1, 2.4], [0.0, 0.1])
    >>> [tick.get_text() for tick in ax.get_yticklabels()]
    ['vMF', 'uniform']
    """
    scores = finite_array("values", values, len(names))
    widths = finite_array("errors", errors, len(names))
    if widths.min() < 0.0:
        raise ValueError(f"errors must not be negative, got {widths.min():g}")
    if len(set(names)) != len(names):
        raise ValueError(f"names must differ from each other, got {list(names)}")
    if reference is not None and not np.isfinite(reference):
        raise ValueError(f"reference must be finite, got {reference}")
    order = np.argsort(-scores, kind="stable")
    ax = new_axes(5.2, 1.0 + 0.3 * len(names)) if ax is None else ax
    label = "held-out mean log density (nats per activation)\nbars: ± 1 standard error"
    tidy(ax, xlabel=label, ylabel="law", grid="x")
    if reference is not None:
        ax.axvline(reference, color=MUTED, linestyle="--", linewidth=1.0, label=reference_name)
        ax.legend(fontsize=TICK_SIZE, frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0))
    _draw_rows(ax, scores[order], widths[order])
    ax.set_yticks(range(len(names)), shorten([names[i] for i in order], 30), fontsize=TICK_SIZE)
    ax.get_yticklabels()[0].set(color=ACCENT, fontweight="bold")
    ax.set_ylim(len(names) - 0.5, -0.5)
    return ax


def _draw_rows(ax: Axes, scores: NDArray[np.float64], widths: NDArray[np.float64]) -> None:
    """One dot, bar and number per law, row 0 (the best) in the accent colour."""
    for row, (score, width) in enumerate(zip(scores, widths, strict=True)):
        color = ACCENT if row == 0 else INK
        marker = "D" if row == 0 else "o"
        ax.errorbar(
            score, row, xerr=width, color=color, fmt=marker, markersize=5, capsize=3, linewidth=1.2
        )
        ax.text(
            1.02,
            row,
            _number(score, width),
            transform=ax.get_yaxis_transform(),  # x in the axes' own fraction, y in rows
            va="center",
            color=color,
            fontsize=TICK_SIZE,
        )


def _number(score: float, width: float) -> str:
    """Score and error in words, to two digits of the error, of four decimals at most.

    >>> _number(-12.3456, 0.0712)
    '−12.346 ± 0.071'
    """
    digits = 2 if width < 1e-4 else min(4, max(0, 1 - math.floor(math.log10(width))))
    return f"{score:.{digits}f} ± {width:.{digits}f}".replace("-", "\N{MINUS SIGN}")
