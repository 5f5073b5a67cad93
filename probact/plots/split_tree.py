"""The split tree of one class: where its nodes lie on the axis of the weights."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from probact.plots.arrays import finite_array
from probact.plots.style import ACCENT, INK, MUTED, PALE, PALETTE, TICK_SIZE, new_axes, tidy

__all__ = ["plot_split_tree"]

HEIGHT = 0.72  # of a strip, in units of depth


def plot_split_tree(
    names: Sequence[str],
    intervals: ArrayLike,
    sizes: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A strip for every node at its depth, the root above; outward nodes blue and red.

    names (M,) of '+' and '-'; intervals (M, 2) lower and upper weight; sizes (M,) neurons.
    weights (n,): the weights themselves, ticks above the strips. Inner nodes, whose last sign
    differs from the first, are grey. Numbers of neurons stand beside the outward nodes.

    Raises: ValueError if a name holds other signs, or arrays do not fit, are not finite, or a
    lower bound is above its upper.

    >>> ax = plot_split_tree(["+", "-"], [[0.0, 2.0], [-1.0, 0.0]], [3, 2])
    >>> ax.get_xlabel()
    'weight'
    """
    for name in names:
        if not isinstance(name, str) or not name or set(name) - {"+", "-"}:
            raise ValueError(f"names must be of '+' and '-', got {name!r}")
    ends = finite_array("intervals", intervals, len(names), 2)
    counts = finite_array("sizes", sizes, len(names))
    if np.any(ends[:, 0] > ends[:, 1]):
        raise ValueError("intervals must be (lower, upper), got a lower bound above its upper")
    ax = new_axes(5.6, 2.8) if ax is None else ax
    tidy(ax, xlabel="weight", ylabel="depth")
    deepest = max(map(len, names))
    for name, (low, high), count in zip(names, ends, counts, strict=True):
        _strip(ax, name, low, high, f"{count:g}")
    if weights is not None:
        x = finite_array("weights", weights, "n")
        ax.vlines(x, 0.05, 0.4, color=INK, linewidth=0.3, alpha=0.4)
    ax.set_ylim(deepest + 0.6, 0.0)
    span = float(ends.max() - ends.min()) or 1.0
    room = (0.12 + 0.02 * deepest) * span  # for the names
    ax.set_xlim(ends.min() - room, ends.max() + room)
    ax.set_yticks(range(1, deepest + 1))
    return ax


def _strip(ax: Axes, name: str, low: float, high: float, count: str) -> None:
    """One node; the number of its neurons at its outer end."""
    depth, right = len(name), name[0] == "+"
    outward = len(set(name)) == 1
    colour = PALE if not outward else PALETTE[0] if right else ACCENT
    ax.add_patch(
        Rectangle((low, depth - 0.5 * HEIGHT), high - low, HEIGHT, facecolor=colour,
                  edgecolor="white", linewidth=0.6)
    )  # fmt: skip
    if outward:
        shown = name.replace("-", "\N{MINUS SIGN}")
        ax.annotate(
            f"{shown}  {count}" if right else f"{count}  {shown}",
            (high if right else low, depth),
            (3 if right else -3, 0),
            textcoords="offset points",
            ha="left" if right else "right",
            va="center",
            fontsize=TICK_SIZE,
            color=MUTED,
        )
