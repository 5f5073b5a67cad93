"""
Do orthogonal filters help?
===========================

Table 2 of Balestriero & Baraniuk (2019), "From Hard to Soft": an all-convolutional network trained
as it is, with the penalty sum over k != l of <w_k, w_l>^2 on the filters of each layer
(coefficient 1, not tuned), and with filters that are exactly orthogonal (QR, which is the paper's
Gram-Schmidt in one factorisation), at three learning rates of Adam. The classifier is left out of
both. The paper's best figure changes the activation and adds batch-norm as well; so the second
table here tries orthogonality with ReLU, with swish, with a swish whose inverse temperature is
learned for each channel (another beta-VQ), and with and without batch-norm.

**Pairs.** Runs of one seed share the training images, the initial weights, as far as the networks
have the same ones, and the order of the batches; differences are taken within seeds. With exact
orthogonality the initial filters are what Gram-Schmidt leaves of those weights.

Two more methods can be asked for (``--methods``): ``mean penalty``, the mean over pairs of filters
in place of the sum, since the paper's formula allows both, and ``qr lengths``, exact filters whose
lengths are free parameters that start at those of the other networks.

**Score.** The mean test accuracy after each of the last three epochs.

``--full`` is the protocol: widths 96 and 192, images of 32x32, all training images, 100 epochs in
batches of 50; on a GPU (``--device cuda``). The first layer has 96 filters in 27 dimensions there,
which cannot all be orthogonal: they are so in four blocks. The default size is for one CPU core
and an hour, and departs from the protocol: a sixth of the width (16 and 32), images reduced to
half their side (16x16, or 14x14), 10 000 training images, another draw for each seed, 10 epochs.
All 10 000 test images are used. ``--quick``: digits, seconds.

CIFAR-10 comes from lossy JPEG copies (``--root``, ``CIFAR10/``), or from the original files where
the root holds ``cifar-10-batches-py``; networks reach less on the copies. Every run is a line of
``runs.jsonl`` in the output folder; a second call does only what is missing.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from orthogonal_tables import ACTIVATIONS, METHODS, RATES, tables
from runs import arguments
from torch import Tensor, nn

import probact as pa
from probact.datasets import ImageData, stratified_split
from probact.nn import (
    BetaReLU,
    LargeCNN,
    accuracy,
    orthogonality_penalty,
    orthogonalize_network,
    train_classifier,
)

CIFAR10 = ["CIFAR10/cifar10_train_jpeg.npz", "CIFAR10/cifar10_test_jpeg.npz"]
DATASETS = ("cifar10", "mnist", "fashion_mnist")
ABLATION_RATE = 5e-4  # the middle column, in which the paper's figure for exact filters stands
DEFAULT_METHODS = ("baseline", "penalty", "qr")
CLASSIFIER = ["classifier"]


class Size(NamedTuple):
    """What a run costs."""

    name: str
    width: int
    shrink: int  # sides of images are divided by it
    train: int | None
    epochs: int
    batch_size: int = 50


FULL = Size("full", 96, 1, None, 100)
CPU = Size("cpu", 16, 2, 10_000, 10)
QUICK = Size("quick", 6, 1, 480, 3, batch_size=24)


class Run(NamedTuple):
    """One network to train."""

    method: str
    activation: str
    batch_norm: bool
    rate: float
    seed: int


class Data(NamedTuple):
    """Preprocessed images (N, C, H, W) and labels, on the device."""

    images: Tensor
    labels: Tensor
    test_images: Tensor
    test_labels: Tensor


def activation(name: str) -> Callable[[int], nn.Module]:
    """What makes the activation of a layer from the number of its channels."""
    return {
        "relu": lambda channels: nn.ReLU(),
        "swish": lambda channels: nn.SiLU(),
        "learned swish": lambda channels: BetaReLU(0.5, learnable=True, num_channels=channels),
    }[name]


def load(args: argparse.Namespace, size: Size) -> Data:
    """All images, each centred and scaled to a largest absolute value of one."""
    parts = [read(args, is_train, size) for is_train in (True, False)]
    tensors = [t for part in parts for t in (preprocessed(part.floats()), part.labels)]
    return Data(*(t.to(args.device) for t in tensors))


def read(args: argparse.Namespace, is_train: bool, size: Size) -> ImageData:
    """Training or test images, at the side of this size."""
    if args.quick:
        small = pa.datasets.digits(train=is_train)
        return small._replace(images=F.pad(small.images, (1, 1, 1, 1)))  # 8x8 is too small
    if args.dataset != "cifar10":
        data = getattr(pa.datasets, args.dataset)(args.root, train=is_train)
    elif (args.root / "cifar-10-batches-py").is_dir():
        data = pa.datasets.cifar10(args.root, train=is_train)
    else:
        path = args.root / CIFAR10[0 if is_train else 1]
        data = pa.datasets.jpeg_archive(path)
    pooled = F.avg_pool2d(data.images.float(), size.shrink).round().to(torch.uint8)
    return data._replace(images=pooled)


def preprocessed(images: Tensor) -> Tensor:
    """Images minus their own mean, divided by their own largest absolute value; in place."""
    images -= images.mean((1, 2, 3), keepdim=True)
    images /= images.abs().amax((1, 2, 3), keepdim=True)
    return images


def build(run: Run, data: Data, size: Size) -> LargeCNN:
    """An untrained network: one seed, one initialisation."""
    torch.manual_seed(run.seed)
    channels, height, breadth = data.images.shape[1:]
    net = LargeCNN(
        (channels, height, breadth),
        num_classes=10,
        width=size.width,
        activation=activation(run.activation),
        batch_norm=run.batch_norm,
    )
    if run.method.startswith("qr"):
        norm = "learned" if run.method == "qr lengths" else "residual"
        record = orthogonalize_network(net, skip=CLASSIFIER, norm=norm, groups="auto")
        assert len(record.taken) == 8, record.left
    return net.to(data.images.device)


def subset(data: Data, size: Size, seed: int) -> tuple[Tensor, Tensor]:
    """The training images of a seed, as many of each class."""
    if size.train is None:
        return data.images, data.labels
    share = size.train / len(data.labels)
    _, rows = stratified_split(data.labels.cpu(), test_fraction=share, seed=seed)
    return data.images[rows], data.labels[rows]


def train(run: Run, data: Data, size: Size) -> dict[str, Any]:
    """Train one network; its numbers."""
    net = build(run, data, size)

    def penalised(logits: Tensor, _: Tensor, labels: Tensor) -> Tensor:
        reduction = "mean" if run.method == "mean penalty" else "sum"
        penalty = orthogonality_penalty(net, skip=CLASSIFIER, reduction=reduction)
        return F.cross_entropy(logits, labels) + penalty

    started, accuracies, losses, diverged = time.process_time(), [], [], False
    epochs = train_classifier(
        net,
        *subset(data, size, run.seed),
        epochs=size.epochs,
        batch_size=size.batch_size,
        seed=run.seed,
        optimiser=partial(torch.optim.Adam, lr=run.rate, fused=True),
        loss=penalised if "penalty" in run.method else None,
    )
    try:
        for epoch in epochs:
            losses.append(epoch.loss)
            if epoch.number > size.epochs - 3:
                accuracies.append(accuracy(net, data.test_images, data.test_labels))
    except ValueError:  # the loss is not finite
        diverged = True
        accuracies = [accuracy(net, data.test_images, data.test_labels)]
    return {
        **run._asdict(), "score": sum(accuracies) / len(accuracies), "accuracies": accuracies,
        "losses": [f"{loss:.4f}" for loss in losses[1:]], "diverged": diverged,
        "mean_squared_cosine": coherence(net),
        "cpu_seconds": round(time.process_time() - started, 1),
    }  # fmt: skip


def coherence(net: LargeCNN) -> float:
    """Mean squared cosine of two filters of a layer, averaged over layers."""
    with torch.no_grad():
        total = orthogonality_penalty(net, "cosine", skip=CLASSIFIER, reduction="mean")
    return float(total) / 8


def plan(args: argparse.Namespace) -> list[Run]:
    """All runs: the table and then the ablation, for the first seed first."""
    pairs = [(name, norm) for name in args.activations for norm in (False, True)]
    more = [pair for pair in pairs if pair != ("relu", False) and pair != ("learned swish", True)]
    chosen = []
    for seed in range(args.seeds):
        chosen += [Run(m, "relu", False, rate, seed) for rate in args.rates for m in args.methods]
        chosen += [
            Run(m, name, norm, args.ablation_rate, seed)
            for name, norm in more
            for m in args.methods
        ]
    return chosen


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset", choices=DATASETS, default="cifar10")
    parser.add_argument("--full", action="store_true", help="the protocol's size, for a GPU")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=DEFAULT_METHODS)
    parser.add_argument("--rates", nargs="+", type=float, default=list(RATES))
    parser.add_argument("--epochs", type=int, help="in place of the size's own")
    parser.add_argument("--ablation-rate", type=float, default=ABLATION_RATE)
    parser.add_argument("--activations", nargs="*", choices=ACTIVATIONS, default=ACTIVATIONS)
    args = arguments(__doc__, argv, (), parser)
    size = QUICK if args.quick else FULL if args.full else CPU
    if args.epochs is not None:
        size = size._replace(name=f"{size.name}, {args.epochs} epochs", epochs=args.epochs)
    dataset = "digits" if args.quick else args.dataset
    if args.quick:
        args.seeds, args.ablation_rate, args.rates = min(args.seeds, 2), 5e-3, [5e-3]
        args.activations = ["relu", "learned swish"]
    key = {"dataset": dataset, "size": size.name}
    log = args.out / "runs.jsonl"
    done = {tuple(r[name] for name in Run._fields) for r in read_log(log, key)}
    missing = [run for run in plan(args) if tuple(run) not in done]
    try:
        data = load(args, size)
    except FileNotFoundError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    for run in missing:
        record = key | train(run, data, size)
        write_line(log, record)
        print(f"{' '.join(map(str, run))}: {100 * record['score']:.2f} %", flush=True)
    text = tables(read_log(log, key), dataset)
    (args.out / "table.md").write_text(text + "\n", encoding="utf-8")
    print(text)


def write_line(log: Path, record: dict[str, Any]) -> None:
    """Append a finished run; one write, so that a kill leaves a whole line or none."""
    line = json.dumps(record).encode() + b"\n"
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def read_log(log: Path, key: dict[str, str]) -> list[dict[str, Any]]:
    """Finished runs of a data set and a size."""
    lines = log.read_text("utf-8").splitlines() if log.exists() else []
    records = [json.loads(line) for line in lines]
    return [r for r in records if all(r[name] == value for name, value in key.items())]


if __name__ == "__main__":
    main()
