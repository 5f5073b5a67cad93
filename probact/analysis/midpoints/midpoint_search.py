r"""An input half-way between two others in the space of patterns.

Symbols: x0, x1 (P, *input) pairs; h(z) (B,) scores of all gates, f(z) = max(h(z), 0), a(z) its
bits 1[h(z) > 0]; d0 = |a(z) - a(x0)|, d1 = |a(z) - a(x1)|, d = |a(x0) - a(x1)|. z lies between
where d0 + d1 = d, half-way where d0 = d1 besides. Exactly,

    d0 + d1 = d + 2 #{i : a_i(x0) = a_i(x1) != a_i(z)}

so that only units on which the ends agree can spoil it. Objectives, minimised over z by Adam from
the middle of the straight line:

    features  sum |f(z) - f(x0)|^p + |f(z) - f(x1)|^p
    masked    the same, each term only where the bits of z and of that end differ now
    agreed    sum over agreed units of max(margin - s_i h_i(z), 0) + weight (2 d0~ - d)^2 / d,
              s_i their sign, d0~ the distance on the other units with steps made smooth
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from probact.analysis.midpoints.gate_scores import as_pairs, gate_scores, without_gradients
from probact.arrays import as_number, check_count
from probact.capturing.passes import undisturbed

__all__ = ["ALGORITHMS", "Midpoints", "find_midpoints"]

ALGORITHMS = ("straight", "features", "masked", "agreed")
_MARGIN, _WEIGHT = 0.05, 0.02
_SOFT = (0.32, 0.02)  # width of the smooth steps at the start and at the end


@dataclass(frozen=True, eq=False)
class Midpoints:
    """Inputs z (P, *input) and the Hamming distances of their patterns, (P,) int64 each."""

    z: Tensor
    to_first: Tensor  # d0
    to_second: Tensor  # d1
    distance: Tensor  # d

    @property
    def wrong_units(self) -> Tensor:
        """Units on which the ends agree and z does not, (d0 + d1 - d) / 2."""
        return (self.to_first + self.to_second - self.distance) // 2

    @property
    def between(self) -> Tensor:
        """Whether z is exactly between, (P,) bool."""
        return self.wrong_units == 0

    @property
    def imbalance(self) -> Tensor:
        """|d0 - d1|; 0 or 1 at best."""
        return (self.to_first - self.to_second).abs()


def find_midpoints(
    net: nn.Module,
    x0: Any,
    x1: Any,
    *,
    algorithm: str = "agreed",
    norm: int = 2,
    steps: int = 600,
    learning_rate: float = 0.02,
) -> Midpoints:
    """Search an input between x0 and x1 (P, *input), all pairs at once.

    Args:
        algorithm: "straight" takes the middle of the line; "features", "masked" and "agreed" are
            the objectives above, the first two with p = `norm`, 1 or 2.
        learning_rate: of Adam, in the units of the input.

    Raises:
        TypeError, ValueError: as `record`; other options; x0 and x1 of different shapes.

    >>> net = nn.Sequential(nn.Linear(1, 2), nn.ReLU()).eval()
    >>> net[0].weight.data, net[0].bias.data = torch.ones(2, 1), torch.tensor([0.5, -0.3])
    >>> found = find_midpoints(net, [[-1.0]], [[1.0]], algorithm="straight")
    >>> found.distance, found.to_first, found.between
    (tensor([2]), tensor([1]), tensor([True]))
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm must be one of {ALGORITHMS}, got {algorithm!r}")
    if norm not in (1, 2):
        raise ValueError(f"norm must be 1 or 2, got {norm!r}")
    check_count(steps, "steps")
    rate = as_number(learning_rate, "learning_rate")
    first, second = as_pairs(net, x0, x1)
    with undisturbed(net):
        ends = [gate_scores(net, x).detach() for x in (first, second)]
        z = 0.5 * (first + second)
        if algorithm != "straight":
            z = _descend(net, z, ends[0], ends[1], algorithm, norm, steps, rate)
        bits = gate_scores(net, z) > 0
    a0, a1 = (h > 0 for h in ends)
    counts = ((bits != a0).sum(1), (bits != a1).sum(1), (a0 != a1).sum(1))
    return Midpoints(z, *counts)


def _descend(
    net: nn.Module,
    start: Tensor,
    h0: Tensor,
    h1: Tensor,
    algorithm: str,
    norm: int,
    steps: int,
    rate: float,
) -> Tensor:
    with without_gradients(net), torch.inference_mode(False), torch.enable_grad():
        h0, h1 = h0.detach().clone(), h1.detach().clone()  # usable if made in inference mode
        z = start.clone().requires_grad_()
        optimizer = torch.optim.Adam([z], rate)
        for step in range(steps):
            optimizer.zero_grad()
            h = gate_scores(net, z)
            if algorithm == "agreed":
                cost = _agreed(h, h0, h1, step / steps)
            else:
                cost = _features(h, h0, h1, norm, algorithm == "masked")
            cost.sum().backward()
            optimizer.step()
        return z.detach()


def _features(h: Tensor, h0: Tensor, h1: Tensor, norm: int, masked: bool) -> Tensor:
    f, total = h.relu(), h.new_zeros(len(h))
    for end in (h0, h1):
        gap = (f - end.relu()).abs()
        if masked:
            gap = gap * ((h > 0) != (end > 0))
        total = total + (gap if norm == 1 else gap.square()).sum(1)
    return total


def _agreed(h: Tensor, h0: Tensor, h1: Tensor, progress: float) -> Tensor:
    a0, a1 = h0 > 0, h1 > 0
    agreed, sign = a0 == a1, torch.where(a0, 1.0, -1.0)
    hinge = (torch.relu(_MARGIN - sign * h) * agreed).sum(1)
    width = _SOFT[0] + (_SOFT[1] - _SOFT[0]) * progress
    soft = (torch.sigmoid(h / width) - a0.to(h)).abs()
    distance = (~agreed).sum(1)
    halfway = (2.0 * (soft * ~agreed).sum(1) - distance).square() / distance.clamp_min(1)
    return hinge + _WEIGHT * halfway
