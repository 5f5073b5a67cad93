"""Cosine between an activation and its class weight: what was seen against what the laws say."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from probact.plots.arrays import finite_array
from probact.plots.style import DASHES, INK, LINES, PALE, TICK_SIZE, new_axes, shorten, tidy

__all__ = ["plot_cosine_marginal"]

ROUNDING = 1e-5  # how far past 1 a cosine of float32 unit vectors may come out


def plot_cosine_marginal(
    cosines: ArrayLike,
    grid: ArrayLike,
    density: ArrayLike,
    *,
    names: Sequence[str] | None = None,
    bins: int = 50,
    ax: Axes | None = None,
) -> Axes:
    """Histogram of cosines (N,) under the density (G,), or (L, G) for L laws, on the grid (G,).

    Cosines are between an activation and the weight of its class; a density is per unit of cosine,
    as a law's marginal of <mu, x>. Seo et al. 2021: von Mises-Fisher around mu = w_i / |w_i|.

    Raises: ValueError if an array has another shape or is not finite, a cosine lies outside
    [-1, 1], the grid does not increase, a density is negative or the names are not L.

    >>> ax = plot_cosine_marginal([0.2, 0.5, 0.6], [-1.0, 0.0, 1.0], [0.5, 0.5, 0.5])
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('cosine to the class weight', 'density (per unit of cosine)')
    """
    seen, knots, curves = _checked(cosines, grid, density)
    if names is None:
        names = ["law"] if len(curves) == 1 else [f"law {index}" for index in range(len(curves))]
    if len(names) != len(curves):
        raise ValueError(f"names must hold {len(curves)} names, got {len(names)}")
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    ax = new_axes(4.4, 3.0) if ax is None else ax
    tidy(ax, xlabel="cosine to the class weight", ylabel="density (per unit of cosine)")
    ax.hist(seen, bins=bins, density=True, color=PALE, label=f"activations (N = {len(seen)})")
    for index, (name, curve) in enumerate(zip(shorten(names, 28), curves, strict=True)):
        color = INK if len(curves) == 1 else LINES[index % len(LINES)]
        dashes = DASHES[index % len(DASHES)]
        ax.plot(knots, curve, color=color, linestyle=dashes, linewidth=1.5, label=name)
    ax.set_xlim(min(knots[0], seen.min()), max(knots[-1], seen.max()))
    ax.set_ylim(bottom=0.0)
    ax.legend(fontsize=TICK_SIZE, frameon=False, loc="best")
    return ax


def _checked(
    cosines: ArrayLike, grid: ArrayLike, density: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Cosines (N,), grid (G,) and densities (L, G), or a ValueError in words."""
    seen = finite_array("cosines", cosines, "N")
    if np.abs(seen).max() > 1.0 + ROUNDING:
        raise ValueError(f"cosines must lie in [-1, 1], got {seen[np.abs(seen).argmax()]:g}")
    knots = finite_array("grid", grid, "G")
    if len(knots) < 2 or np.any(np.diff(knots) <= 0.0):
        raise ValueError("grid must hold at least two strictly increasing cosines")
    shape = (len(knots),) if np.ndim(density) == 1 else ("L", len(knots))
    curves = np.atleast_2d(finite_array("density", density, *shape))  # (L, G)
    if curves.min() < 0.0:
        raise ValueError(f"density must not be negative, got {curves.min():g}")
    return seen, knots, curves
