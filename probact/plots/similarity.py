"""Posterior similarity: which points the draws of a partition put together."""

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from probact.plots.arrays import class_indices, finite_array
from probact.plots.style import ACCENT, INK, LABEL_SIZE, TICK_SIZE, new_axes, tidy

__all__ = ["plot_similarity"]

ROUNDING = 1e-5  # how far outside [0, 1] a float32 mean may come out
MOST_OUTLINED = 60  # above, the outlines would hide the cells


def plot_similarity(matrix: ArrayLike, labels: ArrayLike, *, ax: Axes | None = None) -> Axes:
    """Heat map of co-clustering probabilities p_ij (N, N), points in the order of labels (N,).

    Within a cluster of the labels, the point estimate, the points most similar to it come first;
    outlined squares are its clusters, up to 60 of them.

    Raises: ValueError if the matrix is not square, finite and in [0, 1], or the labels are not N
    whole numbers from 0 to N - 1.

    >>> ax = plot_similarity([[1.0, 0.2, 0.9], [0.2, 1.0, 0.1], [0.9, 0.1, 1.0]], [0, 1, 0])
    >>> ax.images[0].get_array()[0].tolist()
    [1.0, 0.9, 0.2]
    """
    p = finite_array("matrix", matrix, "N", "N")
    if p.shape[0] != p.shape[1]:
        raise ValueError(f"matrix must be (N, N), got shape {p.shape}")
    if p.min() < -ROUNDING or p.max() > 1.0 + ROUNDING:
        raise ValueError(f"matrix must lie in [0, 1], got {p.min():g} to {p.max():g}")
    z = class_indices("labels", labels, size=len(p), num_classes=len(p))
    order = _order(p, z)
    ax = new_axes(5.6, 4.6) if ax is None else ax
    tidy(ax, xlabel="point j, by cluster", ylabel="point i, by cluster")
    shown = p[np.ix_(order, order)]
    image = ax.imshow(shown, cmap="viridis", vmin=0.0, vmax=1.0, aspect="auto", rasterized=True)
    ax.set_box_aspect(1)  # a fixed data aspect would leave the labels out of the layout
    bar = ax.figure.colorbar(image, cax=ax.inset_axes((1.03, 0.0, 0.045, 1.0)))
    bar.set_label("share of draws that join i and j", fontsize=LABEL_SIZE, color=INK)
    bar.ax.tick_params(labelsize=TICK_SIZE, colors=INK, width=0.6)
    bar.outline.set_visible(False)
    _outline(ax, np.unique(z[order], return_counts=True)[1])
    return ax


def _order(p: NDArray[np.float64], z: NDArray[np.int64]) -> NDArray[np.int64]:
    """Points by label, then by the mean similarity to their own cluster, the highest first."""
    same = z[:, None] == z[None, :]
    belonging = (p * same).sum(1) / same.sum(1)
    return np.lexsort((np.arange(len(z)), -belonging, z))


def _outline(ax: Axes, sizes: NDArray[np.int64]) -> None:
    """A square around each cluster, as one line with gaps."""
    if len(sizes) > MOST_OUTLINED:
        return
    edges = np.concatenate([[0], np.cumsum(sizes)]) - 0.5
    low, high, gap = edges[:-1], edges[1:], np.full(len(sizes), np.nan)
    x = np.stack([low, high, high, low, low, gap], 1).ravel()
    y = np.stack([low, low, high, high, low, gap], 1).ravel()
    ax.plot(x, y, color=ACCENT, linewidth=0.8, clip_on=False)
