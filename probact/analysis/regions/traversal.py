r"""The regions that a straight line goes through, exactly.

Symbols: z(t) = x0 + t (x1 - x0), t in [0, 1]. In a region every margin is linear in t; the first
one to reach zero is where the line leaves. A region between, narrower than the step behind the
crossing, is looked for by halving the step until the next region begins at the crossing itself.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from probact.analysis.patterns.gates import Pattern
from probact.analysis.patterns.recording import pattern_at
from probact.analysis.patterns.replaying import check_affine
from probact.analysis.regions.local_affine import network_input
from probact.analysis.regions.polytope import margins_at
from probact.arrays import check_count

__all__ = ["Traversal", "check_double", "traverse"]

_STEP = 1e-6  # behind a crossing, to begin with
_LEAST = 1e-14  # of t: regions narrower than this cannot be told


class Traversal(NamedTuple):
    """What the line from x0 to x1 meets.

    `crossings` (R - 1,) are the t at which it goes from one of the R regions to the next;
    `flips[r]` the bits, in the layout of `Pattern.bits`, that change there; `distance` the Hamming
    distance of the two ends; without choices unless asked for. A line is a Hamming geodesic
    where flips = distance; `detour` counts the pairs of flips that undo each other.
    """

    crossings: Tensor
    flips: tuple[Tensor, ...]
    distance: int

    @property
    def num_regions(self) -> int:
        """R."""
        return len(self.crossings) + 1

    @property
    def num_flips(self) -> int:
        """All changes of bits along the line."""
        return sum(len(bits) for bits in self.flips)

    @property
    def detour(self) -> float:
        """(flips - distance) / 2."""
        return 0.5 * (self.num_flips - self.distance)


def traverse(
    net: nn.Module, x0: Any, x1: Any, *, choices: bool = False, max_regions: int = 100_000
) -> Traversal:
    """Follow the line from x0 to x1 (*input) from region to region.

    The pattern begins as that of x0 and ends as that of x1, also where these lie on a boundary,
    which is then a crossing at 0 or 1. `choices` counts the bits of max-pooling too.

    Raises:
        TypeError, ValueError: as `record`; x0 and x1 of different shapes, or a network that is not
            in float64; more than max_regions regions.

    >>> net = nn.Sequential(nn.Linear(1, 2), nn.ReLU()).double().eval()
    >>> net[0].weight.data, net[0].bias.data = torch.ones(2, 1).double(), torch.zeros(2).double()
    >>> net[0].bias.data[1] = -0.5
    >>> traverse(net, [-1.0], [1.0]).crossings  # at z = 0 and z = 1/2
    tensor([0.5000, 0.7500], dtype=torch.float64)
    """
    a, b = (network_input(net, x, name) for x, name in ((x0, "x0"), (x1, "x1")))
    if a.shape != b.shape:
        raise ValueError(f"x0 and x1 have shapes {tuple(a.shape)} and {tuple(b.shape)}")
    check_double(a)
    check_count(max_regions, "max_regions")
    ends = torch.stack([a, b])
    pattern = pattern_at(net, ends[:1])
    check_affine(net, pattern, ends[:1])
    last = pattern_at(net, ends[1:])
    distance = int(_flips(pattern, last, choices).numel())
    crossings: list[float] = []
    flips: list[Tensor] = []
    t = _leave(net, pattern, ends, 0.0)
    while t < 1.0:
        if len(crossings) + 1 >= max_regions:
            raise ValueError(f"the line meets more than max_regions={max_regions} regions")
        new = _next(net, ends, t)
        crossings.append(t)
        flips.append(_flips(pattern, new, choices))
        pattern = new
        t = max(_leave(net, pattern, ends, t), t)
    if not bool(pattern.matches(last)):  # x1 is on a boundary
        crossings.append(1.0)
        flips.append(_flips(pattern, last, choices))
    return Traversal(torch.tensor(crossings, dtype=torch.float64), tuple(flips), distance)


def check_double(x: Tensor) -> None:
    """Refuse a precision in which the boundaries of regions are blurred."""
    if x.dtype != torch.float64:
        raise ValueError(
            f"the network and its inputs must be float64 here, got {x.dtype}: net.double()"
        )


def _flips(a: Pattern, b: Pattern, choices: bool) -> Tensor:
    """Places of the bits that differ."""
    if not choices and all(gate.is_choice for gate in a.gates):
        return torch.zeros(0, dtype=torch.int64)
    different = a.bits(choices=choices) != b.bits(choices=choices)
    return different[0].nonzero().squeeze(1).cpu()


def _next(net: nn.Module, ends: Tensor, t: float) -> Pattern:
    """The pattern of the region that begins at t."""
    step = min(_STEP, 0.5 * (1.0 - t))
    while True:
        point = ends[0] + (t + step) * (ends[1] - ends[0])
        pattern = pattern_at(net, point.unsqueeze(0))
        begins = _enter(net, pattern, ends, t + step)
        if begins <= t + _LEAST or step <= _LEAST:
            return pattern
        step = 0.5 * (begins - t) if begins < t + step else 0.5 * step


def _margins(net: nn.Module, pattern: Pattern, ends: Tensor) -> tuple[Tensor, Tensor]:
    """Margins at both ends under the pattern, (B,) each."""
    both = margins_at(net, pattern, ends)
    finite = torch.isfinite(both).all(0)
    return both[0][finite], both[1][finite]


def _leave(net: nn.Module, pattern: Pattern, ends: Tensor, t: float) -> float:
    """The t at which the line leaves the region, 1 or more where it does not."""
    first, last = _margins(net, pattern, ends)
    falling = first > last
    if not bool(falling.any()):
        return 1.0
    at = first[falling] / (first[falling] - last[falling])
    return float(at.clamp_min(t).min())


def _enter(net: nn.Module, pattern: Pattern, ends: Tensor, t: float) -> float:
    """The t at which the line has entered the region."""
    first, last = _margins(net, pattern, ends)
    rising = last > first
    if not bool(rising.any()):
        return 0.0
    at = first[rising] / (first[rising] - last[rising])
    return float(at.clamp_max(t).max())
