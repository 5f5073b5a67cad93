"""Chapter: clusters of activations, without being told their number (Jamroz et al. 2020)."""

from probact.chapters.mixture.figures import samples_picture, similarity_picture
from probact.chapters.mixture.measures import measure, numbers
from probact.chapters.mixture.words import (
    clusters_table,
    complexity_words,
    density_table,
    density_words,
    partition_words,
    what_was_done,
)
from probact.study import Block, Chapter, Study, Text

__all__ = ["ORDER", "write"]

ORDER = 2


def write(study: Study) -> Chapter:
    """Sample the mixture, compare clusters with classes, score, sample; half a minute."""
    m = measure(study)
    names = study.class_names
    blocks: tuple[Block, ...] = (
        Text(what_was_done(m, study)),
        Text(partition_words(m)),
        similarity_picture(m),
        clusters_table(m, names),
        Text(density_words(m)),
        density_table(m),
        samples_picture(m, names),
        Text(complexity_words(m)),
    )
    arrays = {"mixture_samples": m.samples.numpy(), "mixture_partition": m.partition.numpy()}
    return Chapter("Clusters of activations", blocks, numbers(m), {"mixture": m.posterior}, arrays)
