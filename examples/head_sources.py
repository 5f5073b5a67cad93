"""
Heads to look at
================

Where the weights of final layers come from: five ImageNet heads of one file, any weight file, any
torchvision or timm network whose weights lie on this machine, or a small network trained on digits
on the spot. Nothing is downloaded.

* ImageNet: the heads of five MobileNets of google-coral/test_data and
  kostasx/tfjs-mobilenet-offline-model, 1000 classes, classes named by the sample images' file.
* Digits: a perceptron 64-256-n-10, ReLU, trained by SGD (momentum .9, batches of 64, cosine
  schedule), its head initialised as torch does, from a normal law of standard deviation .01, or
  at zero.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from pretrained import HEADS, IMAGENET_IMAGES
from runs import held_out_digits
from torch import Tensor, nn

from probact import find_head
from probact.files.checkpoints import read_tensors
from probact.nn import accuracy, train_classifier

__all__ = ["INITS", "NamedHead", "digits_head", "heads_of_file", "imagenet_heads", "local_model"]

INITS: dict[str, Callable[[Tensor], object]] = {
    "default": lambda weight: None,
    "normal": lambda weight: nn.init.normal_(weight, std=0.01),
    "zero": nn.init.zeros_,
}


class NamedHead(NamedTuple):
    """Weights (K, n) of a head, and names of its classes where they are known."""

    name: str
    weight: Tensor
    class_names: tuple[str, ...] | None = None
    accuracy: float | None = None  # on digits that were held out
    active: Tensor | None = None  # (n,) bool: features above zero on any image trained on


def imagenet_heads(root: Path) -> list[NamedHead]:
    """The five ImageNet heads under the root, from the smallest to the largest."""
    with np.load(root / IMAGENET_IMAGES, allow_pickle=False) as images:
        names = tuple(str(name) for name in images["class_names"])
    return [head._replace(class_names=names) for head in heads_of_file(root / HEADS)]


def heads_of_file(path: Path) -> list[NamedHead]:
    """Every matrix `NAME.weight` that has a `NAME.bias` of as many entries, else the file's head.

    Raises: ValueError, LookupError, FileNotFoundError as `find_head`.
    """
    if path.suffix == ".safetensors":
        tensors = read_tensors(path)
        found = [
            NamedHead(key.removesuffix(".weight"), value.float())
            for key, value in tensors.items()
            if key.endswith(".weight")
            and value.ndim == 2
            and (bias := tensors.get(key.removesuffix("weight") + "bias")) is not None
            and bias.shape == value.shape[:1]
        ]
        if len({len(head.weight) for head in found}) == 1 < len(found):
            return sorted(found, key=lambda head: head.weight.shape[1])
    head = find_head(path)
    return [NamedHead(f"{path.stem}, {head.name}", head.weight, head.labels)]


def local_model(name: str) -> NamedHead:
    """The head of a torchvision or timm network, by its name, with weights that are here already.

    Raises: ValueError where there is no such network, or its weights are not on this machine.
    """
    from torchvision import models  # here: a second of import that few runs need

    if name in models.list_models():
        weights = models.get_model_weights(name).DEFAULT
        file = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
        if not file.is_file():
            raise ValueError(f"the weights of {name} are not here: {file} is missing")
        state = torch.load(file, map_location="cpu", weights_only=True)
        net = models.get_model(name, weights=None)
        net.load_state_dict(state)
        return NamedHead(name, find_head(net).weight, tuple(weights.meta["categories"]))
    os.environ["HF_HUB_OFFLINE"] = "1"  # before timm reads it: files of its cache only
    try:
        import timm
    except ImportError:
        raise ValueError(f"torchvision has no network {name!r}, and timm is not here") from None
    try:
        net = timm.create_model(name, pretrained=True)
    except (OSError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        raise ValueError(f"timm has no {name!r} with weights on this machine: {first}") from None
    return NamedHead(name, find_head(net).weight)


def digits_head(
    width: int, weight_decay: float, *, init: str = "default", epochs: int = 75, seed: int = 0
) -> NamedHead:
    """The head of n = width features of a perceptron trained on half of the digits."""
    train, test = held_out_digits()
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, 256),
        nn.ReLU(),
        nn.Linear(256, width),
        nn.ReLU(),
        nn.Linear(width, 10),
    )
    INITS[init](net[-1].weight)
    for _ in train_classifier(
        net,
        train.floats(),
        train.labels,
        epochs=epochs,
        seed=seed,
        optimiser=lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=weight_decay),
        schedule=lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, epochs),
    ):
        pass
    share = accuracy(net, test.floats(), test.labels)
    with torch.no_grad():
        active = (net[:-1](train.floats()) > 0.0).any(0)
    name = f"digits, {width}, {init} init, decay {weight_decay:g}"
    return NamedHead(name, net[-1].weight.detach().clone(), train.class_names, share, active)
