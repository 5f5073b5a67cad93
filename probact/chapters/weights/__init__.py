"""Chapter: the weights of the head, class by class, and what parts of them see."""

from probact.chapters.weights.figures import cam_picture, density_picture, rates_picture
from probact.chapters.weights.measures import measure, numbers
from probact.chapters.weights.words import (
    families_table,
    families_words,
    maps_words,
    rates_words,
    split_table,
    split_words,
    what_was_done,
)
from probact.study import Block, Chapter, Study, Text

__all__ = ["ORDER", "write"]

ORDER = 5


def write(study: Study) -> Chapter:
    """Train a head, fit its weights, sample their rates, split its neurons; a few seconds."""
    m = measure(study)
    blocks: tuple[Block, ...] = (
        Text(what_was_done(m)),
        families_table(m),
        Text(families_words(m)),
        density_picture(m),
        Text(rates_words(m)),
        rates_picture(m),
        Text(split_words(m)),
        split_table(m),
        Text(maps_words(m)),
        cam_picture(m),
    )
    arrays = {"node_maps": m.maps.numpy(), "head_weight": m.weight.numpy()}
    return Chapter("The head's weights", blocks, numbers(m), {"weights": m.posterior}, arrays)
