"""The chapter's pictures."""

import numpy as np

from probact.chapters.patterns.measures import Measures
from probact.plots.pattern_models import plot_component_probabilities
from probact.plots.patterns import plot_probabilities
from probact.plots.style import figure_of, new_row
from probact.study import Picture

__all__ = ["components_picture", "laws_picture"]


def laws_picture(m: Measures) -> Picture:
    """Distribution of p in each layer, against the law of a random layer."""
    grid = np.linspace(0.002, 0.998, 250)
    axes = new_row(len(m.layers), 2.8 * len(m.layers) + 0.6, 2.9)
    for ax, layer in zip(axes, m.layers, strict=True):
        proper = 0.0 < layer.law.correlation < 1.0
        density = layer.law.density(grid).numpy() if proper else None
        label = f"law of c = {layer.law.correlation:.2f}"
        plot_probabilities(
            layer.probability.numpy(), grid, density, title=layer.name, label=label, ax=ax
        )
    caption = (
        "Density over units of p, the share of held-out images that switch a unit on, gate by "
        "gate, and the law of a random layer at the measured correlation c."
    )
    return Picture("activation_probabilities", caption, figure_of(axes[0]))


def components_picture(m: Measures) -> Picture:
    """The probabilities of every component."""
    order = m.sizes.argsort(descending=True)
    units = m.probs[order[0]].argsort(descending=True)
    ax = plot_component_probabilities(m.probs[order][:, units].numpy(), m.sizes[order].numpy())
    caption = (
        "Posterior mean probability of each unit (columns, by the first row) to be on, in each "
        "component of the mixture (rows, with their weights)."
    )
    return Picture("pattern_components", caption, figure_of(ax))
