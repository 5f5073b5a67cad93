"""The chapter's pictures."""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure

from probact import plots
from probact.chapters.codes.measures import Measures
from probact.study import Picture

__all__ = ["paths_picture", "samples_picture"]


def samples_picture(m: Measures, class_names: Sequence[str]) -> Picture:
    """A row a class: real, decoded class direction, sampled."""
    images = torch.cat([m.real, m.centres, m.samples], 1)
    rows, drawn = len(images), m.samples.shape[1]
    ax = plots.image_grid(
        images.numpy(),
        row_names=class_names[:rows],
        groups=[("held out", m.real.shape[1]), ("centre", 1), ("sampled", drawn)],
        xlabel="",
    )
    caption = (
        "Held-out images; the decoded direction of the class, w_y / |w_y|; and decoded draws from "
        "the class's prior. Decoded images are pixel probabilities, so they are smoother."
    )
    if rows < len(class_names):
        caption += f" The first {rows} of {len(class_names)} classes."
    figure = ax.get_figure()
    assert isinstance(figure, Figure)
    return Picture("sampled_images", caption, figure)


def paths_picture(m: Measures, class_names: Sequence[str]) -> Picture:
    """Geodesics between the codes of two images."""
    pairs = [f"{class_names[2 * i]} to {class_names[2 * i + 1]}" for i in range(len(m.paths))]
    ax = plots.image_grid(
        m.paths.numpy(),
        row_names=pairs,
        groups=[("from", 1), ("decoded, at equal angles", m.paths.shape[1] - 2), ("to", 1)],
        xlabel="",
        ylabel="classes",
    )
    caption = "Codes on the shortest path on the sphere between those of two held-out images."
    figure = ax.get_figure()
    assert isinstance(figure, Figure)
    return Picture("geodesics", caption, figure)
