"""What the chapter measures on the activation patterns of the wide network.

Symbols: a bit a unit and input, 1 where its pre-activation is positive; p_i the share of held-out
images that set bit i; d Hamming distance of two patterns; VR the variance of d over that of
independent bits.
"""

import copy
import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from probact.analysis.patterns import (
    BernoulliTest,
    Constellations,
    PredictiveCheck,
    bernoulli_test,
    collect,
    constellations,
    dependence_test,
    pattern_at,
    predictive_check,
)
from probact.analysis.patterns.probability_law import ProbabilityLaw
from probact.analysis.patterns.score_moments import score_moments
from probact.analysis.regions import region
from probact.inference import SamplingWarning, draws, sample
from probact.models import BetaBernoulliPatterns, PatternMixture
from probact.study import Study

__all__ = ["LayerPatterns", "Measures", "Radius", "measure", "numbers"]

_IMAGES = 400  # whose patterns are compared
_UNITS = 64  # of the last layer, in the models
_RADII = 5  # images whose region is worked out
_MOST_ENTRIES = 4e7  # rows times inputs of a region
_DRAWS, _TUNE, _REPLICATES = 200, 100, 100


class LayerPatterns(NamedTuple):
    """The bits of one gate on held-out images."""

    name: str
    probability: Tensor  # (n,)
    law: ProbabilityLaw  # at the measured correlation
    dead: float
    always_on: float
    test: BernoulliTest
    variance_ratio: float


class Radius(NamedTuple):
    """How much noise leaves a pattern as it is, and an image's class as the network sees it."""

    label: int
    l2: float
    linf: float
    flipped: float  # share of noise of twice the l2 radius that changes the pattern


class Measures(NamedTuple):
    """Everything the chapter shows."""

    layers: tuple[LayerPatterns, ...]
    groups: Constellations
    num_images: int
    radii: tuple[Radius, ...]
    pixel_range: float
    check: dict[str, PredictiveCheck]  # by model
    probs: Tensor  # (C, units) posterior means
    sizes: Tensor  # (C,)
    purity: float  # share of images of the class matched to their component
    num_occupied: float
    posterior: Any


def measure(study: Study) -> Measures:
    """Record, test, compare, model."""
    net = copy.deepcopy(study.wide.net).cpu().double().eval()
    chosen = torch.randperm(
        len(study.held_out.labels), generator=torch.Generator().manual_seed(study.seed)
    )[:_IMAGES]
    x = study.held_out.floats(chosen).double()
    labels = study.held_out.labels[chosen]
    moments = score_moments(net, x)
    packed = collect(net, x)
    layers = []
    for gate, (name, bits) in zip(moments, packed.each_layer(), strict=True):
        p = gate.probability
        layers.append(
            LayerPatterns(
                name=name,
                probability=p,
                law=gate.law,
                dead=float((p == 0).double().mean()),
                always_on=float((p == 1).double().mean()),
                test=bernoulli_test(bits),
                variance_ratio=dependence_test(bits).variance_ratio,
            )
        )
    study.say(f"patterns of {packed.num_bits} units on {len(x)} held-out images")
    groups = constellations(packed, seed=study.seed)
    found = (_radius(net, x[i], int(labels[i])) for i in range(min(_RADII, len(x))))
    radii = tuple(radius for radius in found if radius is not None)
    study.say(f"linear regions of {len(radii)} images")
    last = packed.layer(layers[-1].name).bits()
    modelled = _model(last, labels, study)
    return Measures(
        tuple(layers),
        groups,
        len(x),
        radii,
        float(x.max() - x.min()),
        *modelled,
    )


def _radius(net: torch.nn.Module, image: Tensor, label: int) -> Radius | None:
    """None for a region too large for a short chapter."""
    pattern = pattern_at(net, image.unsqueeze(0))
    bits = pattern.bits(choices=True).shape[1]
    if bits * image.numel() > _MOST_ENTRIES:
        return None
    found = region(net, image).noise_radius(image.flatten())
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(200, *image.shape, dtype=image.dtype, generator=generator)
    noise = noise / noise.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
    moved = pattern_at(net, image + 2.0 * found.l2 * noise)
    return Radius(label, found.l2, found.linf, float((~pattern.matches(moved)).double().mean()))


def _model(
    bits: Tensor, labels: Tensor, study: Study
) -> tuple[dict[str, PredictiveCheck], Tensor, Tensor, float, float, Any]:
    """Independent units and latent classes, checked against the patterns that they were given."""
    varying = (bits.any(0) & ~bits.all(0)).nonzero().squeeze(1)
    order = torch.randperm(len(varying), generator=torch.Generator().manual_seed(study.seed))
    a = bits[:, varying[order[:_UNITS]]]
    classes = len(study.class_names)
    mixture = PatternMixture(classes, a.shape[1])
    with warnings.catch_warnings():  # the page says how the chains agree
        warnings.simplefilter("ignore", SamplingWarning)
        posterior = sample(
            mixture, a, draws=_DRAWS, tune=_TUNE, chains=2, seed=study.seed, progress=False
        )
    study.say(f"latent classes of {a.shape[1]} units sampled")
    alone = BetaBernoulliPatterns.from_data(a)
    replicates = {
        "independent units": alone.replicates(a, len(a), max_draws=_REPLICATES, seed=study.seed),
        f"{classes} latent classes": mixture.replicates(
            posterior, len(a), max_draws=_REPLICATES, seed=study.seed
        ),
    }
    check = {name: predictive_check(a, drawn) for name, drawn in replicates.items()}
    z = draws(posterior, "z").long()  # (S, N)
    table = torch.zeros(classes, classes)
    for row in z[:: max(1, len(z) // 50)]:
        table.index_put_((row, labels.cpu()), torch.ones(len(row)), accumulate=True)
    rows, columns = linear_sum_assignment(-table.numpy())
    occupied = np.mean([len(row.unique()) for row in z])
    return (
        check,
        draws(posterior, "probs").mean(0),
        draws(posterior, "weights").mean(0),
        float(table[rows, columns].sum() / table.sum()),
        float(occupied),
        posterior,
    )


def numbers(m: Measures) -> dict[str, Any]:
    """The chapter's part of numbers.json."""
    return {
        "layers": {
            layer.name: {
                "units": len(layer.probability),
                "mean": float(layer.probability.mean()),
                "variance": float(layer.probability.var(correction=0)),
                "variance_by_law": layer.law.variance,
                "correlation": layer.law.correlation,
                "dead": layer.dead,
                "always_on": layer.always_on,
                "variance_ratio": layer.variance_ratio,
            }
            for layer in m.layers
        },
        "constellations": {
            "score": m.groups.score,
            "fair": m.groups.fair,
            "matched": m.groups.matched,
        },
        "noise_radius": [radius._asdict() for radius in m.radii],
        "checks": {name: check.to_frame().to_dict("index") for name, check in m.check.items()},
        "purity": m.purity,
        "occupied": m.num_occupied,
    }
