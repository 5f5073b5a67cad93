"""What the chapter measures on the head of a network with many average-pooled features.

Symbols: weight (K, n), K classes, n features; m, r, l mode and rates of a class's asymmetric
Laplace law, lambda = (r l)^(1/2), kappa = (r / l)^(1/2); nodes of a class's neurons are named as
in `neuron_split`.
"""

import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from probact.analysis.laplace_fits import (
    ALDFit,
    FamilyComparison,
    GoodnessOfFit,
    compare_families,
    fit_asymmetric_laplace,
    goodness_of_fit,
)
from probact.analysis.laplace_fits.family_fits import TWO_SIDED_FAMILIES
from probact.capturing import Features
from probact.chapters.weights.network import PooledHead, train_pooled_head
from probact.heads import Head
from probact.inference import SamplingWarning, draws, sample
from probact.inference.arviz_bridge import convergence, groups_of
from probact.models.laplace_weights import LaplaceWeights
from probact.models.neuron_split import NeuronTree, keep_only, node_cam, split_tree
from probact.study import Study

__all__ = ["MIN_SIZE", "RATES", "SPLITS", "Kept", "Measures", "measure", "numbers"]

MIN_SIZE = 16  # neurons of a node that is cut once more
RATES = ("scale", "asymmetry")  # sites: 1 / lambda and kappa
SPLITS = (("",), ("+",), ("++",), ("+++",), ("-",), ("--",), ("---",), ("+++", "---"))
_NODES = ("", "+", "++", "+++", "-", "--", "---")  # of the maps
_SHOWN = 6
_DRAWS, _TUNE = 1000, 100
_RANDOM = 20  # choices of as many neurons by chance


class Kept(NamedTuple):
    """The head with some nodes alone, on held-out activations."""

    name: str
    smallest: int  # neurons, over classes
    mean: float
    largest: int
    accuracy: float
    by_chance: tuple[float, float]  # as many neurons at random: mean and standard deviation


class Measures(NamedTuple):
    """Everything the chapter shows."""

    head: PooledHead
    weight: Tensor  # (K, n) float64
    class_names: tuple[str, ...]
    fit: ALDFit
    families: FamilyComparison
    test: GoodnessOfFit
    posterior: Any
    rates: dict[str, tuple[Tensor, Tensor]]  # medians (K,), deviations (K,) of the logarithm
    r_hat: float  # the largest
    tree: NeuronTree
    kept: tuple[Kept, ...]
    images: Tensor  # (images, C, H, W)
    labels: tuple[int, ...]  # their classes
    nodes: tuple[str, ...]
    maps: Tensor  # (images, nodes, h, w)


def measure(study: Study) -> Measures:
    """Train, fit, test, sample, split, map."""
    head, seed = train_pooled_head(study), study.seed
    weight = head.weight.double()
    study.say(f"head of {weight.shape[1]} features: accuracy {head.accuracy:.4f}")
    model = LaplaceWeights(weight, class_names=study.class_names)
    with warnings.catch_warnings():  # the page says what they would
        warnings.simplefilter("ignore", SamplingWarning)
        posterior = sample(model, draws=_DRAWS, tune=_TUNE, seed=seed, progress=False)
    r_hat = convergence(groups_of(posterior)["posterior"])[0]
    logs = {name: draws(posterior, name).log() for name in RATES}  # (S, K)
    study.say(f"rates of {len(weight)} classes' weights sampled")
    tree = split_tree(weight, min_size=MIN_SIZE, max_depth=3)
    images, labels = _some_images(study)
    nodes = tuple(name for name in _NODES if int(tree.sizes(name)[list(labels)].min()) > 0)
    maps = node_cam(head.net, images, torch.tensor(labels), list(nodes), tree=tree, seed=seed)
    study.say(f"maps of {len(nodes)} groups of neurons on {len(images)} images")
    return Measures(
        head=head,
        weight=weight,
        class_names=study.class_names,
        fit=fit_asymmetric_laplace(weight),
        families=compare_families(weight, TWO_SIDED_FAMILIES),
        test=goodness_of_fit(weight, replicates=499, seed=seed),
        posterior=posterior,
        rates={name: (log.median(0).values.exp(), log.std(0)) for name, log in logs.items()},
        r_hat=max(float(values.max()) for values in r_hat.data_vars.values()),
        tree=tree,
        kept=tuple(_kept(head, tree, seed)),
        images=images,
        labels=labels,
        nodes=nodes,
        maps=maps,
    )


def _kept(trained: PooledHead, tree: NeuronTree, seed: int) -> Iterator[Kept]:
    """Of each of SPLITS that every class has."""
    head, (fitting, scoring) = Head("head", trained.weight, trained.bias), trained.features
    generator = Generator().manual_seed(seed)
    for names in SPLITS:
        if any(int(tree.sizes(name).min()) == 0 for name in names):
            continue
        masks = tree.masks(*names)
        counts = masks.sum(1)
        by_chance = []
        for _ in range(_RANDOM if int(counts.min()) < masks.shape[1] else 1):
            rank = torch.rand(masks.shape, generator=generator).argsort(1).argsort(1)
            chosen = rank < counts[:, None]
            by_chance.append(_accuracy(keep_only(head, chosen, features=fitting.x), scoring))
        chance = torch.tensor(by_chance)
        yield Kept(
            name=" and ".join(name or "all" for name in names),
            smallest=int(counts.min()),
            mean=float(counts.double().mean()),
            largest=int(counts.max()),
            accuracy=_accuracy(keep_only(head, masks, features=fitting.x), scoring),
            by_chance=(float(chance.mean()), float(chance.std(correction=0))),
        )


def _accuracy(head: Head, features: Features) -> float:
    assert features.labels is not None
    scores = features.x.to(head.weight) @ head.weight.T
    scores = scores if head.bias is None else scores + head.bias
    return float((scores.argmax(1) == features.labels).double().mean())


def _some_images(study: Study) -> tuple[Tensor, tuple[int, ...]]:
    """The first held-out image of each of the first classes."""
    labels = study.held_out.labels
    classes = labels.unique()[:_SHOWN].tolist()
    rows = torch.tensor([int((labels == k).nonzero()[0]) for k in classes])
    return study.held_out.floats(rows), tuple(classes)


def numbers(m: Measures) -> dict[str, Any]:
    """The chapter's part of numbers.json."""
    behind = (m.families.bic - m.families.bic.amin(-1, keepdim=True)).sum(0) / 2.0
    right, left = m.fit.rates
    return {
        "classes": len(m.weight),
        "accuracy": m.head.accuracy,
        "features": m.weight.shape[1],
        "best_family": m.families.wins(),
        "nats_behind": dict(zip(m.families.families, behind.tolist(), strict=True)),
        "rejected": int(m.test.rejected(0.05).sum()),
        "loc": m.fit.loc.tolist(),
        "rate_right": right.tolist(),
        "rate_left": left.tolist(),
        "posterior_asymmetry": m.rates["asymmetry"][0].tolist(),
        "posterior_error_of_log_asymmetry": m.rates["asymmetry"][1].tolist(),
        "largest_r_hat": m.r_hat,
        "kept": [kept._asdict() for kept in m.kept],
        "nodes": list(m.nodes),
    }
