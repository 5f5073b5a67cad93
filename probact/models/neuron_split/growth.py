"""One side of the split tree, grown outwards from the root for many classes at once.

Symbols: x (k, n) rows in ascending order, the weights of k classes, or their negatives for the
left side. A node is the end of a row above its anchor, so that a start column describes it; its
outward child is the end above its cut. Depth 1 is all weights above the root.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from probact.models.neuron_split.node_fit import (
    anderson_darling,
    asymmetric_laplace_mode,
    exponential_pvalue,
    suffix,
)

__all__ = ["Chain", "Rules", "grow"]


class Rules(NamedTuple):
    """How nodes are cut, and when they are not."""

    cut: str
    stops: frozenset[str]
    level: float
    min_size: int
    max_depth: int


class Chain(NamedTuple):
    """Outward nodes of one side, by class and depth: (k, depth); 0 or NaN where there is none."""

    num: Tensor  # N, int64
    anchor: Tensor  # the cut of the parent
    scale: Tensor  # mean excess over the anchor
    pvalue: Tensor  # of the exponential law
    bic_gain: Tensor  # of the asymmetric Laplace law over it, nats; NaN without an interior weight


def grow(ordered: Tensor, root: Tensor, rules: Rules) -> Chain:
    """The outward nodes of rows (k, n), ascending, float64, above root (k,), to the full depth."""
    n = ordered.shape[1]
    start, anchor = _above(ordered, root), root
    levels = []
    for _ in range(rules.max_depth):
        here = start < n
        if not bool(here.any()):
            break
        fit, cut = _fitted(ordered, start, anchor, rules.cut)
        blank = [torch.where(here, column, torch.nan) for column in (anchor, *fit)]
        levels.append((n - start, *blank))
        start = _next_start(ordered, start, cut, here & _goes_on(n - start, fit, rules))
        anchor = cut
    return _stacked(levels, ordered, rules.max_depth)


def _above(ordered: Tensor, bound: Tensor) -> Tensor:
    """First column (k,) of each row strictly above the bound (k,), n where there is none."""
    return torch.searchsorted(ordered, bound[:, None].contiguous(), right=True).squeeze(-1)


def _fitted(
    ordered: Tensor, start: Tensor, anchor: Tensor, cut: str
) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """The nodes' (scale, p-value, BIC gain), and where they would be cut, (k,) each."""
    node = suffix(ordered, start)
    num = node.num.squeeze(-1)
    excess = node.values - anchor[:, None]
    scale = node.sums_after(excess)[1] / node.num  # (k, 1)
    pvalue = exponential_pvalue(anderson_darling(node, excess, scale), num)
    column, h = asymmetric_laplace_mode(node, excess)
    scale = scale.squeeze(-1)
    gain = 2.0 * num * (scale.log() - 2.0 * h.log()) - 2.0 * num.log()
    gain = torch.where(torch.isfinite(h), gain, torch.nan)
    if cut == "scale":
        at = anchor + scale
    elif cut == "median":
        middle = start + (ordered.shape[1] - start - 1).clamp(min=0) // 2
        at = _entry(ordered, middle.clamp(max=ordered.shape[1] - 1))
    else:
        if cut == "log_mode":
            logs = torch.where(node.inside, excess, 1.0).log()
            column, h = asymmetric_laplace_mode(node, logs)
        at = torch.where(torch.isfinite(h), _entry(node.values, column), torch.nan)
    return (scale, pvalue, gain), at


def _entry(rows: Tensor, column: Tensor) -> Tensor:
    return rows.gather(-1, column[:, None]).squeeze(-1)


def _goes_on(num: Tensor, fit: tuple[Tensor, Tensor, Tensor], rules: Rules) -> Tensor:
    """Whether a node of that size and fit is cut, (k,) bool."""
    _, pvalue, gain = fit
    on = num >= rules.min_size
    if "gof" in rules.stops:
        on &= pvalue < rules.level
    if "bic" in rules.stops:
        on &= gain > 0.0
    return on


def _next_start(ordered: Tensor, start: Tensor, cut: Tensor, split: Tensor) -> Tensor:
    """Start (k,) of the outward child; n where there is none, or nothing would be left beside."""
    n = ordered.shape[1]
    child = _above(ordered, cut)
    return torch.where(split & (child > start) & torch.isfinite(cut), child, n)


def _stacked(levels: list[tuple[Tensor, ...]], ordered: Tensor, depth: int) -> Chain:
    k, device = len(ordered), ordered.device
    nothing = torch.zeros(k, dtype=torch.int64, device=device)
    nan = torch.full((k,), torch.nan, dtype=torch.float64, device=device)
    levels = levels + [(nothing, nan, nan, nan, nan)] * (depth - len(levels))
    return Chain(*(torch.stack(column, dim=-1) for column in zip(*levels, strict=True)))
