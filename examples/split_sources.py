"""
Networks and images to look at through their split neurons
==========================================================

What `neuron_split.py` draws: each source is a network whose head reads the averages of its last
map, images of known classes, and the split tree of the head. Trees have three levels in every
class, however few neurons that leaves.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pretrained
import torch
from neuron_networks import CIFAR10, build, load, train_networks
from neuron_pruning import SIZES
from safetensors.torch import load_file
from torch import Tensor, nn

import probact as pa
from probact.models.neuron_split import NeuronTree, split_tree
from probact.nn import train_classifier

__all__ = ["NEEDS", "Source", "cifar10", "digits", "imagenet", "own_network"]

NEEDS = [pretrained.IMAGENET_IMAGES, pretrained.MOBILENET, pretrained.CIFAR10_IMAGES,
         pretrained.cifar10_resnet_file(56), *CIFAR10]  # fmt: skip
PICTURES = (424, 870, 916, 41, 207, 281, 340, 963, 972, 817)  # barbershop, tricycle, web site, ...


class Source(NamedTuple):
    """A network, images that it is asked about, and the tree of its head."""

    name: str
    net: nn.Module
    x: Tensor  # (N, C, H, W) as the network takes them; the first ten are drawn
    images: Tensor  # (N, C, H, W) in [0, 1], upright
    labels: Tensor  # (N,)
    class_names: Sequence[str]
    tree: NeuronTree
    turned: bool = False  # x is rotated by 180 degrees
    batch_size: int = 64

    def upright(self, maps: Tensor) -> Tensor:
        return maps.flip(-1, -2) if self.turned else maps


def tree_of(net: nn.Module) -> NeuronTree:
    """Three levels in every class, however few neurons that leaves."""
    return split_tree(net, max_depth=3, min_size=2)


def digits(seed: int, count: int) -> Source:
    """A convolutional network whose last map, 4 x 4, is averaged over positions."""
    data, test = (pa.datasets.digits(train=train) for train in (True, False))
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 128, 3, padding=1), nn.BatchNorm2d(128), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip
    for _ in train_classifier(net, data.floats(), data.labels, epochs=8, seed=seed):
        pass
    rows = by_class(test.labels, count)
    images, labels = test.floats(rows), test.labels[rows]
    names = [f"digit {name}" for name in test.class_names]
    return Source("ConvNet, digits", net.eval(), images, images, labels, names, tree_of(net))


def imagenet(root: Path, seed: int, count: int) -> Source:
    """The named classes, then others at random."""
    others = torch.randperm(1000, generator=torch.Generator().manual_seed(seed)).tolist()
    chosen = list(dict.fromkeys([*PICTURES, *others]))[:count]
    data = pa.datasets.jpeg_archive(root / pretrained.IMAGENET_IMAGES, indices=chosen)
    images = data.floats()
    net = pretrained.mobilenet(root).to(memory_format=torch.channels_last)  # twice as fast
    names = [name.split(",")[0] for name in data.class_names]
    return Source(
        "MobileNetV2, ImageNet", net, (2.0 * images - 1.0).flip(-1, -2), images, data.labels,
        names, tree_of(net), turned=True, batch_size=4,
    )  # fmt: skip


def cifar10(root: Path, count: int) -> Source:
    """As many images of each class, up to 500 together."""
    x, labels = next(pretrained.cifar10_batches(root, size=500))
    rows = by_class(labels, count)
    data = pa.datasets.jpeg_archive(root / pretrained.CIFAR10_IMAGES, indices=rows)
    net = pretrained.cifar10_resnet(root, 56)
    names = data.class_names
    images = data.floats()
    return Source("ResNet-56, CIFAR-10", net, x[rows], images, labels[rows], names, tree_of(net))


def own_network(args: argparse.Namespace) -> Source:
    """The first network of `neuron_pruning.py`, whose last map is 8 x 8."""
    folder = args.networks or args.out / "networks"
    folder.mkdir(parents=True, exist_ok=True)
    size = SIZES["cifar10"]
    for line in train_networks(size, args.root, folder, range(1)):
        print(line, flush=True)
    net = build(size, 0)
    net.load_state_dict(load_file(folder / f"{size.data}_0.safetensors"))
    data = load(size, args.root, train=False)
    rows = by_class(data.labels[:500], args.images)
    x, labels = data.floats(rows), data.labels[rows]
    name, tree = "ConvNet, CIFAR-10", tree_of(net)
    return Source(name, net.eval(), x, x, labels, data.class_names, tree)


def by_class(labels: Tensor, count: int) -> Tensor:
    """The first images of every class in turn: class 0, 1, ..., 0, 1, ..."""
    order = [(labels == k).nonzero()[:, 0] for k in range(int(labels.max()) + 1)]
    each = -(-count // len(order))
    return torch.stack([rows[:each] for rows in order], 1).flatten()[:count]
