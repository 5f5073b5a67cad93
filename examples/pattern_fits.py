"""
What the models of patterns are fitted to
=========================================

The trained perceptron of `pattern_models.py` with the patterns of its last hidden layer, and every
model of them, fitted and drawn from.
"""

import argparse
import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import probact as pa
from probact.analysis.patterns import collect
from probact.inference import SamplingWarning
from probact.models import (
    BetaBernoulliPatterns,
    DichotomisedGaussian,
    IsingPatterns,
    PatternMixture,
)
from probact.nn import train_classifier

__all__ = ["LAYER", "Patterns", "Size", "draw", "fit_models", "patterns"]

LAYER = "4"  # the last ReLU


class Size(NamedTuple):
    """How much of everything."""

    rows: int  # patterns to fit to, and held out
    units: int  # of the layer
    classes: tuple[int, ...]
    draws: int
    replicates: int
    epochs: int
    few: int  # units in the comparison of all models
    steps: int  # of the search for inputs


class Patterns(NamedTuple):
    """Bits (N, n) of the units that vary, to fit to and held out, and where they come from."""

    fit: Tensor
    test: Tensor
    labels: Tensor
    images: Tensor  # (N, C, H, W) of the rows to fit to
    kept: Tensor  # (units,) bool
    net: nn.Module


def patterns(args: argparse.Namespace, size: Size) -> Patterns:
    """Patterns of the last hidden layer of a perceptron, on halves of its training images.

    Training images, as the network's patterns on them are what is modelled, and there are more.
    """
    mnist = args.data == "mnist" and not args.quick
    data = (
        pa.datasets.mnist(args.root, train=True)
        if mnist
        else pa.datasets.digits(train=True, test_fraction=0.05)
    )
    x, y = data.floats(slice(0, 10_000)), data.labels[:10_000]
    torch.manual_seed(args.seed)
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(x[0].numel(), 128), nn.ReLU(), nn.Linear(128, size.units),
        nn.ReLU(), nn.Linear(size.units, 10),
    )  # fmt: skip
    for _ in train_classifier(net, x, y, epochs=size.epochs, seed=args.seed):
        pass
    net.eval()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(args.seed))
    first, second = order[: size.rows], order[size.rows : 2 * size.rows]
    fit, test = (collect(net, x[rows], [LAYER]).bits() for rows in (first, second))
    kept = fit.any(0) & ~fit.all(0)
    return Patterns(fit[:, kept], test[:, kept], y[first], x[first], kept, net)


def fit_models(a: Tensor, size: Size, seed: int) -> dict[str, Any]:
    """Every model, latent classes with their posterior."""
    found: dict[str, Any] = {
        "independent": BetaBernoulliPatterns.from_data(a),
        "normal signs": DichotomisedGaussian.from_data(a, smoothing=1.0),
        "Ising": IsingPatterns.fit(a).model,
    }
    for c in size.classes:
        model = PatternMixture(c, a.shape[1], concentration=1.0 if c == 1 else 0.5)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SamplingWarning)  # R-hat is reported instead
            post = pa.sample(
                model, a.double(), draws=size.draws, tune=size.draws, chains=2, seed=seed,
                progress=False,
            )  # fmt: skip
        found[f"{c} classes"] = model, post
    return found


def draw(models: dict[str, Any], data: Patterns, size: Size, seed: int) -> dict[str, Tensor]:
    """Data sets (S, N, n) of every model."""
    rows, sets, drawn = len(data.fit), size.replicates, {}
    for name, model in models.items():
        if name == "independent":
            drawn[name] = model.replicates(data.fit, rows, max_draws=sets, seed=seed)
        elif name.endswith("classes"):
            if name != "1 classes":
                drawn[name] = model[0].replicates(model[1], rows, max_draws=sets, seed=seed)
        else:
            few = {"num_draws": max(10, sets // 5)} if name == "Ising" else {"num_draws": sets}
            drawn[name] = model.replicates(rows, **few, seed=seed)
    return drawn
