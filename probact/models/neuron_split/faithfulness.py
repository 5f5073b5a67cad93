r"""Does a map show what the network uses? Deletion, insertion, and confidence on the map alone.

Symbols: x (N, C, H, W) images; maps (N, M, H', W'), raised to the images' size bilinearly; p the
softmax probability of a class; T steps.

Deletion replaces the pixels of an image by those of a baseline, the largest of the map first,
and insertion puts the image's pixels into the baseline in the same order: after step t = 0..T,
round(t HW / T) pixels have changed. A good map of what raises p has a small area under deletion
and a large one under insertion (Petsiuk, Das & Saenko, "RISE", BMVC 2018; their baselines are the
mean colour and a blurred image). A map of what lowers p is good if deletion *raises* p. Equal
values of a map are taken in a random order, the same for all maps of an image.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from probact.arrays import as_tensor, check_count, check_finite, check_seed
from probact.models.neuron_split.class_probs import class_probs
from probact.models.neuron_split.gap_cam import largest_one

__all__ = [
    "ConfidenceChange",
    "area_under",
    "confidence_change",
    "deletion_curve",
    "insertion_curve",
]


class ConfidenceChange(NamedTuple):
    """p of the image times its map, against p of the image; one number per image and map."""

    drop: Tensor  # (N,) or (N, M), max(0, p - p of the masked image) / p
    increase: Tensor  # the same shape, booleans: the masked image has the larger p


def deletion_curve(
    net: nn.Module,
    x: Tensor,
    cls: object,
    maps: Tensor,
    baseline: Tensor,
    *,
    steps: int = 50,
    batch_size: int = 64,
    seed: int = 0,
) -> Tensor:
    """p (N, T + 1) of the class while the map's pixels leave, largest first; (N, M, T + 1).

    Args:
        x: images as the network takes them.
        cls: one class, or (N,) of them; or (N, J), J at once, for curves (..., J, T + 1).
        maps: (N, H', W') or (N, M, H', W').
        baseline: what comes in their place, broadcast to x: a colour (C, 1, 1), images (N, C, H,
            W), `blurred(x)`.
        steps: T, at most the number of pixels.

    Raises: ValueError for shapes that do not fit, NaN or infinity, a class that is not there.

    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    >>> _ = net[1].weight.data.copy_(torch.tensor([[0.0] * 4, [3.0, 1.0, 0.0, 0.0]]))
    >>> maps = torch.tensor([[[0.9, 0.5], [0.2, 0.1]]])
    >>> deletion_curve(net, torch.ones(1, 1, 2, 2), 1, maps, torch.zeros(1), steps=4)
    tensor([[0.9820, 0.7311, 0.5000, 0.5000, 0.5000]], dtype=torch.float64)
    """
    start, end = _ends(x, baseline)
    return _curve(net, start, end, cls, maps, steps, batch_size, seed)


def insertion_curve(
    net: nn.Module,
    x: Tensor,
    cls: object,
    maps: Tensor,
    baseline: Tensor,
    *,
    steps: int = 50,
    batch_size: int = 64,
    seed: int = 0,
) -> Tensor:
    """p (N, T + 1) of the class while the map's pixels come into the baseline; (N, M, T + 1).

    Arguments and Raises: as `deletion_curve`.

    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    >>> maps = torch.rand(3, 5, 1, 2)  # five maps an image
    >>> insertion_curve(net, torch.ones(3, 1, 2, 2), 1, maps, torch.zeros(1), steps=2).shape
    torch.Size([3, 5, 3])
    """
    end, start = _ends(x, baseline)
    return _curve(net, start, end, cls, maps, steps, batch_size, seed)


def area_under(curves: Tensor) -> Tensor:
    """Areas (...) under curves (..., T + 1) over the share of pixels changed, by trapezoids.

    Raises: TypeError, ValueError for no array, or one with fewer than two points.

    >>> area_under(torch.tensor([1.0, 0.5, 0.0]))
    tensor(0.5000)
    """
    points = as_tensor(curves, "curves")
    if points.ndim == 0 or points.shape[-1] < 2:
        raise ValueError(f"curves must have two points or more, got {tuple(points.shape)}")
    return torch.trapezoid(points, dx=1.0 / (points.shape[-1] - 1))


def confidence_change(
    net: nn.Module, x: Tensor, cls: object, maps: Tensor, *, batch_size: int = 64
) -> ConfidenceChange:
    """Drop and increase of p where each map, its largest value one, multiplies its image.

    Chattopadhay et al. (2018), "average drop" and "increase in confidence" before averaging. A
    pixel is taken out by making it zero, whatever colour that is to the network.

    Arguments and Raises: as `deletion_curve`.

    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    >>> confidence_change(net, torch.ones(2, 1, 2, 2), 0, torch.ones(2, 2, 2)).drop
    tensor([0., 0.], dtype=torch.float64)
    """
    images, _ = _ends(x, torch.zeros(1))
    given, single = _sized(maps, images)
    shown = largest_one(given)

    def masked() -> Iterator[Tensor]:
        for i, image in enumerate(images):
            yield image[None]
            yield image * shown[i][:, None].to(image)

    p = class_probs(net, masked(), cls, (len(images), 1 + given.shape[1]), batch_size)
    if p.shape[2] > 1:
        raise ValueError(f"cls must be one class or (N,) of them, got {p.shape[2]} an image")
    whole, part = p[:, :1, 0], p[:, 1:, 0]
    lost = (whole - part).clamp(min=0.0)  # zero where p underflows to zero
    drop, increase = lost / torch.where(whole > 0.0, whole, 1.0), part > whole
    return ConfidenceChange(*((a[:, 0] if single else a) for a in (drop, increase)))


def _ends(x: Tensor, baseline: Tensor) -> tuple[Tensor, Tensor]:
    """Images and baselines, each (N, C, H, W)."""
    images = as_tensor(x, "x")
    if images.ndim != 4 or 0 in images.shape or not images.is_floating_point():
        raise ValueError(
            f"x must be float images (N, C, H, W), got {tuple(images.shape)} {images.dtype}"
        )
    check_finite(images, "x")
    other = as_tensor(baseline, "baseline").to(images)
    try:
        other = other.expand(images.shape)
    except RuntimeError as error:
        raise ValueError(
            f"baseline {tuple(other.shape)} does not broadcast to x {tuple(images.shape)}"
        ) from error
    check_finite(other, "baseline")
    return images, other


def _sized(maps: Tensor, images: Tensor) -> tuple[Tensor, bool]:
    """Maps (N, M, H, W) float64 at the images' size, and whether there was no axis M."""
    given = as_tensor(maps, "maps")
    single = given.ndim == 3
    given = given[:, None] if single else given
    if given.ndim != 4 or len(given) != len(images) or 0 in given.shape:
        raise ValueError(
            f"maps must be (N, H', W') or (N, M, H', W') for N = {len(images)} images, got shape "
            f"{tuple(maps.shape)}"
        )
    check_finite(given, "maps")
    size = images.shape[2:]
    given = given.to(images.device).double()
    if given.shape[2:] != size:
        given = functional.interpolate(given, size=size, mode="bilinear", align_corners=False)
    return given, single


def _curve(
    net: nn.Module,
    start: Tensor,
    end: Tensor,
    cls: object,
    maps: Tensor,
    steps: int,
    batch_size: int,
    seed: int,
) -> Tensor:
    given, single = _sized(maps, start)
    n, m, pixels = len(given), given.shape[1], start.shape[2] * start.shape[3]
    check_count(steps, "steps")
    check_seed(seed)
    if steps > pixels:
        raise ValueError(f"steps must be at most the {pixels} pixels of an image, got {steps}")
    generator = Generator(start.device).manual_seed(seed)
    counts = [round(t * pixels / steps) for t in range(steps + 1)]

    def images() -> Iterator[Tensor]:
        for i in range(n):
            ties = torch.randperm(pixels, generator=generator, device=start.device)
            for values in given[i].flatten(1):  # (HW,)
                order = ties[values[ties].argsort(descending=True, stable=True)]
                rank = torch.empty_like(order)
                rank[order] = torch.arange(pixels, device=start.device)
                changed = rank < torch.tensor(counts, device=start.device)[:, None]  # (T + 1, HW)
                there = changed.reshape(-1, 1, *start.shape[2:])
                yield torch.where(there, end[i], start[i])

    p = class_probs(net, images(), cls, (n, m * (steps + 1)), batch_size)
    p = p.reshape(n, m, steps + 1, -1).movedim(3, 2)  # (N, M, J, T + 1)
    p = p if not isinstance(cls, int) and as_tensor(cls, "cls").ndim == 2 else p[:, :, 0]
    return p[:, 0] if single else p
