"""Relations between classes: how a classifier sees activations drawn for each class."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from probact.plots.arrays import class_indices, class_labels, finite_array
from probact.plots.style import INK, LABEL_SIZE, PALE, TICK_SIZE, new_axes, shorten, tidy

__all__ = ["plot_class_relations"]

ALL_NAMED = 30  # up to so many classes every row and column carries its name
NAMED_ROWS = 25  # above, so many evenly spaced rows do
ROUNDING = 1e-5  # how far past 1 a float32 mean of probabilities may come out


def plot_class_relations(
    matrix: ArrayLike,
    *,
    order: ArrayLike | None = None,
    class_names: Sequence[str] | None = None,
    log: bool = True,
    floor: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Heat map of the class relations p_T(j | i) (C, C), row i the class that activations are of.

    `order` (C,) is the permutation of the classes to show, for example the leaves of a dendrogram;
    `log` shows log10, in which a probability of zero is drawn grey; one colour stands for all
    below `floor`. Seo et al. 2021: p_T are the targets of class-wise distillation.

    Raises: ValueError if the matrix is not square, finite and in [0, 1], or is zero all over,
    `order` is no permutation, `floor` is not below the largest entry or the names are not C.

    >>> ax = plot_class_relations([[0.9, 0.1], [0.2, 0.8]], class_names=["cat", "dog"])
    >>> [tick.get_text() for tick in ax.get_yticklabels()]
    ['cat', 'dog']
    """
    probs = finite_array("matrix", matrix, "C", "C")
    if probs.shape[0] != probs.shape[1]:
        raise ValueError(f"matrix must be (C, C), got shape {probs.shape}")
    if probs.min() < 0.0 or probs.max() > 1.0 + ROUNDING:
        raise ValueError(f"matrix must lie in [0, 1], got {probs.min():g} to {probs.max():g}")
    if probs.max() == 0.0:
        raise ValueError("matrix is zero all over: there is nothing to draw")
    if floor is not None and not 0.0 < floor < probs.max():
        raise ValueError(f"floor must lie between 0 and the largest entry, got {floor}")
    size = len(probs)
    shown = np.arange(size) if order is None else _permutation(order, size)
    names = class_labels(class_names, size)
    ax = new_axes(6.4, 4.8) if ax is None else ax
    tidy(ax, xlabel="class j assigned", ylabel="class i of the activations")
    _draw_cells(ax, probs[np.ix_(shown, shown)], log=log, floor=floor)
    _name_ticks(ax, [names[index] for index in shown], named=class_names is not None)
    return ax


def _permutation(order: ArrayLike, size: int) -> NDArray[np.int64]:
    """The order (C,) as indices, each class exactly once."""
    shown = class_indices("order", order, size=size, num_classes=size)
    if len(np.unique(shown)) != size:
        raise ValueError(f"order must hold each class 0 to {size - 1} once, got a repetition")
    return shown


def _draw_cells(ax: Axes, probs: NDArray[np.float64], *, log: bool, floor: float | None) -> None:
    """The image and its colour bar; on the log scale zeros let the grey behind show."""
    zeros = bool(np.any(probs == 0.0))
    cells = np.ma.masked_array(probs)
    label = "$p_T(j\\,|\\,i)$"
    if log:
        cells = np.ma.log10(np.ma.masked_equal(probs, 0.0))
        label = "$\\log_{10}\\,p_T(j\\,|\\,i)$" + (", zero in grey" if zeros else "")
    ax.set_facecolor(PALE)
    extend = "min" if floor is not None and np.any((probs > 0.0) & (probs < floor)) else "neither"
    lowest = floor if floor is None or not log else np.log10(floor)
    image = ax.imshow(cells, cmap="viridis", vmin=lowest, aspect="auto")
    ax.set_box_aspect(1)  # a fixed data aspect would leave the labels out of the layout
    bar = ax.figure.colorbar(image, cax=ax.inset_axes((1.03, 0.0, 0.045, 1.0)), extend=extend)
    bar.set_label(label, fontsize=LABEL_SIZE, color=INK)
    bar.ax.tick_params(labelsize=TICK_SIZE, colors=INK, width=0.6)
    bar.outline.set_visible(False)


def _name_ticks(ax: Axes, names: list[str], *, named: bool) -> None:
    """Every class by name while that is readable; above, positions and some rows' names."""
    size = len(names)
    if size <= ALL_NAMED:
        texts = shorten(names, 18)
        text_size = TICK_SIZE if size <= 15 else 6.0
        long = max(len(text) for text in texts) > 2
        ax.set_xticks(range(size), texts, fontsize=text_size)
        if long:
            for tick in ax.get_xticklabels():
                tick.set(rotation=45, ha="right", rotation_mode="anchor")
        ax.set_yticks(range(size), texts, fontsize=text_size)
        ax.tick_params(length=0.0)
        return
    ax.set_xlabel("class j assigned (position in the order shown)")
    if named:
        rows = np.unique(np.linspace(0, size - 1, NAMED_ROWS).round().astype(int))
        ax.set_yticks(rows, shorten([names[row] for row in rows], 18), fontsize=6.0)
        ax.set_ylabel(f"class i of the activations ({len(rows)} of {size} named)")
    else:
        ax.set_ylabel("class i of the activations (position)")
