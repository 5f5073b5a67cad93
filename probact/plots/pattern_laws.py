"""How often units are on, layer by layer, and the components of a mixture of patterns."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from probact.plots.arrays import finite_array
from probact.plots.style import new_axes, new_row

__all__ = ["plot_component_probabilities", "plot_probability_laws"]


def plot_probability_laws(
    probabilities: Mapping[str, ArrayLike],
    grid: ArrayLike,
    laws: Mapping[str, ArrayLike],
    *,
    axes: list[Axes] | None = None,
) -> list[Axes]:
    """Distribution function of the p (n,) of each layer beside a law (G,) on the grid (G,).

    A panel a layer, by name; panels without a law are left without.

    Raises: ValueError for arrays that are not finite or do not fit, or another number of axes.

    >>> axes = plot_probability_laws({"1": [0.2, 0.7]}, [0.0, 1.0], {"1": [0.0, 1.0]})
    >>> [ax.get_title() for ax in axes]
    ['1']
    """
    x = finite_array("grid", grid, "G")
    if not probabilities:
        raise ValueError("probabilities must name a layer")
    axes = axes or new_row(len(probabilities), 2.6 * len(probabilities) + 0.6, 2.9)
    if len(axes) != len(probabilities):
        raise ValueError(f"axes must be {len(probabilities)}, got {len(axes)}")
    for ax, (name, values) in zip(axes, probabilities.items(), strict=True):
        p = np.sort(finite_array("probabilities", values, "n"))
        ax.step([0.0, *p, 1.0], [0.0, *np.arange(1, len(p) + 1) / len(p), 1.0], where="post")
        if name in laws:
            law = finite_array("laws", laws[name], "G")
            if len(law) != len(x):
                raise ValueError(f"the law of {name!r} has {len(law)} values, the grid {len(x)}")
            ax.plot(x, law, "--", color="0.3")
        ax.set(title=name, xlim=(0, 1), ylim=(0, 1), xlabel="p of a unit")
    axes[0].set_ylabel("share of units")
    return axes


def plot_component_probabilities(
    probs: ArrayLike, weights: ArrayLike, *, ax: Axes | None = None
) -> Axes:
    """Probabilities (C, n) of units, a row a component, named by its weight (C,).

    Raises: ValueError for arrays that are not finite, outside [0, 1], or do not fit.

    >>> ax = plot_component_probabilities([[0.1, 0.9]], [1.0])
    >>> ax.get_yticklabels()[0].get_text()
    '1.00'
    """
    table = finite_array("probs", probs, "C", "n")
    shares = finite_array("weights", weights, "C")
    if len(shares) != len(table) or table.min() < 0 or table.max() > 1:
        raise ValueError(f"probs (C, n) in [0, 1] and weights (C,) must fit, got {table.shape}")
    ax = ax or new_axes(7.0, 0.28 * len(table) + 1.2)
    image = ax.imshow(table, aspect="auto", cmap="viridis", vmin=0.0, vmax=1.0)
    ax.set_yticks(range(len(table)), [f"{share:.2f}" for share in shares])
    ax.set(xlabel="unit", ylabel="weight of component")
    figure = ax.get_figure()
    assert figure is not None
    figure.colorbar(image, ax=ax, label="probability to be on")
    return ax
