r"""Splitting a class's neurons by their weights, over and over, in the tail of either sign.

After "An interpretation of the final fully connected layer", which cuts each part at its own
fitted mode. As printed that degenerates (`cut="mode"`), so other cuts are the default.

Symbols: theta (n,) weights of one class, root the first cut; a node on the right holds the weights
above its anchor a, N of them, with excess d = theta - a and scale s = mean d. Its outward child
holds those above a cut c, and has c for an anchor:

    "scale"     c = a + s, which leaves e^-1 = 36.8 % of an exponential node, of the same scale
    "median"    leaves half
    "log_mode"  a + exp of the mode of the asymmetric Laplace law fitted to log d: 26.7 % of an
                exponential node, 19.5 % of a half-normal one
    "mode"      the mode of the law fitted to theta in the node: as in the paper

The left side is the same for -theta. If theta follows an asymmetric Laplace law with the root for
its mode, both sides are exponential, hence memoryless: deeper nodes then say nothing new.

**With any cut the node '+..+' is exactly the q largest weights of its class, and '-..-' the q
smallest.** The tree chooses q for each class, nothing else.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probact.analysis.laplace_fits.mle import fit_asymmetric_laplace
from probact.analysis.laplace_fits.weight_rows import (
    as_weight_rows,
    check_sorted,
    row_blocks,
    sort_rows,
)
from probact.arrays import as_number, check_count
from probact.heads import find_head
from probact.models.neuron_split.growth import Chain, Rules, grow
from probact.models.neuron_split.neuron_tree import NeuronTree

__all__ = ["CUTS", "STOPS", "split_tree"]

CUTS = ("scale", "log_mode", "median", "mode")
STOPS = ("size", "gof", "bic")

_DEGENERATES = (
    "cut='mode' degenerates: each half of a unimodal density decreases away from the cut, so its "
    "fitted mode lies at the cut, and about two weights are peeled off per level; "
    "cut='log_mode' or 'scale' do not"
)


def split_tree(
    weights: Any,
    *,
    root: str = "zero",
    cut: str = "scale",
    stop: str | Sequence[str] = "size",
    min_size: int = 32,
    max_depth: int = 8,
    level: float = 0.05,
) -> NeuronTree:
    """Split trees of all classes of a head or its weights (K, n), in float64 inside.

    A node is not cut if it has fewer than `min_size` neurons or depth `max_depth`, if its cut
    would leave one side empty, or for one of the named further reasons:

    - "gof": the Anderson-Darling test does not reject the exponential law of the node at `level`
      (then nothing is left to split);
    - "bic": an asymmetric Laplace law does not beat the exponential law from the anchor. It seldom
      does: the honest verdict is that there is usually no second level.

    Neither holds for weights on a coarse grid, such as dequantised ones: equal weights look like
    a mode. With `stop="size"` neither counts, but every node carries both numbers. `root` is zero,
    or the mode of the asymmetric Laplace law fitted to the row. Time: one sort and a few passes
    over the weights, about 0.3 s for 1000 x 2048 on one core. Memory: the weights again and blocks
    of 2^17 of them.

    Args:
        weights: anything `find_head` takes, or a matrix (K, n).

    Raises:
        TypeError: no head and no array.
        ValueError: unknown root, cut or stop, counts or level out of range; weights that are not
            floating point, not (K, n >= 3), or hold NaN or infinity (the first row is named).
        LookupError: no head is found.

    >>> tree = split_tree(torch.linspace(-1.0, 2.0, 300)[None], max_depth=3)
    >>> tree.names(0)
    ('+', '+-', '++', '++-', '+++', '-', '-+', '--', '--+', '---')
    >>> tree.sizes("+++")
    tensor([50])
    """
    rules = _rules(root, cut, stop, min_size, max_depth, level)
    rows = as_weight_rows(_matrix(weights))
    if cut == "mode":
        warnings.warn(_DEGENERATES, stacklevel=2)
    sides: list[tuple[Chain, Chain]] = []
    roots, constant = [], []
    for block in row_blocks(rows):
        ordered = sort_rows(block)
        check_sorted(ordered, rows)
        x = ordered.double()
        start = fit_asymmetric_laplace(x).loc if root == "mode" else x.new_zeros(len(x))
        left = grow((-x).flip(-1), -start, rules)
        sides.append((grow(x, start, rules), left._replace(anchor=-left.anchor)))
        roots.append(start)
        constant.append(x[:, 0] == x[:, -1])
    return _tree(rows, sides, torch.cat(roots), torch.cat(constant))


def _matrix(weights: Any) -> Any:
    """The matrix itself, or the weight of a head."""
    if isinstance(weights, Tensor | np.ndarray | list):
        return weights
    return find_head(weights).weight


def _rules(
    root: str, cut: str, stop: str | Sequence[str], min_size: int, max_depth: int, level: float
) -> Rules:
    if root not in ("zero", "mode"):
        raise ValueError(f"root must be 'zero' or 'mode', got {root!r}")
    if cut not in CUTS:
        raise ValueError(f"cut must be one of {', '.join(CUTS)}, got {cut!r}")
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    unknown = [name for name in stops if name not in STOPS]
    if unknown or not stops:
        raise ValueError(f"stop must be of {', '.join(STOPS)}, or several of them, got {stop!r}")
    check_count(min_size, "min_size", 2)
    check_count(max_depth, "max_depth")
    level = as_number(level, "level")
    if level >= 1.0:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    return Rules(cut, frozenset(stops), level, min_size, max_depth)


def _tree(
    rows: Tensor, sides: list[tuple[Chain, Chain]], root: Tensor, constant: Tensor
) -> NeuronTree:
    """Blocks put together, and cut at the deepest node of any class."""
    right, left = (
        Chain(*(torch.cat(column) for column in zip(*chains, strict=True)))
        for chains in zip(*sides, strict=True)
    )
    both = Chain(*(torch.stack(pair, dim=1) for pair in zip(right, left, strict=True)))
    used = (both.num > 0).flatten(0, 1).any(0).nonzero()
    depth = int(used[-1]) + 1 if len(used) else 1
    kept = Chain(*(column[..., :depth].contiguous() for column in both))
    return NeuronTree(rows.clone(), root, *kept, degenerate=constant)
