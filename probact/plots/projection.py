"""Observed and sampled activations side by side in one plane."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from probact.plots.arrays import class_indices, class_labels, finite_array
from probact.plots.style import (
    INK,
    LABEL_SIZE,
    TICK_SIZE,
    class_colors,
    new_row,
    shorten,
    tidy,
)

__all__ = ["plot_projected_activations"]


def plot_projected_activations(
    observed: ArrayLike,
    observed_labels: ArrayLike,
    sampled: ArrayLike,
    sampled_labels: ArrayLike,
    *,
    class_names: Sequence[str] | None = None,
    unit: str = "cosine",
    axes: Sequence[Axes] | None = None,
) -> list[Axes]:
    """Two panels on one scale: observed (N, 2) and sampled (M, 2) points, coloured by class.

    The caller chooses the plane and names the unit of its axes. Labels (N,) and (M,) are classes
    in 0..C-1; C is the number of names, or one more than the largest label. At most one in a
    hundred of the sampled points, those farthest out, lies outside and is counted in the title.

    Raises: ValueError if an array has another shape or is not finite, a label is out of range or
    `axes` are not two.

    >>> left, right = plot_projected_activations([[0, 1]], [0], [[0.1, 0.9]], [0])
    >>> left.get_title(), right.get_title()
    ('observed (N = 1)', 'sampled (N = 1)')
    """
    highest = max(int(np.max(np.asarray(y), initial=0)) for y in (observed_labels, sampled_labels))
    names = class_labels(class_names, highest + 1 if class_names is None else len(class_names))
    points = finite_array("observed", observed, "N", 2), finite_array("sampled", sampled, "M", 2)
    labels = (
        class_indices(
            "observed_labels", observed_labels, size=len(points[0]), num_classes=len(names)
        ),
        class_indices(
            "sampled_labels", sampled_labels, size=len(points[1]), num_classes=len(names)
        ),
    )
    row = new_row(2, 7.4, 3.4) if axes is None else list(axes)
    if len(row) != 2:
        raise ValueError(f"axes must hold two axes, got {len(row)}")
    reach = 1.08 * max(np.abs(points[0]).max(), np.quantile(np.abs(points[1]).max(1), 0.99))
    colors = np.array(class_colors(len(names)))
    for ax, x, y, title in zip(row, points, labels, ("observed", "sampled"), strict=True):
        tidy(ax, xlabel=f"first axis ({unit})", ylabel=f"second axis ({unit})")
        ax.scatter(x[:, 0], x[:, 1], s=7, c=colors[y], alpha=0.6, linewidths=0.0, rasterized=True)
        ax.set(xlim=(-reach, reach), ylim=(-reach, reach), box_aspect=1)
        outside = int((np.abs(x).max(1) > reach).sum())
        count = f"N = {len(x)}, {outside} outside" if outside else f"N = {len(x)}"
        ax.set_title(f"{title} ({count})", fontsize=LABEL_SIZE, color=INK)
    _draw_legend(row[1], names, colors.tolist())
    return row


def _draw_legend(ax: Axes, names: Sequence[str], colors: list[str]) -> None:
    """One dot per class, right of the panel, up to thirty classes."""
    if len(names) > 30:
        return
    for name, color in zip(shorten(names, 22), colors, strict=True):
        ax.plot([], [], "o", color=color, markersize=4, label=name)
    ax.legend(
        title="class", fontsize=TICK_SIZE, frameon=False, loc="upper left", bbox_to_anchor=(1, 1)
    )
