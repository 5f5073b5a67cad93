"""Chapter: the 0/1 code of the network, what it says, and models of it."""

from probact.chapters.patterns.figures import components_picture, laws_picture
from probact.chapters.patterns.measures import measure, numbers
from probact.chapters.patterns.words import (
    checks_table,
    groups_words,
    layers_table,
    models_words,
    radius_words,
    what_was_done,
)
from probact.study import Block, Chapter, Study, Text

__all__ = ["ORDER", "write"]

ORDER = 6


def write(study: Study) -> Chapter:
    """Record patterns, test them, measure regions, fit models of patterns; a few seconds."""
    m = measure(study)
    blocks: tuple[Block, ...] = (
        Text(what_was_done(m)),
        layers_table(m),
        laws_picture(m),
        Text(groups_words(m)),
        Text(radius_words(m)),
        Text(models_words(m)),
        checks_table(m),
        components_picture(m),
    )
    arrays = {
        f"activation_probability_{layer.name}": layer.probability.numpy() for layer in m.layers
    }
    posteriors = {"patterns": m.posterior}
    return Chapter("Activation patterns", blocks, numbers(m), posteriors, arrays)
