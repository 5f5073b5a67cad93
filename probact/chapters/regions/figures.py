"""The chapter's pictures."""

from typing import Any

import torch

from probact import plots
from probact.chapters.regions.measures import BETA, BETAS, SHARP, Measures
from probact.plots.regions import plot_against_beta, plot_region_prior
from probact.plots.style import figure_of
from probact.study import Picture

__all__ = ["maps_picture", "prior_picture", "softened_picture"]


def prior_picture(m: Measures) -> Picture:
    """What the weights say against what images do."""
    prior: dict[str, Any] = {}
    active: dict[str, Any] = {}
    for layer in m.layers:
        assert layer.prior.frequency is not None
        prior[layer.name] = layer.prior.probs[:, 1].numpy()
        active[layer.name] = layer.prior.frequency[:, 1].numpy()
    caption = (
        f"A dot a unit: the prior of its active region at beta = {BETA}, by its weights alone, "
        "and the share of patches of held-out images that lie in it. On the dashed line the two "
        "agree."
    )
    return Picture("region_prior", caption, figure_of(plot_region_prior(prior, active)))


def maps_picture(m: Measures) -> Picture:
    """Where in an image the units of a layer are unsure."""
    maps = torch.stack([layer.maps for layer in m.layers], 1)
    white = float(maps.max())
    maps = (maps / white).unsqueeze(2).expand(-1, -1, m.images.shape[1], -1, -1)
    images = torch.cat([m.images.unsqueeze(1), maps.to(m.images)], 1)
    ax = plots.image_grid(
        images.clamp(0.0, 1.0).numpy(),
        groups=[("image", 1), ("entropy by layer, first to last", len(m.layers))],
        xlabel="",
        ylabel="held-out image",
    )
    caption = (
        "Held-out images, and at each position the entropy of the units' regions at beta = "
        f"{SHARP}, mean over the units: black is sure, white {white:.2f} nats, the largest here. "
        "Layers behind a pooling have fewer positions."
    )
    return Picture("region_entropy", caption, figure_of(ax))


def softened_picture(m: Measures) -> Picture:
    """Accuracy against beta."""
    curves: dict[str, tuple[float, ...]] = {}
    hard: dict[str, float] = {}
    for name, net in m.nets.items():
        curves[f"accuracy, {name}"] = net.accuracy
        curves[f"same class as hard, {name}"] = net.same_class
        hard |= {f"accuracy, {name}": net.hard, f"same class as hard, {name}": 1.0}
    ax = plot_against_beta(BETAS, curves, ylabel="share of held-out images", hard=hard)
    ax.set_ylim(0.0, 1.02)
    caption = (
        "Both networks with every ReLU and max-pooling softened at beta, weights unchanged; rings "
        "at 1 are the networks themselves."
    )
    return Picture("softened_accuracy", caption, figure_of(ax))
