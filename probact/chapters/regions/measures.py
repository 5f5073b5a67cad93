"""What the chapter measures on the convolutions of the wide network, and on both softened.

Symbols: unit, a channel of a convolution with BatchNorm and ReLU; M patches that it lies on;
beta = 1 / (1 + noise) of the mixtures.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from probact.capturing.passes import device_of, undisturbed
from probact.models.layer_patches import layer_patches
from probact.models.region_prior import RegionPrior
from probact.models.spline_mixture import SplineMixture
from probact.nn.beta.softening import soften
from probact.study import Study

__all__ = [
    "BETA",
    "BETAS",
    "SHARP",
    "SURE",
    "LayerReading",
    "Measures",
    "SoftNet",
    "measure",
    "numbers",
]

BETA = 0.5  # noise one, sigmoid gates
SHARP = 0.9  # nearer to the network itself
BETAS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
SURE = 0.9
_IMAGES = 1000  # scored at most
_READ_IMAGES, _PATCHES = 100, 4000  # whose patches are read, and how many of them
_SHOWN = 6


class LayerReading(NamedTuple):
    """A convolution's units on M patches of held-out images."""

    name: str
    prior: RegionPrior  # at beta 1/2, with the patches' frequencies
    input_dim: int
    num_patches: int
    entropy: Tensor  # (K,) mean over patches at beta 1/2, nats
    sharp_entropy: Tensor  # (K,) at beta .9
    unsure: float  # share of units and patches less sure than .9, at beta .9
    dead: Tensor  # (K,) bool, on these patches
    maps: Tensor  # (images, H, W) entropy a unit by position at beta .9, on the image's grid


class SoftNet(NamedTuple):
    """A softened network's answers against beta."""

    accuracy: tuple[float, ...]
    same_class: tuple[float, ...]  # as the hard network
    hard: float  # accuracy of the network itself


class Measures(NamedTuple):
    """Everything the chapter shows."""

    layers: tuple[LayerReading, ...]
    images: Tensor  # (images, C, H, W), those of the maps
    nets: dict[str, SoftNet]
    num_scored: int


def measure(study: Study) -> Measures:
    """Read the layers, soften, score."""
    chosen = _some(len(study.held_out.labels), _IMAGES, study.seed)
    x, y = study.held_out.floats(chosen), study.held_out.labels[chosen]
    layers = tuple(_layers(study.wide.net, x[:_READ_IMAGES], study.seed))
    study.say(f"regions of {len(layers)} layers on {len(x[:_READ_IMAGES])} held-out images")
    nets = {"D = 2": study.planar.net, "D = 32": study.wide.net}
    soft = {name: _softened(net, x, y) for name, net in nets.items()}
    study.say(f"both networks softened at {len(BETAS)} beta")
    return Measures(layers, x[:_SHOWN], soft, len(x))


def _some(size: int, count: int, seed: int) -> Tensor:
    """Some of the held-out images, in random order."""
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed))[:count]


def _layers(net: nn.Module, images: Tensor, seed: int) -> Iterator[LayerReading]:
    """Each convolution with its BatchNorm, read on what the layers before it hand on."""
    generator = torch.Generator().manual_seed(seed)
    modules = list(net.get_submodule("features").children())
    with undisturbed(net):
        h, found = images.to(device_of(net)), 0
        for i, module in enumerate(modules):
            if isinstance(module, nn.Conv2d):
                found += 1
                block = nn.Sequential(module, modules[i + 1])
                yield _read(f"convolution {found}", block, h, images.shape[2:], generator)
            h = module(h)


def _read(
    name: str, block: nn.Module, h: Tensor, size: torch.Size, generator: torch.Generator
) -> LayerReading:
    mixture = SplineMixture.from_layer(block, "relu").cpu().at_beta(BETA)
    sharp, out = mixture.at_beta(SHARP), block(h[:_SHOWN])
    maps = sharp.entropy(layer_patches(block, h[:_SHOWN]).cpu()).mean(-1)  # (images, L)
    patches = layer_patches(block, h).flatten(0, 1)
    rows = torch.randperm(len(patches), generator=generator)[:_PATCHES]
    x = patches[rows.to(patches.device)].cpu()  # (M, D)
    return LayerReading(
        name=name,
        prior=mixture.region_prior(x),
        input_dim=mixture.input_dim,
        num_patches=len(x),
        entropy=mixture.entropy(x).mean(0),
        sharp_entropy=sharp.entropy(x).mean(0),
        unsure=_share(sharp.selection(x).amax(-1) < SURE),
        dead=mixture.dead_units(x),
        maps=F.interpolate(maps.reshape(-1, 1, *out.shape[2:]), tuple(size))[:, 0],
    )


def _softened(net: nn.Module, x: Tensor, y: Tensor) -> SoftNet:
    """Accuracy and agreement of the softened network, without any training."""
    images, labels = x.to(device_of(net)), y.to(device_of(net))
    hard = _classes(net, images)
    answers = [_classes(soften(net, beta), images) for beta in BETAS]
    return SoftNet(
        accuracy=tuple(_share(a == labels) for a in answers),
        same_class=tuple(_share(a == hard) for a in answers),
        hard=_share(hard == labels),
    )


def _classes(net: nn.Module, images: Tensor) -> Tensor:
    with undisturbed(net):
        found: Tensor = net(images).argmax(1)
    return found


def _share(hits: Tensor) -> float:
    return float(hits.double().mean())


def numbers(m: Measures) -> dict[str, Any]:
    """The chapter's part of numbers.json."""
    return {
        "num_scored": m.num_scored,
        "beta": BETA,
        "sharp_beta": SHARP,
        "betas": list(BETAS),
        "layers": {layer.name: _numbers_of(layer) for layer in m.layers},
        "softened": {name: net._asdict() for name, net in m.nets.items()},
    }


def _numbers_of(layer: LayerReading) -> dict[str, float]:
    prior = layer.prior
    assert prior.frequency is not None
    return {
        "units": len(layer.entropy),
        "input_dim": layer.input_dim,
        "patches": layer.num_patches,
        "prior_active": float(prior.probs[:, 1].mean()),
        "active": float(prior.frequency[:, 1].mean()),
        "prior_entropy": float(prior.entropy.mean()),
        "smallest_gauge": float(prior.gauge.min()),
        "entropy": float(layer.entropy.mean()),
        "sharp_entropy": float(layer.sharp_entropy.mean()),
        "unsure": layer.unsure,
        "dead": int(layer.dead.sum()),
    }
