"""Images in rows and columns: samples by class, real beside generated, paths between two codes."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from probact.plots.arrays import finite_array
from probact.plots.style import INK, LABEL_SIZE, PALE, TICK_SIZE, new_axes, shorten

__all__ = ["image_grid"]

ROUNDING = 1e-5  # how far outside [0, 1] a float32 image may come out
INCHES = 0.42  # of a cell
LARGEST = 11.0  # inches, either way


def image_grid(
    images: ArrayLike,
    *,
    row_names: Sequence[str] | None = None,
    groups: Sequence[tuple[str, int]] | None = None,
    xlabel: str = "sample",
    ylabel: str = "class",
    ax: Axes | None = None,
) -> Axes:
    """Images (R, K, C, H, W) in [0, 1], grey (C = 1) or RGB (C = 3), as R rows of K columns.

    `groups` are names and widths of blocks of columns, from the left, K columns together: a wider
    gap parts them, the names stand above. Rows are named 0, 1, ... unless `row_names` has R names.

    Raises: ValueError if the images have another shape, are not finite or outside [0, 1], or the
    names and groups do not fit them.

    >>> ax = image_grid(np.zeros((10, 4, 1, 8, 8)), groups=[("real", 1), ("sampled", 3)])
    >>> [text.get_text() for text in ax.get_xticklabels()]
    ['real', 'sampled']
    """
    x = finite_array("images", images, "R", "K", "C", "H", "W")
    rows, columns, channels, height, width = x.shape
    if channels not in (1, 3):
        raise ValueError(f"images must have 1 or 3 channels, got {channels}")
    if x.min() < -ROUNDING or x.max() > 1.0 + ROUNDING:
        raise ValueError(f"images must lie in [0, 1], got {x.min():g} to {x.max():g}")
    names = shorten(_row_names(row_names, rows), 18)
    blocks = _blocks(groups, columns)
    gap = max(1, round(min(height, width) / 14))  # pixels between images
    tops = gap + (height + gap) * np.arange(rows)
    lefts = gap + (width + gap) * np.arange(columns)
    lefts += np.repeat(3 * gap * np.arange(len(blocks)), [size for _, size in blocks])
    canvas = _canvas(x, tops, lefts, gap)
    if ax is None:
        ax = new_axes(*_size(canvas.shape, columns, rows, names))
    ax.imshow(canvas, interpolation="nearest", aspect="auto")
    ax.set_box_aspect(canvas.shape[0] / canvas.shape[1])  # a data aspect leaves labels out
    ax.set_anchor("W")  # so does room on the left
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.tick_params(length=0.0, labelsize=TICK_SIZE, colors=INK)
    ax.set_xlabel(xlabel, fontsize=LABEL_SIZE, color=INK)
    ax.set_ylabel(ylabel, fontsize=LABEL_SIZE, color=INK)
    ax.set_yticks(tops + 0.5 * (height - 1), names, fontsize=TICK_SIZE)
    ends = np.cumsum([size for _, size in blocks])
    middles = [
        0.5 * (lefts[end - size] + lefts[end - 1] + width - 1)
        for end, (_, size) in zip(ends, blocks, strict=True)
    ]
    ax.set_xticks(middles, [name for name, _ in blocks], fontsize=TICK_SIZE)
    ax.xaxis.tick_top()
    ax.tick_params(axis="x", length=0.0)
    return ax


def _row_names(row_names: Sequence[str] | None, rows: int) -> list[str]:
    if row_names is None:
        return [str(row) for row in range(rows)]
    if len(row_names) != rows:
        raise ValueError(f"row_names must hold {rows} names, one per row, got {len(row_names)}")
    return [str(name) for name in row_names]


def _blocks(groups: Sequence[tuple[str, int]] | None, columns: int) -> list[tuple[str, int]]:
    """Names and widths of the blocks of columns; without groups one, without a name."""
    if groups is None:
        return [("", columns)]
    blocks = [(str(name), int(size)) for name, size in groups]
    if any(size < 1 for _, size in blocks) or sum(size for _, size in blocks) != columns:
        sizes = [size for _, size in blocks]
        raise ValueError(f"groups must divide the {columns} columns, got widths {sizes}")
    return blocks


def _canvas(
    x: NDArray[np.float64], tops: NDArray[np.int64], lefts: NDArray[np.int64], gap: int
) -> NDArray[np.float64]:
    """All images on one pale sheet (H', W', 3)."""
    height, width = x.shape[-2:]
    pale = [int(PALE[at : at + 2], 16) / 255.0 for at in (1, 3, 5)]
    sheet = np.empty((tops[-1] + height + gap, lefts[-1] + width + gap, 3))
    sheet[:] = pale
    colours = np.clip(np.moveaxis(x, 2, -1), 0.0, 1.0)  # (R, K, H, W, C)
    for row, top in enumerate(tops):
        for column, left in enumerate(lefts):
            sheet[top : top + height, left : left + width] = colours[row, column]
    return sheet


def _size(
    shape: tuple[int, ...], columns: int, rows: int, names: Sequence[str]
) -> tuple[float, float]:
    """Width and height in inches, of the sheet and the names beside it."""
    scale = INCHES * max(columns / shape[1], rows / shape[0])  # inches a pixel
    scale = min(scale, LARGEST / max(shape[:2]))
    beside = 0.5 + 0.07 * max(len(name) for name in names)
    return scale * shape[1] + beside, scale * shape[0] + 0.5
