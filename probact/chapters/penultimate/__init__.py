"""Chapter: what the penultimate activations are distributed like (Seo, Lee & Han 2021)."""

from probact.chapters.penultimate.figures import (
    circle_picture,
    concentration_picture,
    cosine_picture,
    law_picture,
    relations_picture,
    samples_picture,
    stages_picture,
)
from probact.chapters.penultimate.measures import measure, numbers
from probact.chapters.penultimate.words import (
    departures,
    law_table,
    loo_table,
    other_networks_table,
    readings_table,
    use_of_samples,
    verdict,
    what_was_done,
)
from probact.study import Block, Chapter, Study, Text

__all__ = ["ORDER", "write"]

ORDER = 1


def write(study: Study) -> Chapter:
    """Fit, compare, sample and draw; under a minute on two cores for the digits."""
    m = measure(study)
    names = study.class_names
    blocks: tuple[Block, ...] = (
        Text(what_was_done(m, study)),
        circle_picture(m.planar.net, names),
        stages_picture(m.planar.net, names),
        Text(verdict(m)),
        law_picture(m.wide),
        law_table(m),
        loo_table(m.loo),
        cosine_picture(m.wide),
        concentration_picture(m, names),
        Text(departures(m)),
        readings_table(m),
        relations_picture(m.relations.probs, names),
        Text(use_of_samples(m)),
        samples_picture(m, names),
        *other_networks_table(),
    )
    arrays = {
        "sampled_activations": m.samples.numpy(),
        "class_relations": m.relations.probs.numpy(),
    }
    return Chapter(
        "Penultimate activations", blocks, numbers(m), {"posterior": m.posterior}, arrays
    )
