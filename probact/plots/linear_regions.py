"""Linear regions of a network: along a line, in a plane, their maps and their sizes."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from numpy.typing import ArrayLike, NDArray

from probact.plots.arrays import class_indices, class_labels, finite_array
from probact.plots.style import (
    ACCENT,
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

__all__ = [
    "plot_line_flips",
    "plot_map_spectra",
    "plot_noise_angles",
    "plot_plane_slice",
    "plot_region_sizes",
]


def plot_line_flips(
    lines: Mapping[str, tuple[ArrayLike, ArrayLike, float]], *, ax: Axes | None = None
) -> Axes:
    """Bits flipped so far along lines, and the Hamming distance of their ends as rings.

    By name: increasing crossings t (R,) in [0, 1], the flips (R,) at each, and the distance. A
    curve that ends above its ring takes a detour.

    Raises: ValueError if there is no line, an array has another shape or is not finite, or t
    decreases or leaves [0, 1].

    >>> ax = plot_line_flips({"a pair": ([0.2, 0.7], [1, 2], 3)})
    >>> [line.get_label() for line in ax.lines][:1]
    ['a pair']
    """
    if not lines:
        raise ValueError("lines must name a line")
    ax = new_axes(5.4, 3.4) if ax is None else ax
    tidy(
        ax,
        xlabel="place t on the line",
        ylabel="bits flipped so far (ring: distance)",
        grid="both",
    )
    for i, (name, (crossings, flips, distance)) in enumerate(lines.items()):
        t = finite_array(f"crossings of {name}", crossings, "R")
        count = finite_array(f"flips of {name}", flips, len(t))
        if (np.diff(t) < 0.0).any() or t[0] < 0.0 or t[-1] > 1.0:
            raise ValueError(f"crossings of {name} must increase within [0, 1]")
        x, y = np.concatenate([[0.0], t, [1.0]]), np.concatenate([[0.0], count.cumsum()])
        color = LINES[i % len(LINES)]
        dash, height = DASHES[i % len(DASHES)], np.append(y, y[-1])
        ax.step(x, height, where="post", color=color, linestyle=dash, linewidth=1.4, label=name)
        ax.plot([1.0], [distance], "o", color=color, markerfacecolor="none", clip_on=False)
    ax.set(xlim=(0.0, 1.0), ylim=(0.0, None))
    ax.legend(fontsize=TICK_SIZE, frameon=False)
    return ax


def plot_map_spectra(
    spectra: Mapping[str, ArrayLike], *, floor: float = 1e-17, ax: Axes | None = None
) -> Axes:
    """Singular values (K,) of sets of local maps over the largest, by name, on a log scale.

    Values below `floor` of the largest are drawn at it.

    Raises: ValueError if there is no spectrum, or one is not finite, decreasing and above zero.

    >>> ax = plot_map_spectra({"trained": [2.0, 1.0, 0.0]})
    >>> ax.lines[0].get_ydata()[:2].tolist(), ax.get_yscale()
    ([1.0, 0.5], 'log')
    """
    if not spectra:
        raise ValueError("spectra must name a spectrum")
    ax = new_axes(5.4, 3.4) if ax is None else ax
    tidy(ax, xlabel="number of the singular value", ylabel="share of the largest", grid="both")
    for i, (name, value) in enumerate(spectra.items()):
        s = finite_array(name, value, "K")
        if (np.diff(s) > 0.0).any() or s[-1] < 0.0 or s[0] <= 0.0:
            raise ValueError(f"{name} must decrease from above zero to zero or more")
        shares = np.maximum(s / s[0], floor)
        color, dash = LINES[i % len(LINES)], DASHES[i % len(DASHES)]
        x = np.arange(1, len(s) + 1)
        ax.plot(x, shares, color=color, linestyle=dash, linewidth=1.4, label=name)
    ax.set_yscale("log")
    ax.legend(fontsize=TICK_SIZE, frameon=False)
    return ax


def plot_noise_angles(
    sigmas: ArrayLike, angles: ArrayLike, unchanged: ArrayLike, *, ax: Axes | None = None
) -> Axes:
    """Angles (S, N) of local maps under noise of S sizes, degrees: median and middle 80 %.

    On the axis at the right the share (S,) of inputs whose pattern does not change.

    Raises: ValueError if an array has another shape or is not finite, or sigmas are not above
    zero and increasing, or a share is not in [0, 1].

    >>> ax = plot_noise_angles([0.1, 1.0], [[0, 1, 2], [3, 4, 5]], [0.5, 0.0])
    >>> ax.lines[0].get_ydata().tolist()
    [1.0, 4.0]
    """
    s = finite_array("sigmas", sigmas, "S")
    degrees = finite_array("angles", angles, len(s), "N")
    share = finite_array("unchanged", unchanged, len(s))
    if s[0] <= 0.0 or (np.diff(s) <= 0.0).any():
        raise ValueError("sigmas must be above zero and increase")
    if share.min() < 0.0 or share.max() > 1.0:
        raise ValueError(f"unchanged must lie in [0, 1], got {share.min():g} to {share.max():g}")
    ax = new_axes(5.4, 3.4) if ax is None else ax
    tidy(ax, xlabel="standard deviation of the noise", ylabel="angle (degrees)", grid="both")
    low, middle, high = np.quantile(degrees, [0.1, 0.5, 0.9], axis=1)
    ax.plot(s, middle, color=LINES[0], linewidth=1.4, label="angle of the map, median")
    ax.fill_between(s, low, high, color=LINES[0], alpha=0.2, linewidth=0.0)
    ax.set(xscale="log", ylim=(0.0, None))
    right = ax.twinx()
    right.plot(s, share, color=ACCENT, linestyle="--", linewidth=1.4, label="pattern unchanged")
    tidy(right, xlabel="", ylabel="share of inputs")
    right.set_ylim(0.0, 1.0)
    right.spines["right"].set_visible(True)
    right.spines["left"].set_visible(False)
    handles = [*ax.get_lines(), *right.get_lines()]
    ax.legend(
        handles=handles,
        fontsize=TICK_SIZE,
        frameon=False,
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=2,
    )
    return ax


def plot_plane_slice(
    polygons: Sequence[ArrayLike],
    classes: ArrayLike,
    *,
    class_names: Sequence[str] | None = None,
    points: Mapping[str, tuple[float, float]] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Regions in a plane, polygons (corners, 2) in [-1, 1]^2, in the colours of classes (R,).

    `points` are marked by name, inputs that span the plane for instance.

    Raises: ValueError if a polygon is not (corners, 2) and finite, or classes do not fit.

    >>> square = [[-1, -1], [1, -1], [1, 1], [-1, 1]]
    >>> len(plot_plane_slice([square], [0]).collections[0].get_paths())
    1
    """
    corners = [finite_array(f"polygon {i}", p, "corners", 2) for i, p in enumerate(polygons)]
    if not corners:
        raise ValueError("polygons must hold a polygon")
    given = finite_array("classes", classes, len(corners))
    count = len(class_names) if class_names is not None else max(int(given.max()) + 1, 1)
    labels = class_indices("classes", classes, size=len(corners), num_classes=count)
    names, colors = class_labels(class_names, count), class_colors(count)
    ax = new_axes(5.2, 4.0) if ax is None else ax
    tidy(ax, xlabel="s", ylabel="t")
    shapes = PolyCollection(
        corners, facecolors=[colors[k] for k in labels], edgecolors="white", linewidths=0.3
    )
    ax.add_collection(shapes)
    for k in np.unique(labels):
        ax.plot([], [], "s", color=colors[k], label=names[k])
    for name, (x, y) in (points or {}).items():
        ax.plot([x], [y], "o", color=INK, markersize=4)
        ax.annotate(name, (x, y), xytext=(3, 3), textcoords="offset points", fontsize=TICK_SIZE)
    ax.set(xlim=(-1.0, 1.0), ylim=(-1.0, 1.0), aspect="equal")
    ax.legend(fontsize=TICK_SIZE, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def plot_region_sizes(sizes: Mapping[str, ArrayLike], *, ax: Axes | None = None) -> Axes:
    """Measures of size (N,) of the same N regions, a column of dots each, on a log scale.

    A line joins the dots of a region; a bar is the median.

    Raises: ValueError if there is none, or an array has another shape or is not above zero.

    >>> ax = plot_region_sizes({"noise radius": [0.1, 0.2], "largest ball": [1.0, 0.9]})
    >>> [text.get_text() for text in ax.get_xticklabels()]
    ['noise radius', 'largest ball']
    """
    if not sizes:
        raise ValueError("sizes must name a measure")
    first = next(iter(sizes))
    number = len(finite_array(first, sizes[first], "N"))
    columns = [_positive(name, value, number) for name, value in sizes.items()]
    ax = new_axes(1.2 + 1.3 * len(columns), 3.6) if ax is None else ax
    tidy(ax, xlabel="", ylabel="distance in the input", grid="y")
    places = np.arange(len(columns))
    ax.plot(places, np.stack(columns), color=MUTED, linewidth=0.4, alpha=0.5)
    for x, values in zip(places, columns, strict=True):
        ax.plot(np.full(number, x), values, "o", color=LINES[0], markersize=3, alpha=0.7)
        ax.plot([x - 0.2, x + 0.2], [np.median(values)] * 2, color=ACCENT, linewidth=1.6)
    ax.set_xticks(places, list(sizes), fontsize=LABEL_SIZE)
    ax.set(yscale="log", xlim=(-0.5, len(columns) - 0.5))
    return ax


def _positive(name: str, value: ArrayLike, size: int) -> NDArray[np.float64]:
    array = finite_array(name, value, size)
    if array.min() <= 0.0:
        raise ValueError(f"{name} must be above zero, got {array.min():g}")
    return array
