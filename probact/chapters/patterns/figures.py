"""The chapter's pictures."""

import numpy as np

from probact.chapters.patterns.measures import Measures
from probact.plots.pattern_laws import plot_component_probabilities, plot_probability_laws
from probact.plots.style import figure_of
from probact.study import Picture

__all__ = ["components_picture", "laws_picture"]


def laws_picture(m: Measures) -> Picture:
    """Distribution of p in each layer, against the law of a random layer."""
    grid = np.linspace(0.002, 0.998, 250)
    axes = plot_probability_laws(
        {layer.name: layer.probability.numpy() for layer in m.layers},
        grid,
        {layer.name: layer.law.cdf(grid).numpy() for layer in m.layers},
    )
    caption = (
        "Share of units whose p is at most that on the axis, gate by gate, and the law of a "
        "random layer at the measured correlation (dashed). At 1/2 everywhere a gate would be a "
        "step in the middle; saturated units sit at both ends."
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
