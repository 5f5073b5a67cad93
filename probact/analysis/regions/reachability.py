"""Does any input have a given pattern? One linear program decides, and shows such an input."""

from typing import Any, NamedTuple

from torch import Tensor, nn

from probact.analysis.patterns.gates import Pattern
from probact.analysis.patterns.recording import pattern_at
from probact.analysis.regions.linear_programs import MAX_SECONDS, interior_point
from probact.analysis.regions.local_affine import network_input
from probact.analysis.regions.polytope import region_of_pattern

__all__ = ["Witness", "reach"]


class Witness(NamedTuple):
    """An input (*input) with the pattern, and whether a pass of the network confirms it."""

    x: Tensor
    confirmed: bool


def reach(
    net: nn.Module,
    pattern: Pattern,
    centre: Any,
    *,
    box: float = float("inf"),
    max_seconds: float | None = MAX_SECONDS,
) -> Witness | None:
    """An input of the given pattern, within `box` of a point (*input); None where there is none.

    A pattern of all layers is a polytope, so that no search is needed. Patterns with an open
    interior alone count. Where max-pooling chooses among equals, the pattern of another choice has
    inputs that a pass does not confirm. Patterns of chosen bits come from `Pattern.with_bits`.

    Raises: as `region_of_pattern`; ValueError for a program that takes too long, saying how long.

    >>> import torch
    >>> net = nn.Sequential(nn.Linear(1, 1), nn.ReLU()).double().eval()
    >>> here = pattern_at(net, torch.zeros(1, 1).double())
    >>> other = here.with_bits(~here.bits())
    >>> reach(net, other, torch.zeros(1).double()).confirmed
    True
    """
    polytope = region_of_pattern(net, pattern, centre, box=box)
    point = interior_point(polytope, max_seconds=max_seconds)
    if point is None:
        return None
    like = network_input(net, centre, "centre")
    x = point.reshape(polytope.input_shape).to(like)
    confirmed = bool(pattern.matches(pattern_at(net, x.unsqueeze(0)))[0])
    return Witness(x, confirmed)
