"""The chapter's pictures."""

from collections.abc import Sequence

from probact import plots
from probact.chapters.mixture.measures import Measures
from probact.plots.style import figure_of
from probact.study import Picture

__all__ = ["samples_picture", "similarity_picture"]


def similarity_picture(m: Measures) -> Picture:
    """How often two images share a cluster."""
    ax = plots.plot_similarity(m.similarity.numpy(), m.partition.numpy())
    caption = (
        "Share of posterior draws in which two images are in one cluster; images in the order of "
        "the point estimate, whose clusters are outlined."
    )
    return Picture("similarity", caption, figure_of(ax))


def samples_picture(m: Measures, class_names: Sequence[str]) -> Picture:
    """Sampled beside observed activations, in the first two principal axes."""
    ax = plots.plot_projected_activations(
        m.scored[:, :2].numpy(),
        m.scored_labels.numpy(),
        m.samples[:, :2].numpy(),
        m.sample_labels.numpy(),
        class_names=class_names,
        unit="activation",
    )[0]
    caption = (
        "Activations of the other half and draws from the mixture's predictive law, in the first "
        "two principal axes; draws are coloured by the class that the network's head gives them."
    )
    return Picture("mixture_samples", caption, figure_of(ax))
