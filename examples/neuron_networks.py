"""
Networks whose last neurons are kept or removed
===============================================

What `neuron_pruning.py` looks into, trained from several seeds: a perceptron on the digits, or a
convolutional network on CIFAR-10 whose last block ends in a ReLU and an average over positions.
Penultimate features are >= 0 in both. CIFAR-10 comes from lossy JPEG copies (``CIFAR10/`` in the
root), or from the original files where the root holds ``cifar-10-batches-py``; networks reach less
on the copies.

Every network is kept in a file of its own, `DATA_SEED.safetensors`, with its penultimate features
beside it, so that a run that was stopped goes on where it was. A file tells which setting it
belongs to; another setting needs another folder.
"""

import json
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from cnn_responses import CIFAR10_MEAN, CIFAR10_SCALE, check_setting
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR

import probact as pa
from probact.datasets import ImageData
from probact.inference.atomic import write_atomically
from probact.nn import accuracy, crop_and_flip, nesterov, train_classifier
from probact.nn.layered_convnet import Standardise

__all__ = ["CIFAR10", "Features", "Size", "load", "penultimate", "train_networks"]

CIFAR10 = ["CIFAR10/cifar10_train_jpeg.npz", "CIFAR10/cifar10_test_jpeg.npz"]


class Size(NamedTuple):
    """Data and training of one network."""

    data: str
    width: int  # penultimate neurons
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    bfloat16: bool = False
    train: int | None = None  # images to train on, all if None

    @property
    def setting(self) -> str:
        """What a network's file must agree with."""
        return json.dumps(self)


class Features(NamedTuple):
    """Penultimate features (N, n) with their labels (N,): to choose by, and to test on."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor


def load(size: Size, root: Path | None, *, train: bool, count: int | None = None) -> ImageData:
    """Training or test images, all or the first of them (of copies that are opened one by one)."""
    if size.data == "digits":
        return pa.datasets.digits(train=train, test_fraction=0.28, seed=0)
    assert root is not None
    if (root / "cifar-10-batches-py").is_dir():
        return pa.datasets.cifar10(root, train=train)
    chosen = None if count is None else range(count)
    return pa.datasets.jpeg_archive(root / CIFAR10[0 if train else 1], indices=chosen)


def build(size: Size, seed: int) -> nn.Sequential:
    """An untrained network: one seed, one initialisation."""
    torch.manual_seed(seed)
    if size.data == "digits":
        layers = [nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, size.width)]
        return _named([*layers, nn.ReLU()], nn.Identity(), size.width)
    convolutions = (
        *_block(3, 32, 3, 1), *_block(32, 64, 3, 2), *_block(64, 96, 3, 2),
        *_block(96, 96, 3, 1), *_block(96, size.width, 1, 1),
    )  # fmt: skip
    standardise = Standardise(CIFAR10_MEAN, CIFAR10_SCALE, 3)
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return _named([standardise, *convolutions], pool, size.width)


def _block(before: int, after: int, side: int, stride: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(before, after, side, stride, padding=side // 2, bias=False)
    return convolution, nn.BatchNorm2d(after), nn.ReLU()


def _named(layers: list[nn.Module], pool: nn.Module, width: int) -> nn.Sequential:
    net = nn.Sequential()
    net.add_module("features", nn.Sequential(*layers))
    net.add_module("pool", pool)
    net.add_module("head", nn.Linear(width, 10))
    return net


def train_networks(size: Size, root: Path | None, folder: Path, seeds: range) -> Iterator[str]:
    """Train what the folder lacks; a line for each epoch and each network."""
    missing = [seed for seed in seeds if not _kept(size, folder, seed)]
    if not missing:
        return
    train, test = (load(size, root, train=t) for t in (True, False))
    images, labels = train.floats(slice(0, size.train)), train.labels[: size.train]
    for seed in missing:
        net = build(size, seed)
        # without the cache: it would keep the weights of the first step
        half = torch.autocast("cpu", torch.bfloat16, cache_enabled=False)
        epochs = train_classifier(
            net, images, labels, epochs=size.epochs, batch_size=size.batch_size, seed=seed,
            **optimisation(size),
        )  # fmt: skip
        with half if size.bfloat16 else nullcontext():
            for epoch in epochs:
                yield f"{size.data} {seed}: epoch {epoch.number}, loss {epoch.loss:.3f} nats"
        share = accuracy(net, test.floats(), test.labels)
        numbers = {"setting": size.setting, "accuracy": f"{share:.4f}"}
        path = folder / f"{size.data}_{seed}.safetensors"
        write_atomically(path, partial(save_file, net.state_dict(), metadata=numbers))
        yield f"{path.name}: {share:.4f} of the test images"


def optimisation(size: Size) -> dict[str, Any]:
    """AdamW and crops for photographs; momentum and a cosine schedule for the perceptron."""
    rates = {"learning_rate": size.learning_rate, "weight_decay": size.weight_decay}
    if size.data == "cifar10":
        return {**rates, "transform": partial(crop_and_flip, padding=2)}
    return {
        "optimiser": partial(nesterov, **rates),
        "schedule": partial(CosineAnnealingLR, T_max=size.epochs),
    }


def _kept(size: Size, folder: Path, seed: int) -> bool:
    path = folder / f"{size.data}_{seed}.safetensors"
    if path.is_file():
        check_setting(path, size.setting)
    return path.is_file()


def penultimate(
    size: Size, root: Path | None, folder: Path, seed: int
) -> tuple[nn.Sequential, Features]:
    """A trained network and its features: of 5000 images trained on, and 10 000 test images."""
    net = build(size, seed)
    net.load_state_dict(load_file(folder / f"{size.data}_{seed}.safetensors"))
    path = folder / f"{size.data}_{seed}_features.safetensors"
    if not path.is_file():
        parts = {}
        for name, is_train, count in (("train", True, 5_000), ("test", False, 10_000)):
            data = load(size, root, train=is_train, count=count)
            x = data.floats(slice(0, count))
            parts[name] = pa.capture(net, x, layer="pool").x
            parts[f"{name}_labels"] = data.labels[:count].clone()
        write_atomically(path, partial(save_file, parts))
    return net, Features(**load_file(path))
