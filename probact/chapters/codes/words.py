"""The chapter's paragraphs and tables."""

import math

from probact.chapters.codes.measures import Mean, Measures, Quality
from probact.chapters.codes.networks import CONCENTRATION, DIM
from probact.study import Study, Table

__all__ = [
    "bayes_words",
    "likelihood_table",
    "likelihood_words",
    "quality_table",
    "quality_words",
    "what_was_done",
]


def what_was_done(m: Measures, study: Study) -> str:
    """The set-up."""
    return (
        "Two variational autoencoders whose codes are unit vectors of "
        f"R^{DIM} were trained on {len(study.train.labels)} images, {m.networks.epochs} epochs: "
        "HVAE with a uniform prior, and HVAE-L, in which the codes of class y follow a von "
        f"Mises-Fisher law around w_y / |w_y| with concentration {CONCENTRATION:g}. The w_y are "
        "the rows of the last layer of a classifier with the encoder's architecture. So images of "
        "a class can be drawn: a code from its law, then the decoder."
    )


def likelihood_words(m: Measures, study: Study) -> str:
    """Whether the learned prior describes images better."""
    entropy = math.log(len(study.class_names))
    gain, error = m.gain
    if abs(gain) < 2.0 * error:
        verdict = f"do not tell the two apart ({gain:+.2f} ± {error:.2f})"
    else:
        better = "HVAE-L" if gain > 0 else "HVAE"
        verdict = f"favour {better} by {abs(gain):.2f} ± {error:.2f}, image by image"
    seeds = " On the digits the difference has changed sign with it."
    return (
        f"Scores are mean log-likelihoods of {m.num_scored} held-out images in nats, by "
        "importance sampling from the encoder; grey values are probabilities, and pixels were "
        "drawn black or white once, the same for both. HVAE-L gives log p(x | y), label known; "
        f"that alone can be worth {entropy:.2f}. With the label summed out the scores {verdict}. "
        f"Errors are those of the choice of images; sampling adds {m.integration_error:.3f}. Each "
        "network was trained once: how far another seed would move the scores is not in them."
        + (seeds if study.dataset == "digits" else "")
    )


def likelihood_table(m: Measures) -> Table:
    """Held-out log-likelihoods."""
    rows = (
        _row("HVAE-L, log p(x | y)", m.given_label),
        _row("HVAE-L, log p(x)", m.marginal),
        _row("HVAE, log p(x)", m.uniform),
    )
    caption = "Held-out log-likelihood, nats an image."
    return Table(caption, ("model", "mean", "standard error"), rows)


def _row(name: str, mean: Mean) -> tuple[str, ...]:
    return name, f"{mean.value:.2f}", f"{mean.standard_error:.2f}"


def bayes_words(m: Measures) -> str:
    """The generative model as a classifier, and whether samples are of their class."""
    return (
        "Read backwards by Bayes' rule, p(y | x) in proportion to p(x | y) p(y), HVAE-L names the "
        f"class of {m.bayes_accuracy:.1%} of the black and white images; the classifier behind "
        f"its prior, {m.classifier_accuracy:.1%} of the same. The wide network of the chapters "
        f"before gives {m.sampled_class:.1%} of the images drawn for a class to that class: a "
        f"concentration of {CONCENTRATION:g} in R^{DIM} is a wide law, and classes overlap."
    )


def quality_words(m: Measures) -> str:
    """How the samples compare with real images."""
    own, plain = m.qualities["HVAE-L"], m.qualities["HVAE"]
    floor = m.qualities["real images"]
    return (
        "The Frechet distance compares mean and covariance of the wide network's features, "
        f"{m.num_compared} images a side; two halves of the held-out images are "
        f"{floor.frechet.value:.2f} apart, HVAE-L's samples {own.frechet.value:.1f} ± "
        f"{own.frechet.standard_error:.1f}, HVAE's {plain.frechet.value:.1f} ± "
        f"{plain.frechet.standard_error:.1f}. Precision is the share of samples among real "
        "images, recall the share of real images among samples, by third neighbours in the same "
        f"features.{_copies(own)} Samples are compared as decoded, without pixel noise; the "
        "features are of a network for these classes and say nothing about other properties."
    )


def _copies(quality: Quality) -> str:
    """Whether samples are nearer to training images than new images are."""
    if quality.copies is None:
        return ""
    z, near = quality.copies.z_score, quality.copies.near_share
    expected = quality.copies.near_share_expected
    if z < -3.0:
        verdict = (
            "nearer to training images than held-out images are: copies, or means of many images,"
            " which are near to all of them"
        )
    elif z > 3.0:
        verdict = "no copies, but farther from training images than held-out images are"
    else:
        verdict = "as far from training images as held-out images are"
    return (
        f" In pixels HVAE-L's samples are {verdict} (z = {z:.1f}); {near:.1%} of them are nearer "
        f"than the {expected:.1%} quantile of held-out images."
    )


def quality_table(m: Measures) -> Table:
    """Frechet distance, precision, recall, copies."""
    header = ("", "Frechet distance", "precision", "recall", "z of distances to training images")
    rows = tuple(
        (
            name,
            f"{q.frechet.value:.2f} ± {q.frechet.standard_error:.2f}",
            f"{q.shares.precision.mean:.2f}",
            f"{q.shares.recall.mean:.2f}",
            "" if q.copies is None else f"{q.copies.z_score:+.1f}",
        )
        for name, q in m.qualities.items()
    )
    caption = (
        "Samples against the scoring half of the held-out images; z far below zero means copies. "
        "Real images: the other half, whose distance is what chance makes of none."
    )
    return Table(caption, header, rows)
