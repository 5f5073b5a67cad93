"""What a demo run studies, and what its chapters hand back.

Two classifiers are trained on one data set: one with a 2-d penultimate layer, which can be drawn,
and one with a wide layer. Images that they were not trained on are split in two halves: laws of
the activations are fitted on the first and scored on the second.

Symbols: x (N, D) raw penultimate activations; W (C, D) weight of the head.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from probact import datasets
from probact.capturing import Features
from probact.datasets import ImageData, stratified_split
from probact.heads import find_head
from probact.networks import capture
from probact.nn import ConvNet, accuracy, train_classifier

__all__ = [
    "Block",
    "Chapter",
    "Picture",
    "Stage",
    "Study",
    "Table",
    "Text",
    "TrainedNet",
    "prepare_study",
]

WIDE_DIM = 32


class Stage(NamedTuple):
    """The planar network at one moment of its training."""

    name: str
    features: Features  # x (N, 2), of the second held-out half
    weight: Tensor  # (C, 2)


class TrainedNet(NamedTuple):
    """A trained network and its activations on images that it never saw."""

    net: nn.Module
    weight: Tensor  # (C, D)
    accuracy: float  # on both held-out halves
    fitting: Features  # to fit laws on
    scoring: Features  # to score them on
    stages: tuple[Stage, ...]


class Study(NamedTuple):
    """The material of every chapter."""

    dataset: str
    class_names: tuple[str, ...]
    train: ImageData  # what the networks were trained on
    held_out: ImageData
    planar: TrainedNet  # D = 2
    wide: TrainedNet  # D = 32
    seed: int
    say: Callable[[str], None]  # one progress line


class Text(NamedTuple):
    """A paragraph, plain words."""

    words: str


class Picture(NamedTuple):
    """A figure, saved under its name."""

    name: str
    caption: str
    figure: Figure


class Table(NamedTuple):
    """Rows of cells, already formatted."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Block = Text | Picture | Table


class Chapter(NamedTuple):
    """One part of the report and what it leaves on disk."""

    title: str
    blocks: tuple[Block, ...]
    numbers: dict[str, Any]  # for numbers.json
    posteriors: dict[str, Any]  # file stem: ArviZ object
    arrays: dict[str, np.ndarray]  # name: array of samples.npz


def prepare_study(
    dataset: str,
    *,
    root: str | Path | None,
    seed: int,
    device: torch.device,
    say: Callable[[str], None],
) -> Study:
    """Load the data, train both networks and capture their activations.

    Raises:
        ValueError, FileNotFoundError: an unknown data set, a missing root or files.
    """
    train, held_out = (_load(dataset, root, train=t) for t in (True, False))
    say(f"{dataset}: {len(train.labels)} images to train on, {len(held_out.labels)} held out")
    halves = stratified_split(held_out.labels, test_fraction=0.5, seed=seed)
    planar, wide = (
        _train(train, held_out, halves, dim, seed=seed, device=device, say=say)
        for dim in (2, WIDE_DIM)
    )
    return Study(dataset, train.class_names, train, held_out, planar, wide, seed, say)


def _load(dataset: str, root: str | Path | None, *, train: bool) -> ImageData:
    if dataset == "digits" and root is None:  # few images: half of them held out
        return datasets.digits(train=train, test_fraction=0.5)
    return datasets.load(dataset, root, train=train)


def _train(
    train: ImageData,
    held_out: ImageData,
    halves: tuple[Tensor, Tensor],
    dim: int,
    *,
    seed: int,
    device: torch.device,
    say: Callable[[str], None],
) -> TrainedNet:
    images, labels = train.floats().to(device), train.labels.to(device)
    shape = (int(images.shape[1]), int(images.shape[2]), int(images.shape[3]))
    with torch.random.fork_rng():  # initial weights from the seed, the caller's stream untouched
        torch.manual_seed(seed)
        net = ConvNet(shape, len(train.class_names), dim).to(device)
    epochs = max(2, min(30, 30_000 // len(labels)))
    unseen, answers = held_out.floats().to(device), held_out.labels.to(device)
    drawn = {0: "before training", (epochs + 1) // 3: "", epochs: "after training"}
    stages = []
    for epoch in train_classifier(net, images, labels, epochs=epochs, seed=seed):
        if dim == 2 and epoch.number in drawn:
            rows = halves[1].to(device)
            features = capture(net, (unseen[rows], answers[rows]), layer="penultimate")
            name = drawn[epoch.number] or f"epoch {epoch.number} of {epochs}"
            stages.append(Stage(name, _on_cpu(features), net.head.weight.detach().cpu().clone()))
        if epoch.number % max(1, epochs // 3) == 0 and epoch.number:
            say(f"D = {dim}: epoch {epoch.number} of {epochs}, loss {epoch.loss:.3f}")
    share = accuracy(net, unseen, answers)
    say(f"D = {dim}: accuracy on held-out images {share:.4f}")
    fitting, scoring = (
        _on_cpu(capture(net, (unseen[rows.to(device)], answers[rows.to(device)])))
        for rows in halves
    )
    weight = find_head(net, example=unseen[:1]).weight.cpu()
    return TrainedNet(net, weight, share, fitting, scoring, tuple(stages))


def _on_cpu(features: Features) -> Features:
    assert features.labels is not None
    return Features(features.x.cpu(), features.labels.cpu())
