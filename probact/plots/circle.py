"""Activations of a network with a two-unit penultimate layer, on the plane and around the circle.

Symbols: x (N, 2) activations; w (C, 2) class weights; theta (A,) angles in radians; C classes.
Seo et al. 2021: the activations gather along the directions of their class weights.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from probact.plots.arrays import class_indices, class_labels, finite_array
from probact.plots.style import (
    INK,
    LABEL_SIZE,
    MUTED,
    TICK_SIZE,
    class_colors,
    new_axes,
    new_row,
    shorten,
    tidy,
)

__all__ = ["CircleStage", "plot_circle_activations", "plot_training_stages"]

RIDGE = 0.35  # height of the highest ridge, in radii of the circle
LABELS_AT = 1.46  # where the class labels stand, in radii of the circle
EDGE = 1.58  # half the side of the panel, in radii of the circle
MIN_GAP = 0.115  # least angle between two class labels, in radians


class CircleStage(NamedTuple):
    """What one circle panel shows, at one moment of training."""

    title: str
    activations: ArrayLike  # (N, 2)
    labels: ArrayLike  # (N,)
    weights: ArrayLike  # (C, 2)
    angles: ArrayLike  # (A,) radians
    class_densities: ArrayLike  # (C, A) per radian
    kernel_density: tuple[ArrayLike, ArrayLike, ArrayLike] | None = (
        None  # x (G,), y (H,), z (H, G)
    )


def plot_circle_activations(
    activations: ArrayLike,
    labels: ArrayLike,
    weights: ArrayLike,
    angles: ArrayLike,
    class_densities: ArrayLike,
    *,
    kernel_density: tuple[ArrayLike, ArrayLike, ArrayLike] | None = None,
    class_names: Sequence[str] | None = None,
    legend: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Activations (N, 2) of labels (N,), class weights (C, 2) and class densities of direction.

    Dots: the raw activations. Rays: the directions of the weights, up to a circle just outside
    all dots. Ridges on that circle: the density (C, A), per radian, of a class's direction at the
    angles (A,) in radians, increasing over at most one turn; all classes share one scale.
    Contours: `kernel_density` = (x (G,), y (H,), z (H, G)). After Seo et al. 2021.

    Raises: ValueError if an array has another shape or is not finite, a label is no class, a
    weight is zero, the angles do not increase, a density is negative, or all activations are zero.

    >>> turn = np.linspace(0.0, 2 * np.pi, 90)
    >>> ridges = np.exp(2.0 * np.cos(turn - np.array([[0.0], [np.pi]])))
    >>> x = [[3.0, 0.1], [-2.0, 0.2]]
    >>> ax = plot_circle_activations(x, [0, 1], [[1, 0], [-1, 0]], turn, ridges)
    >>> ax.get_xlabel()
    'activation 1 (network units)'
    """
    stage = CircleStage("", activations, labels, weights, angles, class_densities, kernel_density)
    panel = _checked(stage)
    names = class_labels(class_names, len(panel.weights))
    ax = new_axes(5.8, 4.4) if ax is None else ax
    _draw_panel(ax, panel)
    if legend:
        _draw_legend(ax, names)
    return ax


def plot_training_stages(
    stages: Sequence[CircleStage],
    *,
    class_names: Sequence[str] | None = None,
    axes: Sequence[Axes] | None = None,
) -> list[Axes]:
    """A row of circle panels, one per stage of training, with one legend right of the last.

    Each stage has its own radius and its own ridge scale, both stated in its panel.

    Raises: ValueError if there is no stage, the stages differ in their number of classes, `axes`
    does not hold one per stage, or a stage is refused by `plot_circle_activations`.

    >>> turn = np.linspace(0.0, 2 * np.pi, 90)
    >>> flat = np.full((2, 90), 0.5 / np.pi)
    >>> one = CircleStage("epoch 0", [[1, 0], [0, 1]], [0, 1], [[1, 0], [0, 1]], turn, flat)
    >>> [ax.get_title() for ax in plot_training_stages([one, one._replace(title="epoch 9")])]
    ['epoch 0', 'epoch 9']
    """
    panels = [_checked(stage) for stage in stages]
    sizes = {len(panel.weights) for panel in panels}
    if len(sizes) != 1:
        raise ValueError(f"stages must share one number of classes, got {sorted(sizes) or 'none'}")
    names = class_labels(class_names, sizes.pop())
    row = new_row(len(panels), 0.9 + 3.2 * len(panels), 3.5) if axes is None else list(axes)
    if len(row) != len(panels):
        raise ValueError(f"axes must hold {len(panels)} axes, one per stage, got {len(row)}")
    for ax, stage, panel in zip(row, stages, panels, strict=True):
        _draw_panel(ax, panel)
        ax.set_title(stage.title, fontsize=LABEL_SIZE, color=INK, pad=16.0)
    _draw_legend(row[-1], names)
    return row


class _Panel(NamedTuple):
    """A checked stage and the radius of its circle."""

    x: NDArray[np.float64]  # (N, 2)
    labels: NDArray[np.int64]  # (N,)
    weights: NDArray[np.float64]  # (C, 2)
    angles: NDArray[np.float64]  # (A,)
    densities: NDArray[np.float64]  # (C, A)
    kernel: tuple[NDArray[np.float64], ...] | None
    radius: float


def _checked(stage: CircleStage) -> _Panel:
    """The arrays of a stage, or a ValueError in words."""
    x = finite_array("activations", stage.activations, "N", 2)
    w = finite_array("weights", stage.weights, "C", 2)
    labels = class_indices("labels", stage.labels, size=len(x), num_classes=len(w))
    theta = finite_array("angles", stage.angles, "A")
    ridges = finite_array("class_densities", stage.class_densities, len(w), len(theta))
    zero = np.flatnonzero(~w.any(axis=1))
    if len(zero):
        raise ValueError(f"weights must have a direction, but that of class {zero[0]} is zero")
    if np.any(np.diff(theta) <= 0.0) or theta[-1] - theta[0] > 2 * np.pi + 1e-6:
        raise ValueError("angles must increase strictly, over one turn at most")
    if ridges.min() < 0.0 or ridges.max() == 0.0:
        raise ValueError("class_densities must not be negative, nor all zero")
    radius = 1.08 * float(np.linalg.norm(x, axis=1).max())
    if radius == 0.0:
        raise ValueError("activations are all zero: there is nothing to draw")
    kernel = None
    if stage.kernel_density is not None:
        gx = finite_array("kernel_density x", stage.kernel_density[0], "G")
        gy = finite_array("kernel_density y", stage.kernel_density[1], "H")
        kernel = (
            gx,
            gy,
            finite_array("kernel_density z", stage.kernel_density[2], len(gy), len(gx)),
        )
    return _Panel(x, labels, w, theta, ridges, kernel, radius)


def _draw_panel(ax: Axes, panel: _Panel) -> None:
    """Contours below, then dots, rays, ridges and class labels."""
    tidy(ax, xlabel="activation 1 (network units)", ylabel="activation 2 (network units)")
    colors = class_colors(len(panel.weights))
    _draw_plane(ax, panel, colors)
    _draw_ridges(ax, panel, colors)
    _draw_class_labels(ax, panel)
    reach = EDGE * panel.radius
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), box_aspect=1)
    scale = f"highest ridge: {panel.densities.max():.3g} per radian"
    ax.text(
        0.5, 1.01, scale, transform=ax.transAxes, ha="center", fontsize=TICK_SIZE - 1, color=MUTED
    )


def _draw_plane(ax: Axes, panel: _Panel, colors: list[str]) -> None:
    """Kernel density contours, activations and the rays of the weights."""
    if panel.kernel is not None:
        levels = np.linspace(0.0, panel.kernel[2].max(), 8)[1:-1]  # none at zero: no outline of it
        ax.contour(*panel.kernel, levels=levels, colors=MUTED, linewidths=0.5, alpha=0.8, zorder=3)
    size = float(np.clip(3000 / len(panel.x), 1.5, 16.0))
    dots = np.array(colors)[panel.labels]
    ax.scatter(
        panel.x[:, 0],
        panel.x[:, 1],
        s=size,
        c=dots,
        alpha=0.55,
        linewidths=0.0,
        rasterized=True,
        zorder=2,
    )
    ends = panel.radius * panel.weights / np.linalg.norm(panel.weights, axis=1, keepdims=True)
    for color, (end_x, end_y) in zip(colors, ends, strict=True):
        ax.plot([0.0, end_x], [0.0, end_y], color=INK, linewidth=1.8, zorder=4)
        ax.plot([0.0, end_x], [0.0, end_y], color=color, linewidth=1.1, zorder=5)


def _draw_ridges(ax: Axes, panel: _Panel, colors: list[str]) -> None:
    """The circle and, outside it, one filled ridge per class."""
    turn = np.linspace(0.0, 2 * np.pi, 361)
    ax.plot(panel.radius * np.cos(turn), panel.radius * np.sin(turn), color=MUTED, linewidth=0.6)
    around = np.stack([np.cos(panel.angles), np.sin(panel.angles)])  # (2, A)
    heights = panel.radius * (1.0 + RIDGE * panel.densities / panel.densities.max())  # (C, A)
    for color, height in zip(colors, heights, strict=True):
        outline = np.concatenate([around * height, panel.radius * around[:, ::-1]], axis=1)
        ax.fill(*outline, color=color, alpha=0.35, linewidth=0.0)
        seen = height > panel.radius * (1.0 + 0.005 * RIDGE)  # else the last line hides the circle
        ax.plot(*np.where(seen, around * height, np.nan), color=color, linewidth=1.0)


def _draw_class_labels(ax: Axes, panel: _Panel) -> None:
    """The index of each class outside its ray, moved aside where two would touch."""
    angles = np.arctan2(panel.weights[:, 1], panel.weights[:, 0])
    if len(angles) * MIN_GAP > 2 * np.pi:
        return  # no room around the circle: the legend has to do
    for index, angle in enumerate(_spread(angles)):
        x, y = LABELS_AT * panel.radius * np.array([np.cos(angle), np.sin(angle)])
        ax.text(x, y, str(index), ha="center", va="center", fontsize=TICK_SIZE, color=INK)


def _spread(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angles (C,) pushed apart in pairs until neighbours around the circle keep MIN_GAP."""
    order = np.argsort(angles % (2 * np.pi), kind="stable")
    around = angles[order] % (2 * np.pi)  # increasing, within one turn
    for _ in range(5000):  # a push reaches one neighbour further each round
        gaps = np.diff(around, append=around[0] + 2 * np.pi)  # (C,) to the next, the last to first
        push = np.clip(MIN_GAP - gaps, 0.0, None) / 3  # a third each: two neighbours may push one
        if push.max() < 1e-3:
            break
        around += np.roll(push, 1) - push
    spread = np.empty_like(angles)
    spread[order] = around
    return spread


def _draw_legend(ax: Axes, names: list[str]) -> None:
    """One entry per class outside the axes: index, and the name if it says more."""
    texts = [
        str(index) if name == str(index) else f"{index}  {name}"
        for index, name in enumerate(shorten(names, 20))
    ]
    handles = [
        Line2D([], [], color=color, marker="o", markersize=4, linewidth=1.4, label=text)
        for color, text in zip(class_colors(len(names)), texts, strict=True)
    ]
    ax.legend(
        handles=handles,
        title="class",
        title_fontsize=TICK_SIZE,
        fontsize=TICK_SIZE,
        frameon=False,
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        borderaxespad=0.0,
        ncols=1 + (len(names) - 1) // 20,
    )
