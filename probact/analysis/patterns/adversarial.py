r"""How far adversarial images move the pattern, beside noise of their size and other images.

Symbols: x (N, ...) images, x' the attacked ones, in the same order; d the Hamming distance of the
patterns of a pair, layer by layer.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from probact.analysis.patterns.collecting import collect
from probact.analysis.patterns.gate_passes import checked_network
from probact.analysis.patterns.hamming_compiled.popcounts import paired_distances
from probact.analysis.patterns.packed_patterns import PackedPatterns
from probact.analysis.patterns.recording import Smooth
from probact.arrays import as_labels, as_number, as_tensor, check_count, check_finite, check_seed
from probact.capturing.passes import place, undisturbed

__all__ = ["AdversarialLayer", "adversarial_report", "fast_gradient_sign"]


class AdversarialLayer(NamedTuple):
    """Mean distances of a layer's patterns, each (mean, standard error), in bits.

    `adversarial` from x to x', `random` to x plus noise of random signs and the length of x' - x,
    `other` to another image of x.
    """

    name: str
    num_bits: int
    adversarial: tuple[float, float]
    random: tuple[float, float]
    other: tuple[float, float]

    @property
    def excess(self) -> float:
        """Adversarial over random distance."""
        return self.adversarial[0] / self.random[0] if self.random[0] else math.nan


def fast_gradient_sign(
    net: nn.Module,
    x: Any,
    labels: Any,
    epsilon: float,
    *,
    bounds: tuple[float, float] | None = None,
    batch_size: int = 256,
) -> Tensor:
    """Images x + epsilon sign(gradient of the cross-entropy), within bounds (Goodfellow 2015).

    Raises: TypeError, ValueError: no network in eval mode, labels that are not one per image,
        epsilon not above 0.

    >>> net = nn.Linear(2, 2).eval()
    >>> (fast_gradient_sign(net, torch.zeros(1, 2), [0], 0.1).abs() - 0.1).abs().max() < 1e-6
    tensor(True)
    """
    checked_network(net)
    size = as_number(epsilon, "epsilon")
    check_count(batch_size, "batch_size")
    images = as_tensor(x, "x")
    check_finite(images, "x")
    y = as_labels(labels, "labels", len(images))
    moved = []
    with undisturbed(net), torch.enable_grad():
        for part, target in zip(images.split(batch_size), y.split(batch_size), strict=True):
            at = place(part, net).clone().requires_grad_()
            loss = nn.functional.cross_entropy(net(at), target.to(at.device), reduction="sum")
            (gradient,) = torch.autograd.grad(loss, at)
            step = at.detach() + size * gradient.sign()
            moved.append((step if bounds is None else step.clamp(*bounds)).cpu())
    return torch.cat(moved)


def adversarial_report(
    net: nn.Module,
    x: Any,
    attacked: Any,
    *,
    smooth: Smooth = "refuse",
    batch_size: int = 256,
    seed: int = 0,
) -> list[AdversarialLayer]:
    """Distances of each layer for attacked images, for random signs and for other images.

    The noise is c times random signs, with c such that it has the length of x' - x, image by
    image; it is not cut to the range of images.

    Raises: TypeError, ValueError: as `collect`; images of different shapes, fewer than two.

    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU()).eval()
    >>> x = torch.randn(20, 4)
    >>> [layer.num_bits for layer in adversarial_report(net, x, x + 0.1)]
    [8]
    """
    clean, moved = as_tensor(x, "x"), as_tensor(attacked, "attacked").to(as_tensor(x, "x"))
    if clean.shape != moved.shape or clean.ndim < 2 or len(clean) < 2:
        shapes = tuple(clean.shape), tuple(moved.shape)
        raise ValueError(f"x and attacked must be two or more images of one shape, got {shapes}")
    check_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    length = (moved - clean).flatten(1).norm(dim=1) / math.sqrt(clean[0].numel())
    signs = 2.0 * torch.randint(0, 2, clean.shape, generator=generator).to(clean) - 1.0
    noisy = clean + signs * length.reshape(-1, *[1] * (clean.ndim - 1))

    def patterns(images: Tensor) -> PackedPatterns:
        return collect(net, images, smooth=smooth, batch_size=batch_size)

    start = patterns(clean)
    order = torch.randperm(len(clean), generator=generator)
    partner = torch.empty_like(order)
    partner[order] = order.roll(1)  # never the image itself
    ends = [patterns(moved), patterns(noisy), start.rows(partner)]
    found = []
    for layer in start.layers:
        words = [p.words[:, layer.words] for p in (start, *ends)]
        means = [_mean_distance(words[0], end) for end in words[1:]]
        found.append(AdversarialLayer(layer.name, layer.num_bits, *means))
    return found


def _mean_distance(a: Tensor, b: Tensor) -> tuple[float, float]:
    """Mean distance of the rows of packed a and b (N, W), with its standard error."""
    words = np.ascontiguousarray(torch.cat([a, b]).numpy()).view(np.uint64)
    rows = np.arange(len(a))
    distances = np.empty(len(a), np.int64)
    paired_distances(words, rows, rows + len(a), distances)
    return float(distances.mean()), float(distances.std(ddof=1)) / math.sqrt(len(a))
