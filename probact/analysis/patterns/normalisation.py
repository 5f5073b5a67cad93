r"""What normalisation does to the law of activation probabilities, layer by layer.

Symbols: p_i probability of unit i to be active, c the correlation of its pre-activations at two
inputs. BatchNorm centres every unit over the data, so p = Phi(shift / scale) for normal
pre-activations, 1/2 at the start. LayerNorm centres a row over its units: it stops the collapse of
the scale that lets biases take over, but leaves the units where they are.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from probact.analysis.patterns.probability_law import distance_to_uniform
from probact.analysis.patterns.score_moments import score_moments
from probact.arrays import check_count, check_seed

__all__ = ["NORMALISATIONS", "NormalisedLayer", "normalisation_report", "normalised_mlp"]

NORMALISATIONS = ("none", "he", "batch", "layer", "weight", "selu")


class NormalisedLayer(NamedTuple):
    """Law of p over the units of a gate: measured, and that of the measured correlation."""

    normalisation: str
    layer: str
    mean: float
    variance: float
    saturated: float
    correlation: float
    predicted_variance: float
    distance_to_law: float
    distance_to_uniform: float


def normalisation_report(
    factory: Callable[[str], nn.Module],
    x: Tensor,
    normalisations: Sequence[str] = NORMALISATIONS,
) -> list[NormalisedLayer]:
    """A row for each gate of factory(name), for each name: the units of x (N, ...).

    The running statistics of BatchNorm are first set to those of x, in one pass. Smooth
    activations count by the sign of their input.

    Raises: ValueError: as `score_moments`.

    >>> report = normalisation_report(
    ...     lambda name: normalised_mlp(name, [3, 8, 8]), torch.randn(50, 3), ["none", "batch"]
    ... )
    >>> [row.layer for row in report]
    ['1', '3', '2', '5']
    """
    rows = []
    for name in normalisations:
        net = factory(name)
        _settle(net, x)
        for m in score_moments(net.eval(), x, smooth="sign"):
            p, law = m.probability, m.law
            saturated = float(((p < 0.01) | (p > 0.99)).double().mean())
            rows.append(
                NormalisedLayer(
                    name, m.name, float(p.mean()), float(p.var(correction=0)), saturated,
                    m.correlation, law.variance, law.distance(p), distance_to_uniform(p),
                )
            )  # fmt: skip
    return rows


def normalised_mlp(
    normalisation: str, widths: Sequence[int], *, x: Tensor | None = None, seed: int = 0
) -> nn.Sequential:
    """A random perceptron, widths[0] -> widths[1] -> .., an activation after each; in eval mode.

    none: `torch.nn.Linear` as it starts; he: He's weights, no biases; batch, layer: with BatchNorm
    or LayerNorm in front of the ReLU; weight: weights of length one, scaled and shifted so that
    each pre-activation has mean 0 and variance 1 over x (Salimans & Kingma 2016); selu: LeCun's
    weights and SELU (Klambauer et al. 2017).

    Raises: ValueError: another name, fewer than two widths, no x (N, widths[0]) for weight.

    >>> normalised_mlp("layer", [3, 8])[1].normalized_shape
    (8,)
    """
    if normalisation not in NORMALISATIONS:
        known = ", ".join(NORMALISATIONS)
        raise ValueError(f"normalisation must be one of {known}, got {normalisation!r}")
    if len(widths) < 2:
        raise ValueError(f"widths must be two or more, got {list(widths)}")
    if normalisation == "weight" and x is None:
        raise ValueError("weight normalisation starts from data: give x")
    for width in widths:
        check_count(width, "widths")
    check_seed(seed)
    net, h = nn.Sequential(), x
    with torch.random.fork_rng([]), torch.no_grad():
        torch.manual_seed(seed)
        for before, after in pairwise(widths):
            layer = nn.Linear(before, after)
            if normalisation in ("he", "selu"):
                gain = 2.0 if normalisation == "he" else 1.0
                nn.init.normal_(layer.weight, std=math.sqrt(gain / before))
                nn.init.zeros_(layer.bias)
            if normalisation == "weight" and h is not None:
                _start_from_data(layer, h)
                h = torch.relu(layer(h))
            net.append(layer)
            if normalisation == "batch":
                net.append(nn.BatchNorm1d(after))
            if normalisation == "layer":
                net.append(nn.LayerNorm(after))
            net.append(nn.SELU() if normalisation == "selu" else nn.ReLU())
    return net.eval()


def _start_from_data(layer: nn.Linear, x: Tensor) -> None:
    """Mean 0 and variance 1 of every unit over x (N, n), directions of normal weights."""
    nn.init.normal_(layer.weight)
    layer.weight /= torch.linalg.vector_norm(layer.weight, dim=1, keepdim=True)
    h = x @ layer.weight.mT
    scale = 1.0 / h.std(0)
    layer.weight *= scale[:, None]
    layer.bias.copy_(-h.mean(0) * scale)


def _settle(net: nn.Module, x: Tensor) -> None:
    """Running statistics of BatchNorm from one pass over x."""
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    momenta = [m.momentum for m in norms]
    modes = [m.training for m in norms]
    net.eval()
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    with torch.no_grad():
        net(x)
    for norm, momentum, mode in zip(norms, momenta, modes, strict=True):
        norm.momentum = momentum
        norm.train(mode)
