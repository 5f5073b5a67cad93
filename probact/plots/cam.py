"""What nodes of neurons look at: images in rows, one map of each node beside them."""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike, NDArray

from probact.plots.arrays import finite_array
from probact.plots.style import INK, LABEL_SIZE, TICK_SIZE, new_axes, shorten

__all__ = ["cam_grid"]

ROUNDING = 1e-5  # how far outside [0, 1] a float32 image may come out
CELL = 1.05  # inches
PIXELS = 112  # an image is drawn with at least so many pixels a side
LARGEST = 16.0  # inches, either way
STRENGTH = 0.8  # share of the colour where a map is largest
FADED = 0.15  # greys lie so far from black and white, where colours would be lost
COLOURS = LinearSegmentedColormap.from_list("heat", ["#ffe66b", "#ff9d00", "#f2460c", "#c9002f"])

Array = NDArray[np.float64]


def cam_grid(
    images: ArrayLike,
    maps: ArrayLike,
    *,
    row_names: Sequence[str],
    column_names: Sequence[str],
    groups: Sequence[int] | None = None,
    notes: Sequence[Sequence[str]] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Images (R, C, H, W) in [0, 1], and maps (R, K, h, w) >= 0 of each as colour over its greys.

    A row holds the image and its K maps, each raised bilinearly to the image's size and over its
    own largest value; a map of zeros leaves the greys. C is 1 (grey) or 3 (RGB).

    Args:
        row_names: R names.
        column_names: K names, one per map.
        groups: widths of blocks of map columns, from the left, K together, set apart by gaps.
        notes: (R, K) short words in the lower left corner of each map.

    Raises: ValueError if images or maps have another shape, are not finite or outside their
    range, or the names, groups and notes do not fit them.

    >>> ax = cam_grid(np.zeros((2, 1, 8, 8)), np.ones((2, 3, 2, 2)), row_names=["3", "7"],
    ...               column_names=["all", "+", "-"], groups=[1, 1, 1])
    >>> [text.get_text() for text in ax.get_xticklabels()]
    ['image', 'all', '+', '-']
    """
    x = finite_array("images", images, "R", "C", "H", "W")
    saliency = finite_array("maps", maps, len(x), "K", "h", "w")
    _check(x, saliency, row_names, column_names, notes)
    blocks = _blocks(groups, saliency.shape[1])
    factor = -(-PIXELS // min(x.shape[2:]))  # whole, so that pixels stay squares
    pictures = np.moveaxis(x, 1, -1).repeat(factor, 1).repeat(factor, 2).clip(0.0, 1.0)
    height, width = pictures.shape[1:3]
    gap = max(1, height // 24)
    tops = (height + gap) * np.arange(len(x))
    lefts = (width + gap) * np.arange(1 + saliency.shape[1])
    starts = [0, *accumulate(blocks)][:-1]  # of the blocks, counted in maps
    lefts[1:] += 2 * gap * np.searchsorted(starts, np.arange(saliency.shape[1]), side="right")
    sheet = _sheet(pictures, saliency, tops, lefts)
    if ax is None:
        inches = min(CELL / height, LARGEST / max(sheet.shape[:2]))
        beside = 0.3 + 0.07 * min(22, max(len(name) for name in row_names))
        ax = new_axes(inches * sheet.shape[1] + beside, inches * sheet.shape[0] + 0.9)
    ax.imshow(sheet, interpolation="nearest", aspect="auto")
    ax.set_box_aspect(sheet.shape[0] / sheet.shape[1])
    _name(ax, tops + 0.5 * height, lefts + 0.5 * width, row_names, ["image", *column_names])
    if notes is not None:
        for top, words in zip(tops, notes, strict=True):
            for left, word in zip(lefts[1:], words, strict=True):
                _note(ax, left + 0.04 * width, top + 0.96 * height, word)
    _colour_bar(ax)
    return ax


def _check(
    x: Array,
    maps: Array,
    row_names: Sequence[str],
    column_names: Sequence[str],
    notes: Sequence[Sequence[str]] | None,
) -> None:
    if x.shape[1] not in (1, 3):
        raise ValueError(f"images must have 1 or 3 channels, got {x.shape[1]}")
    if x.min() < -ROUNDING or x.max() > 1.0 + ROUNDING:
        raise ValueError(f"images must lie in [0, 1], got {x.min():g} to {x.max():g}")
    if maps.min() < 0.0:
        raise ValueError(f"maps must not be negative, got {maps.min():g}")
    for name, given, size in (
        ("row_names", row_names, len(x)),
        ("column_names", column_names, maps.shape[1]),
    ):
        if len(given) != size:
            raise ValueError(f"{name} must hold {size} names, got {len(given)}")
    if notes is not None and [len(row) for row in notes] != [maps.shape[1]] * len(x):
        raise ValueError(f"notes must be {len(x)} rows of {maps.shape[1]} words")


def _blocks(groups: Sequence[int] | None, columns: int) -> list[int]:
    if groups is None:
        return [columns]
    if any(size < 1 for size in groups) or sum(groups) != columns:
        raise ValueError(f"groups must divide the {columns} maps, got widths {list(groups)}")
    return list(groups)


def _sheet(
    pictures: Array, saliency: Array, tops: NDArray[np.int64], lefts: NDArray[np.int64]
) -> Array:
    """Pictures (R, H, W, C) and their overlays on one white sheet (H', W', 3)."""
    height, width = pictures.shape[1:3]
    sheet = np.ones((tops[-1] + height, lefts[-1] + width, 3))
    for row, top in enumerate(tops):
        picture = np.broadcast_to(pictures[row], (height, width, 3))
        cells = [picture, *(_overlay(picture, each) for each in saliency[row])]
        for cell, left in zip(cells, lefts, strict=True):
            sheet[top : top + height, left : left + width] = cell
    return sheet


def _overlay(picture: Array, saliency: Array) -> Array:
    """The picture (H, W, 3) in greys under the colours of its map (h, w)."""
    height, width = picture.shape[:2]
    raised = _between(height, len(saliency)) @ saliency @ _between(width, saliency.shape[1]).T
    top = raised.max()
    share = raised / top if top > 0.0 else raised
    grey = (picture @ np.array([0.299, 0.587, 0.114]))[..., None].repeat(3, 2)
    grey = FADED + (1.0 - 2.0 * FADED) * grey
    opacity = STRENGTH * share[..., None]
    mixed: Array = (1.0 - opacity) * grey + opacity * COLOURS(share)[..., :3]
    return mixed


def _between(size: int, held: int) -> Array:
    """Weights (size, held) of bilinear resizing, pixel centres at halves, edges repeated."""
    place = ((np.arange(size) + 0.5) * held / size - 0.5).clip(0.0, held - 1.0)
    weights: Array = np.maximum(1.0 - np.abs(place[:, None] - np.arange(held)), 0.0)
    return weights


def _name(
    ax: Axes, rows: Array, columns: Array, row_names: Sequence[str], column_names: Sequence[str]
) -> None:
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set_yticks(rows, shorten(list(row_names), 22), fontsize=TICK_SIZE)
    ax.set_xticks(columns, column_names, fontsize=LABEL_SIZE)
    ax.xaxis.tick_top()
    ax.tick_params(length=0.0, colors=INK)


def _note(ax: Axes, left: float, bottom: float, word: str) -> None:
    text = ax.text(left, bottom, word, fontsize=TICK_SIZE - 1.0, color=INK, va="bottom")
    text.set_path_effects([withStroke(linewidth=1.6, foreground="white")])


def _colour_bar(ax: Axes) -> None:
    """Below the sheet, a tenth of an inch high."""
    inch = ax.figure.dpi / ax.get_window_extent().height
    place = ax.inset_axes((0.25, -0.2 * inch, 0.5, 0.1 * inch))
    bar = ax.figure.colorbar(ScalarMappable(cmap=COLOURS), cax=place, orientation="horizontal")
    bar.set_label("map, over its own largest value", fontsize=TICK_SIZE, color=INK)
    bar.ax.tick_params(labelsize=TICK_SIZE, colors=INK, width=0.6)
    bar.outline.set_visible(False)
