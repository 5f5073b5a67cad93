"""Regions of a network's layers, and how sure its units are of them."""

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
    TICK_SIZE,
    class_colors,
    new_axes,
    tidy,
)

__all__ = ["plot_against_beta", "plot_region_prior", "plot_soft_partition"]


def plot_soft_partition(
    across: ArrayLike,
    up: ArrayLike,
    entropy: ArrayLike,
    gaps: ArrayLike,
    *,
    highest: float | None = None,
    title: str = "",
    colorbar: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Heat map of the region entropy (H, W), nats, of inputs on a plane; lines where units switch.

    Rows of `entropy` follow up (H,), its columns across (W,), both increasing. gaps (B, H, W) are
    score differences of pairs of regions, whose zeros are the lines. The colour scale ends at
    `highest`, or at the largest entropy.

    Raises: ValueError if an array has another shape or is not finite, or across or up decreases.

    >>> ax = plot_soft_partition([0, 1], [0, 1], [[0.1, 0.2], [0, 0]], [[[-1, 1], [-1, 1]]])
    >>> ax.collections[0].get_clim()
    (0.0, 0.2)
    """
    x, y = increasing_array("across", across), increasing_array("up", up)
    heat = finite_array("entropy", entropy, len(y), len(x))
    lines = finite_array("gaps", gaps, "B", len(y), len(x))
    ax = new_axes(4.4, 3.6) if ax is None else ax
    tidy(ax, xlabel="first input", ylabel="second input")
    top = max(float(heat.max()) if highest is None else highest, 1e-12)
    image = ax.pcolormesh(
        x, y, heat, cmap="magma", vmin=0.0, vmax=top, shading="gouraud", rasterized=True
    )
    for gap in lines:
        if gap.min() < 0.0 < gap.max():
            ax.contour(x, y, gap, levels=[0.0], colors="white", linewidths=0.5, alpha=0.6)
    ax.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]), box_aspect=1)
    ax.set_title(title, fontsize=LABEL_SIZE, color=INK)
    if colorbar:
        bar = ax.figure.colorbar(image, ax=ax)
        bar.set_label("entropy of the regions (nats)", fontsize=LABEL_SIZE, color=INK)
        bar.ax.tick_params(labelsize=TICK_SIZE, colors=INK, width=0.6)
        bar.outline.set_visible(False)
    return ax


def plot_against_beta(
    betas: ArrayLike,
    curves: Mapping[str, ArrayLike],
    *,
    ylabel: str,
    hard: Mapping[str, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Curves (B,) over increasing beta (B,) in (0, 1); `hard`: their values at beta = 1, as rings.

    Raises: ValueError if an array has another shape or is not finite, betas lie outside of (0, 1)
    or decrease, or `hard` names another curve.

    >>> ax = plot_against_beta([0.2, 0.8], {"net": [0.5, 0.9]}, ylabel="accuracy")
    >>> [line.get_label() for line in ax.lines]
    ['net']
    """
    b = increasing_array("betas", betas)
    if b[0] <= 0.0 or b[-1] >= 1.0:
        raise ValueError(f"betas must lie in (0, 1), got {b[0]:g} to {b[-1]:g}")
    unknown = sorted(set(hard or {}) - set(curves))
    if unknown:
        raise ValueError(f"hard names {unknown}, which are not among the curves {sorted(curves)}")
    ax = new_axes(5.4, 3.4) if ax is None else ax
    tidy(ax, xlabel="beta (1: hard choice, 0: none)", ylabel=ylabel, grid="both")
    for i, (name, curve) in enumerate(curves.items()):
        color, dash = LINES[i % len(LINES)], DASHES[i % len(DASHES)]
        y = finite_array(name, curve, len(b))
        ax.plot(b, y, color=color, linestyle=dash, linewidth=1.4, label=name)
        if hard and name in hard:
            ax.plot([1.0], [hard[name]], "o", color=color, markerfacecolor="none", clip_on=False)
    ax.set_xlim(0.0, 1.0)
    if len(curves) > 1:
        ax.legend(fontsize=TICK_SIZE, frameon=False)
    return ax


def plot_region_prior(
    prior: Mapping[str, ArrayLike], frequency: Mapping[str, ArrayLike], *, ax: Axes | None = None
) -> Axes:
    """Share of inputs that switch a unit on against its prior of that; a dot a unit, by layer.

    Both map a layer's name to (K,) numbers in [0, 1]. On the diagonal the two agree.

    Raises: ValueError if the layers differ, a shape does, or a number is not in [0, 1].

    >>> plot_region_prior({"fc": [0.6, 0.7]}, {"fc": [0.5, 0.1]}).collections[0].get_label()
    'fc'
    """
    if not prior or list(prior) != list(frequency):
        raise ValueError(f"frequency must be of the layers {list(prior)}, got {list(frequency)}")
    ax = new_axes(5.8, 3.6) if ax is None else ax
    tidy(ax, xlabel="prior of the active region", ylabel="share of inputs in it", grid="both")
    ax.plot([0.0, 1.0], [0.0, 1.0], color=MUTED, linewidth=0.8, linestyle="--")
    for (name, p), color in zip(prior.items(), class_colors(len(prior)), strict=True):
        x = _shares(f"prior of {name}", p, "K")
        y = _shares(f"frequency of {name}", frequency[name], len(x))
        ax.scatter(x, y, s=14, color=color, linewidths=0.0, alpha=0.8, label=name)
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    ax.legend(fontsize=TICK_SIZE, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def _shares(name: str, value: ArrayLike, size: int | str) -> NDArray[np.float64]:
    array = finite_array(name, value, size)
    if array.min() < 0.0 or array.max() > 1.0:
        raise ValueError(f"{name} must lie in [0, 1], got {array.min():g} to {array.max():g}")
    return array
