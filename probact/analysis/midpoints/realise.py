r"""Inputs that have given activation patterns, for instance those drawn from a model of patterns.

Symbols: z (P, *input) inputs; h(z) (P, B) scores; s (P, B) the wanted bits as -1 and 1. Searched
by Adam on

    sum_i max(margin - s_i h_i(z), 0) / B

which is zero where every bit is met with the margin. A pattern of all layers is a polytope, which
a linear program finds exactly, or shows to be empty.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from probact.analysis.midpoints.gate_scores import as_pairs, gate_scores, without_gradients
from probact.analysis.patterns.recording import pattern_at
from probact.analysis.regions.reachability import reach
from probact.arrays import as_bits, as_number, check_count
from probact.capturing.passes import undisturbed

__all__ = ["Realised", "realise"]


@dataclass(frozen=True, eq=False)
class Realised:
    """Inputs x (P, *input), the number of bits each misses, and whether its pattern is possible.

    possible (P,) bool is None after a search, which cannot tell.
    """

    x: Tensor
    missed: Tensor  # (P,) int64
    possible: Tensor | None = None


def realise(
    net: nn.Module,
    bits: Any,
    start: Any,
    *,
    layer: str | None = None,
    method: str = "search",
    margin: float = 0.05,
    steps: int = 500,
    learning_rate: float = 0.02,
    limits: tuple[float, float] | None = None,
) -> Realised:
    """Inputs with patterns `bits` (P, B), from the points `start` (P, *input).

    Args:
        bits: zeros and ones in the layout of `Pattern.bits`, of all layers or of `layer` alone.
        method: "search", all rows at once, which keeps the best input it meets; or "program", a
            linear program a row, exact, for small networks: bits of all layers, and inputs that
            stay where they are if their pattern is empty.
        learning_rate: of Adam, in the units of the input.
        limits: the least and largest value of an input, which the search clips to.

    Raises:
        TypeError, ValueError: as `record` and `reach`; bits that do not fit; other options.

    >>> net = nn.Sequential(nn.Linear(2, 2), nn.ReLU()).eval()
    >>> net[0].weight.data, net[0].bias.data = torch.eye(2), torch.zeros(2)
    >>> realise(net, [[1, 0]], torch.zeros(1, 2)).missed
    tensor([0])
    """
    if method not in ("search", "program"):
        raise ValueError(f"method must be search or program, got {method!r}")
    check_count(steps, "steps")
    space, rate = as_number(margin, "margin"), as_number(learning_rate, "learning_rate")
    low, high = _limits(limits)
    z = as_pairs(net, start, start, ("start", "start"))[0]
    wanted = as_bits(bits, "bits").bool().to(z.device)
    with undisturbed(net):
        h = gate_scores(net, z, _layers(layer)).detach()
        if wanted.shape != h.shape:
            shapes = tuple(h.shape), tuple(wanted.shape)
            raise ValueError(f"bits must be {shapes[0]}, a row a start, got {shapes[1]}")
        if method == "program":
            if layer is not None or limits is not None:
                raise ValueError("a program takes bits of all layers, no layer, and no limits")
            return _programs(net, wanted, z)
        return _search(net, wanted, z, layer, space, rate, steps, low, high)


def _search(
    net: nn.Module,
    wanted: Tensor,
    start: Tensor,
    layer: str | None,
    margin: float,
    rate: float,
    steps: int,
    low: float,
    high: float,
) -> Realised:
    with without_gradients(net), torch.inference_mode(False), torch.enable_grad():
        sign = torch.where(wanted.clone(), 1.0, -1.0).to(start)
        z = start.clone().clamp(low, high).requires_grad_()
        best, kept = (
            torch.full((len(z),), wanted.shape[1] + 1, device=z.device),
            z.detach().clone(),
        )
        optimizer = torch.optim.Adam([z], rate)
        for step in range(steps + 1):
            optimizer.zero_grad()
            h = gate_scores(net, z, _layers(layer))
            missed = ((h > 0) != (sign > 0)).sum(1)
            better = missed < best
            kept[better], best = z.detach()[better], torch.where(better, missed, best)
            if step == steps or not bool(best.any()):
                break
            torch.relu(margin - sign * h).mean(1).sum().backward()
            optimizer.step()
            with torch.no_grad():
                z.clamp_(low, high)
    return Realised(kept, best)


def _programs(net: nn.Module, wanted: Tensor, start: Tensor) -> Realised:
    found, possible = start.clone(), torch.ones(len(start), dtype=torch.bool)
    for row, (bits, at) in enumerate(zip(wanted, start, strict=True)):
        pattern = pattern_at(net, at.unsqueeze(0)).with_bits(bits.unsqueeze(0).cpu())
        witness = reach(net, pattern, at)
        if witness is None:
            possible[row] = False
        else:
            found[row] = witness.x
    missed = ((gate_scores(net, found).detach() > 0) != wanted).sum(1)
    return Realised(found, missed, possible)


def _layers(layer: str | None) -> list[str] | None:
    return None if layer is None else [layer]


def _limits(limits: tuple[float, float] | None) -> tuple[float, float]:
    if limits is None:
        return -float("inf"), float("inf")
    if not isinstance(limits, tuple | list) or len(limits) != 2:
        raise ValueError(f"limits must be a pair (low, high), got {limits!r}")
    low = as_number(limits[0], "limits", -float("inf"))
    return low, as_number(limits[1], "limits", low)
