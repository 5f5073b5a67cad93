"""What the chapter measures on the autoencoders.

Symbols: x (N, C, H, W) held-out images, y (N,) their classes; z (N, d) codes.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from probact.analysis import (
    FrechetDistance,
    Memorisation,
    PrecisionRecall,
    frechet_distance,
    memorisation,
    precision_recall,
)
from probact.chapters.codes.networks import Networks, train_networks
from probact.models import SphereVAE
from probact.models.image_rows import binarised
from probact.networks import capture
from probact.nn import accuracy
from probact.study import Study

__all__ = ["Measures", "Mean", "Quality", "measure", "numbers"]

_IMAGES = 1000  # scored and sampled at most
_DRAWS = 200  # of importance sampling
_SHOWN_CLASSES, _SHOWN = 12, 8
_PATHS, _POINTS = 5, 9


class Mean(NamedTuple):
    """Mean over images, nats, and its standard error."""

    value: float
    standard_error: float


class Quality(NamedTuple):
    """How images compare with held-out ones."""

    frechet: FrechetDistance  # features of the wide network, to the scoring half
    shares: PrecisionRecall  # the same features
    copies: Memorisation | None  # pixels, against the training images; None if too few held out


class Measures(NamedTuple):
    """Everything the chapter shows."""

    networks: Networks
    given_label: Mean  # log p(x | y) of HVAE-L
    marginal: Mean  # log p(x) of HVAE-L
    uniform: Mean  # log p(x) of HVAE
    gain: Mean  # of HVAE-L over HVAE, image by image
    integration_error: float  # of the means, from importance sampling
    bayes_accuracy: float  # HVAE-L read as a classifier
    classifier_accuracy: float  # the classifier behind the prior, on the same black-white pixels
    sampled_class: float  # share of sampled images that the wide network gives their class
    qualities: dict[str, Quality]
    num_compared: int  # images a side in the Frechet distances
    num_scored: int
    real: Tensor  # (R, 4, C, H, W), a row a class
    centres: Tensor  # (R, 1, C, H, W), decoded class directions
    samples: Tensor  # (R, 8, C, H, W)
    paths: Tensor  # (P, 1 + points + 1, C, H, W): image, geodesic, image


def measure(study: Study) -> Measures:
    """Train, score, sample."""
    networks = train_networks(study)
    learned, uniform = networks.learned, networks.uniform
    chosen = _some(len(study.held_out.labels), study.seed)
    x, y = study.held_out.floats(chosen), study.held_out.labels[chosen]
    classes = learned.class_log_likelihood(x, num_samples=_DRAWS, seed=study.seed)
    plain = uniform.log_likelihood(x, num_samples=_DRAWS, seed=study.seed)
    by_class, log_p = classes.log_likelihood.cpu(), plain.log_likelihood.cpu()
    log_prior = learned.prior.class_probs.double().log().cpu()
    marginal = torch.logsumexp(by_class + log_prior, 1)
    study.say(f"log-likelihood of {len(x)} held-out images by importance sampling")
    labels = torch.arange(len(study.class_names)).repeat(math.ceil(len(x) / len(log_prior)))
    labels = labels[: len(x)]
    drawn = {
        "HVAE-L": _decoded(learned, labels, study.seed),
        "HVAE": _decoded(uniform, None, study.seed, len(x)),
    }
    device = next(study.wide.net.parameters()).device
    binary = binarised(x.to(device), torch.Generator(device).manual_seed(study.seed))
    return Measures(
        networks=networks,
        given_label=_mean(by_class.gather(1, y[:, None])[:, 0]),
        marginal=_mean(marginal),
        uniform=_mean(log_p),
        gain=_mean(marginal - log_p),
        integration_error=max(plain.mean_monte_carlo_error, _own_error(classes, y)),
        bayes_accuracy=float(((by_class + log_prior).argmax(1) == y).double().mean()),
        classifier_accuracy=accuracy(networks.classifier, binary, y.to(device)),
        sampled_class=accuracy(study.wide.net, drawn["HVAE-L"].to(device), labels.to(device)),
        qualities=_qualities(study, drawn),
        num_compared=_num_compared(study),
        num_scored=len(x),
        real=_by_class(study, 4),
        centres=learned.decode(learned.prior.directions).cpu()[:_SHOWN_CLASSES, None],
        samples=_sampled_by_class(study, learned),
        paths=_paths(study, learned),
    )


def _some(size: int, seed: int) -> Tensor:
    """Which held-out images are scored: all, or a thousand at random."""
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    return order[:_IMAGES].sort().values


def _mean(values: Tensor) -> Mean:
    return Mean(float(values.mean()), float(values.std()) / len(values) ** 0.5)


def _own_error(estimate: Any, y: Tensor) -> float:
    """Monte Carlo error of the mean over images of log p(x | y)."""
    own = estimate.monte_carlo_error.cpu().gather(1, y[:, None])
    return float(own.square().sum().sqrt()) / len(y)


def _decoded(vae: SphereVAE, labels: Tensor | None, seed: int, count: int | None = None) -> Tensor:
    """Images of codes from the prior, on the CPU."""
    return vae.decode(vae.sample_codes(labels, count, seed=seed)).cpu()


def _num_compared(study: Study) -> int:
    return min(len(study.wide.fitting.x), len(study.wide.scoring.x), _IMAGES)


def _qualities(study: Study, drawn: dict[str, Tensor]) -> dict[str, Quality]:
    """Of both samples, and of real images as the floor: one held-out half against the other."""
    size = _num_compared(study)
    real = study.wide.scoring.x[:size]
    train = study.train.floats(slice(0, 20 * _IMAGES))
    held_out = study.held_out.floats(slice(0, _IMAGES))
    found = {}
    for name, images in drawn.items():
        x = capture(study.wide.net, images).x[:size]
        copies = memorisation(images, train, held_out) if len(held_out) >= 99 else None
        found[name] = Quality(frechet_distance(x, real), precision_recall(real, x), copies)
    other = study.wide.fitting.x[:size]
    floor = frechet_distance(other, real), precision_recall(real, other)
    return {"real images": Quality(*floor, None), **found}


def _members(study: Study, label: int, count: int) -> Tensor:
    """The first held-out images of a class, from the first again where there are too few."""
    rows = (study.held_out.labels == label).nonzero().flatten()
    return study.held_out.floats(rows[torch.arange(count) % len(rows)])


def _by_class(study: Study, count: int) -> Tensor:
    shown = range(min(len(study.class_names), _SHOWN_CLASSES))
    return torch.stack([_members(study, label, count) for label in shown])


def _sampled_by_class(study: Study, vae: SphereVAE) -> Tensor:
    shown = min(len(study.class_names), _SHOWN_CLASSES)
    labels = torch.arange(shown).repeat_interleave(_SHOWN)
    images = _decoded(vae, labels, study.seed)
    return images.reshape(shown, _SHOWN, *images.shape[1:])


def _paths(study: Study, vae: SphereVAE) -> Tensor:
    """Geodesics from an image of class 2i to one of class 2i + 1, decoded."""
    device = next(vae.parameters()).device
    rows = []
    for i in range(min(_PATHS, len(study.class_names) // 2)):
        ends = torch.cat([_members(study, label, 1) for label in (2 * i, 2 * i + 1)])
        start, end = ends.to(device)
        between = vae.decode(vae.interpolate(start, end, _POINTS)).cpu()
        rows.append(torch.cat([ends[:1], between, ends[1:]]))
    return torch.stack(rows)


def numbers(m: Measures) -> dict[str, Any]:
    """The chapter's part of numbers.json."""
    means = ("given_label", "marginal", "uniform", "gain")
    shares = (
        "integration_error",
        "bayes_accuracy",
        "classifier_accuracy",
        "sampled_class",
        "num_compared",
        "num_scored",
    )
    return {
        **{name: getattr(m, name)._asdict() for name in means},
        **{name: getattr(m, name) for name in shares},
        "qualities": {name: _quality(q) for name, q in m.qualities.items()},
    }


def _quality(q: Quality) -> dict[str, float]:
    found = {
        "frechet": q.frechet.value,
        "frechet_standard_error": q.frechet.standard_error,
        "precision": q.shares.precision.mean,
        "recall": q.shares.recall.mean,
    }
    if q.copies is None:
        return found
    return found | {"copies_z": q.copies.z_score, "near_share": q.copies.near_share}
