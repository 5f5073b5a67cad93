"""
Convolutional networks and their responses
==========================================

What `dpgmm_cnn.py` fits its mixtures to, by the protocol of Jamroz, Kurdziel & Opala (2020):
networks trained from several seeds in several regimes, and the responses of their kernels to
images that they were not trained on. A response is the output of a convolution, before
batch-norm and ReLU, averaged over the image. The kernels of all networks of a regime, side by
side, are the rows of a matrix (kernels, images), which is projected on its first right singular
vectors.

Every network, and every projected matrix, is kept in a file of its own, so that a run that was
stopped goes on where it was. A file tells which setting it belongs to; another setting needs
another folder.
"""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import probact as pa
from probact.analysis.projection import singular_projection
from probact.inference.atomic import write_atomically
from probact.nn import (
    LayeredConvNet,
    accuracy,
    crop_and_flip,
    nesterov,
    paper_layers,
    permuted_labels,
    train_classifier,
)

__all__ = ["Experiment", "Regime", "scores", "train_networks"]

CIFAR10_MEAN, CIFAR10_SCALE = (0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261)
PERMUTATION_SEED = 12345  # one order of the labels for all networks that memorise


class Regime(NamedTuple):
    """How the networks of one line of the figure are built and trained."""

    treatment: str
    depth: int
    widest: int
    permuted: bool = False  # labels say nothing about the images
    dropout: float = 0.0
    padding: int = 0  # pixels; above zero, crop and flip

    @property
    def architecture(self) -> str:
        return f"{self.depth}x{self.widest}"

    @property
    def slug(self) -> str:
        return f"{self.architecture}_{self.treatment.replace(' ', '_')}"


class Experiment(NamedTuple):
    """Data, protocol and regimes of one size of the experiment."""

    train: pa.datasets.ImageData
    unseen: pa.datasets.ImageData
    regimes: tuple[Regime, ...]
    dims: dict[int, tuple[int, ...]]  # by depth: singular vectors kept, one number a layer
    networks: int
    epochs: int
    batch_size: int
    seed: int
    device: torch.device

    def build(self, regime: Regime) -> LayeredConvNet:
        """A network of the regime, with weights from torch's global generator."""
        channels, height, width = (int(n) for n in self.train.images.shape[1:])
        coloured = channels == 3
        return LayeredConvNet(
            (channels, height, width),
            len(self.train.class_names),
            paper_layers(regime.depth, regime.widest),
            dropout=regime.dropout,
            mean=CIFAR10_MEAN if coloured else None,
            scale=CIFAR10_SCALE if coloured else None,
        )

    def setting(self, regime: Regime) -> str:
        """What a network's file must agree with."""
        shape = list(self.train.images.shape)
        return json.dumps([*regime, shape, self.epochs, self.batch_size, self.seed])


def train_networks(experiment: Experiment, folder: Path) -> Iterator[str]:
    """Train what the folder lacks, one network of every regime in turn; a line for each."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(experiment.networks):
        for regime in experiment.regimes:
            path = folder / f"{regime.slug}_{number:02d}.safetensors"
            if path.is_file():
                check_setting(path, experiment.setting(regime))
                continue
            net, shares = train_one(experiment, regime, number)
            numbers = {"setting": experiment.setting(regime), "accuracy": json.dumps(shares)}
            state = {key: value.cpu() for key, value in net.state_dict().items()}
            write_atomically(path, partial(save_file, state, metadata=numbers))
            yield f"{path.name}: {shares['trained']:.3f} of the labels trained on, " + (
                f"{shares['unseen']:.3f} of unseen images"
            )


def train_one(
    experiment: Experiment, regime: Regime, number: int
) -> tuple[LayeredConvNet, dict[str, float]]:
    """A trained network; its accuracy on the labels it was given, and on unseen images."""
    seed = 1000 * experiment.seed + number
    torch.manual_seed(seed)  # weights and dropout
    place = experiment.device
    net = experiment.build(regime).to(place)
    images, labels = experiment.train.floats().to(place), experiment.train.labels.to(place)
    if regime.permuted:
        labels = permuted_labels(labels, seed=PERMUTATION_SEED)
    epochs = train_classifier(
        net, images, labels, epochs=experiment.epochs, batch_size=experiment.batch_size, seed=seed,
        optimiser=nesterov,
        transform=partial(crop_and_flip, padding=regime.padding) if regime.padding else None,
    )  # fmt: skip
    for _ in epochs:
        pass
    unseen, classes = experiment.unseen.floats().to(place), experiment.unseen.labels.to(place)
    shares = {
        "trained": accuracy(net, images, labels),
        "unseen": accuracy(net, unseen, classes),
    }
    return net, shares


def check_setting(path: Path, expected: str) -> dict[str, str]:
    """What a network's file says of itself, if it belongs to this setting; else the run ends."""
    with safe_open(path, framework="pt") as file:
        numbers: dict[str, str] = file.metadata() or {}
    if numbers.get("setting") != expected:
        raise SystemExit(f"{path} is of another setting: choose another --out")
    return numbers


def scores(
    experiment: Experiment, regime: Regime, networks: Path, folder: Path
) -> Iterator[dict[str, Any]]:
    """Per layer: x (kernels, d), the share of squares kept, and the networks' mean accuracies."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [
        networks / f"{regime.slug}_{number:02d}.safetensors"
        for number in range(experiment.networks)
    ]
    facts = [check_setting(path, experiment.setting(regime)) for path in paths]
    for layer, dim in enumerate(experiment.dims[regime.depth], start=1):
        path = folder / f"{regime.slug}_layer{layer:02d}_{len(paths)}x{dim}.npz"
        if not path.is_file():
            matrix = responses(experiment, regime, paths, layer).to(experiment.device)
            found = singular_projection(matrix, dim)
            arrays = {"x": found.scores.cpu().numpy(), "share": np.float64(found.share)}
            write_atomically(path, partial(_save, arrays))
        stored = np.load(path, allow_pickle=False)
        shares = [json.loads(fact["accuracy"]) for fact in facts]
        yield {
            "layer": layer, "x": torch.from_numpy(stored["x"]), "share": float(stored["share"]),
            **{key: float(np.mean([s[key] for s in shares])) for key in ("trained", "unseen")},
        }  # fmt: skip


def _save(arrays: dict[str, Any], path: Path) -> None:
    with path.open("wb") as file:  # a file, since numpy appends .npz to a name
        np.savez(file, **arrays)


def responses(
    experiment: Experiment, regime: Regime, paths: list[Path], layer: int
) -> torch.Tensor:
    """Mean response of every kernel of a layer to every unseen image, (kernels, images)."""
    images = experiment.unseen.floats()
    rows = []
    for path in paths:
        net = experiment.build(regime).to(experiment.device)
        net.load_state_dict(load_file(path))
        name = net.response_names[layer - 1]
        rows.append(pa.capture(net, images, layer=name).x.T)  # (m, images)
    return torch.cat(rows)
