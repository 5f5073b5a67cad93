"""Chapter: images drawn by class, from codes on a sphere (Seo, Lee & Han 2021, section 4.2)."""

from probact.chapters.codes.figures import paths_picture, samples_picture
from probact.chapters.codes.measures import measure, numbers
from probact.chapters.codes.words import (
    bayes_words,
    likelihood_table,
    likelihood_words,
    quality_table,
    quality_words,
    what_was_done,
)
from probact.study import Block, Chapter, Study, Text

__all__ = ["ORDER", "write"]

ORDER = 3


def write(study: Study) -> Chapter:
    """Train two autoencoders, draw from them, score them; under half a minute for the digits."""
    m = measure(study)
    names = study.class_names
    blocks: tuple[Block, ...] = (
        Text(what_was_done(m, study)),
        samples_picture(m, names),
        Text(bayes_words(m)),
        paths_picture(m, names),
        Text(likelihood_words(m, study)),
        likelihood_table(m),
        Text(quality_words(m)),
        quality_table(m),
    )
    arrays = {"sampled_images": m.samples.numpy()}
    return Chapter("Images from codes on a sphere", blocks, numbers(m), {}, arrays)
