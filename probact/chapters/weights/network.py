"""A head of many features on the convolutions of the wide network.

The demo's own networks have 2 and 32 features: too few weights a class to tell one law from
another. Here a 1x1 convolution, ReLU and average pooling make n features of the last map of the
trained convolutions, which stay as they are, and a linear head is trained on them. The features
are never negative, as the paper on the final layer has them.
"""

from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from probact.capturing import Features
from probact.nn import train_classifier
from probact.study import Study

__all__ = ["NUM_FEATURES", "PooledHead", "train_pooled_head"]

NUM_FEATURES = 256
_IMAGES = 1000  # trained on, and held out, at most
_EPOCHS = 30
_SIDE = 7  # a map wider than this is pooled before


class PooledHead(NamedTuple):
    """The network, its head, and its features on two halves of held-out images; on the CPU."""

    net: nn.Module
    weight: Tensor  # (K, n)
    bias: Tensor  # (K,)
    accuracy: float  # on both halves
    features: tuple[Features, Features]


def train_pooled_head(study: Study) -> PooledHead:
    """Train the new layers by SGD on the maps of the images that the network was trained on."""
    trunk = _trunk(study)
    with torch.no_grad():
        maps, unseen = (
            trunk(data.floats(slice(0, _IMAGES))) for data in (study.train, study.held_out)
        )
    num_classes = len(study.class_names)
    with torch.random.fork_rng():  # initial weights from the seed, the caller's stream untouched
        torch.manual_seed(study.seed)
        pooled = nn.Sequential(
            nn.Conv2d(maps.shape[1], NUM_FEATURES, 1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        head = nn.Linear(NUM_FEATURES, num_classes)
    top = nn.Sequential(*pooled, head)
    for _ in train_classifier(
        top,
        maps,
        study.train.labels[:_IMAGES],
        epochs=_EPOCHS,
        seed=study.seed,
        optimiser=lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=5e-4),
        schedule=lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, _EPOCHS),
    ):
        pass
    top.eval()
    labels = study.held_out.labels[:_IMAGES]
    with torch.no_grad():
        x: Tensor = pooled(unseen)
        share = float((head(x).argmax(1) == labels).double().mean())
    weight, bias = (value.detach().clone() for value in (head.weight, head.bias))
    halves = Features(x[::2], labels[::2]), Features(x[1::2], labels[1::2])
    return PooledHead(nn.Sequential(*trunk, *top).eval(), weight, bias, share, halves)


def _trunk(study: Study) -> nn.Sequential:
    """A copy of the convolutions up to the last map that has few positions, on the CPU."""
    parts = list(deepcopy(study.wide.net).cpu().eval().get_submodule("features").children())
    last = max(i for i, part in enumerate(parts) if isinstance(part, nn.ReLU))
    trunk = nn.Sequential(*parts[: last + 1])
    with torch.no_grad():
        side = trunk(study.held_out.floats(slice(0, 1))).shape[-1]
    return trunk if side <= _SIDE else nn.Sequential(*parts[: last + 2])  # and the pooling behind
