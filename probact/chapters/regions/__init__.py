"""Chapter: regions of layers, and softened networks (Balestriero & Baraniuk 2019)."""

from probact.chapters.regions.figures import maps_picture, prior_picture, softened_picture
from probact.chapters.regions.measures import measure, numbers
from probact.chapters.regions.words import (
    layers_table,
    prior_words,
    softened_words,
    what_was_done,
)
from probact.study import Block, Chapter, Study, Text

__all__ = ["ORDER", "write"]

ORDER = 4


def write(study: Study) -> Chapter:
    """Read the wide network's layers as mixtures, soften both networks; a few seconds."""
    m = measure(study)
    blocks: tuple[Block, ...] = (
        Text(what_was_done(m)),
        layers_table(m),
        Text(prior_words(m)),
        prior_picture(m),
        maps_picture(m),
        Text(softened_words(m)),
        softened_picture(m),
    )
    maps = {f"region_entropy_{i + 1}": layer.maps.numpy() for i, layer in enumerate(m.layers)}
    return Chapter("Regions and how sure they are", blocks, numbers(m), {}, maps)
