"""The one look of every figure: colours, sizes in points, and the bare axes that plots draw on.

Nothing here touches matplotlib's global settings or pyplot's list of figures: sizes are passed to
each artist, and a new axes lives on a Figure of its own, which the caller saves with
``ax.figure.savefig``.
"""

import textwrap
from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

__all__ = [
    "ACCENT",
    "DASHES",
    "INK",
    "LABEL_SIZE",
    "LINES",
    "MUTED",
    "PALE",
    "PALETTE",
    "TICK_SIZE",
    "class_colors",
    "figure_of",
    "new_axes",
    "new_row",
    "shorten",
    "tidy",
]

# Ten colours kept apart under colour vision deficiencies: Petroff 2021, arXiv:2107.02270.
PALETTE = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
LINES = tuple(PALETTE[index] for index in (0, 1, 2, 4, 5, 6))  # those that carry a thin line
INK = "#222222"  # text and outlines
MUTED = "#71757b"  # second rank: reference lines, plain dots
PALE = "#d5d9de"  # third rank: grids, histograms
ACCENT = "#bd1f01"  # the one thing to look at
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))  # so that lines differ without colour too
LABEL_SIZE = 9.0  # points: axis labels, titles
TICK_SIZE = 8.0  # points: ticks, legends, annotations


def class_colors(num_classes: int) -> list[str]:
    """One colour per class, as hex: the palette up to ten classes, even steps of viridis above.

    >>> class_colors(2)
    ['#3f90da', '#ffa90e']
    """
    if num_classes <= len(PALETTE):
        return list(PALETTE[:num_classes])
    return [to_hex(color) for color in colormaps["viridis"](np.linspace(0.0, 0.95, num_classes))]


def shorten(names: Sequence[str], width: int = 22) -> list[str]:
    """Names cut at a word to at most `width` characters, an ellipsis marking the cut.

    Names with mathematics between dollars stay whole: their length on the page is not known.

    >>> shorten(["great white shark, white shark, man-eater"])
    ['great white shark…']
    """
    return [_shorten(name, width) for name in names]


def _shorten(name: str, width: int) -> str:
    if len(name) <= width or "$" in name:
        return name
    words = textwrap.wrap(name, width - 1, max_lines=1, placeholder="")
    return (words[0].rstrip(" ,;") if words and words[0] else name[: width - 1]) + "…"


def new_axes(width: float, height: float) -> Axes:
    """An axes alone on a new Figure of the given size in inches, unknown to pyplot.

    >>> new_axes(3.0, 2.0).figure.get_size_inches().tolist()
    [3.0, 2.0]
    """
    return Figure(figsize=(width, height), layout="constrained").subplots()


def figure_of(ax: Axes) -> Figure:
    """The Figure that an axes of `new_axes` or `new_row` is on.

    >>> type(figure_of(new_axes(3.0, 2.0))).__name__
    'Figure'
    """
    figure = ax.get_figure()
    assert isinstance(figure, Figure)
    return figure


def new_row(num_panels: int, width: float, height: float) -> list[Axes]:
    """A row of axes on a new Figure of the given size in inches, unknown to pyplot.

    >>> len(new_row(3, 6.0, 2.0))
    3
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    return list(figure.subplots(1, num_panels, squeeze=False)[0])


def tidy(
    ax: Axes, *, xlabel: str, ylabel: str, grid: Literal["x", "y", "both"] | None = None
) -> Axes:
    """Label both axes, set the text sizes, drop the upper and right frame lines; grid: x, y, both.

    >>> tidy(new_axes(3.0, 2.0), xlabel="kappa", ylabel="density").get_xlabel()
    'kappa'
    """
    ax.set_xlabel(xlabel, fontsize=LABEL_SIZE, color=INK)
    ax.set_ylabel(ylabel, fontsize=LABEL_SIZE, color=INK)
    ax.tick_params(labelsize=TICK_SIZE, colors=INK, width=0.6, length=3.0)
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set(color=INK, linewidth=0.6)
    ax.set_axisbelow(True)
    if grid is not None:
        ax.grid(axis=grid, color=PALE, linewidth=0.5)
    return ax
