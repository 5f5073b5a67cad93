"""The split tree of every class: which neurons a name such as '+++' stands for.

Symbols: W (K, n) weights, one row per class; root (K,) first cut. Outward nodes are named by
depth times their sign: '+' is every weight above the root, '++' those of it above its own cut;
'-', '--' below. An inner node is what an outward one leaves to its parent: '+-' is '+' without
'++'. The empty name is all neurons. The deepest outward nodes and the inner ones share out a row,
but for weights equal to its root.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

__all__ = ["Node", "NeuronTree"]

_sides = {"+": 0, "-": 1}


class Node(NamedTuple):
    """A set of neurons of one class; the last four are NaN for inner nodes, bounded on both sides.

    The interval holds the bounds of its weights: cuts, or the largest or smallest weight.
    """

    name: str
    num: int
    interval: tuple[float, float]
    scale: float  # of the exponential law from the cut outwards: the mean excess
    pvalue: float  # Anderson-Darling, of that law
    bic_gain: float  # nats, of an asymmetric Laplace law over it; above 0: another mode is seen
    excess_ratio: float  # scale over the parent's, 1 under the asymmetric Laplace law


@dataclass(frozen=True, eq=False)
class NeuronTree:
    """Split trees of K classes; made by `split_tree`.

    Arrays of outward nodes are (K, 2, depth), float64: right and left side, depth 1 first; 0
    neurons and NaN where a class has no such node. `degenerate` (K,) flags constant rows.
    """

    weights: Tensor  # (K, n)
    root: Tensor  # (K,)
    num: Tensor  # int64
    anchor: Tensor  # the bound towards the root: the parent's cut
    scale: Tensor
    pvalue: Tensor
    bic_gain: Tensor
    degenerate: Tensor

    @property
    def depth(self) -> int:
        """Depth of the deepest node of any class."""
        return self.num.shape[-1]

    @property
    def excess_ratio(self) -> Tensor:
        """Mean excess of a node over its parent's, NaN at depth 1."""
        ratio = torch.full_like(self.scale, torch.nan)
        ratio[..., 1:] = self.scale[..., 1:] / self.scale[..., :-1]
        return ratio

    def names(self, cls: int) -> tuple[str, ...]:
        """Names of the nodes of a class, from '+' outwards, then from '-'; inner ones between.

        Raises: ValueError for no such class.
        """
        cls = self._class(cls)
        found = []
        for sign, other in ("+-", "-+"):
            counts = self.num[cls, _sides[sign]].tolist()
            for depth, count in enumerate(counts, start=1):
                if count and depth > 1:
                    found.append(sign * (depth - 1) + other)
                if count:
                    found.append(sign * depth)
        return tuple(found)

    def mask(self, cls: int, name: str) -> Tensor:
        """(n,) bool: the neurons of a node of a class.

        Raises:
            TypeError: the name is no text.
            ValueError: no such class, a name that no node has, or none of this class.

        >>> from probact.models.neuron_split import split_tree
        >>> split_tree(torch.tensor([[-1.0, 0.5, 2.0, 0.0]])).mask(0, "+")
        tensor([False,  True,  True, False])
        """
        cls = self._class(cls)
        side, depth, inner = _parse(name)
        if not int(self.sizes(name)[cls]):
            known = ", ".join(self.names(cls)) or "none"
            raise ValueError(f"class {cls} has no node {name!r}; it has: {known}")
        mask = self._beyond(side, depth)[cls]
        return self._beyond(side, depth - 1)[cls] & ~mask if inner else mask

    def masks(self, *names: str) -> Tensor:
        """(K, n) bool: in each class the neurons that any of the named nodes holds.

        Raises: TypeError, ValueError as `mask`, for the first class without such a node.

        >>> from probact.models.neuron_split import split_tree
        >>> split_tree(torch.tensor([[-1.0, 0.5, 2.0, 0.0]])).masks("+", "-")
        tensor([[ True,  True,  True, False]])
        """
        if not names:
            raise ValueError("names must hold one node or more, got none")
        kept = torch.zeros_like(self.weights, dtype=torch.bool)
        for name in names:
            sizes = self.sizes(name)
            if bool((sizes == 0).any()):
                self.mask(int((sizes == 0).nonzero()[0]), name)  # says what the class has
            side, depth, inner = _parse(name)
            mask = self._beyond(side, depth)
            kept |= self._beyond(side, depth - 1) & ~mask if inner else mask
        return kept

    def sizes(self, name: str) -> Tensor:
        """(K,) int64: how many neurons a node has in each class, 0 where there is no such node.

        Raises: TypeError, ValueError for a name that no tree can have.

        >>> from probact.models.neuron_split import split_tree
        >>> split_tree(torch.tensor([[-1.0, 0.5, 2.0, 0.0]])).sizes("+")
        tensor([2])
        """
        side, depth, inner = _parse(name)
        if depth == 0:
            return torch.full_like(self.num[:, 0, 0], self.weights.shape[1])
        if depth > self.depth:
            return torch.zeros_like(self.num[:, 0, 0])
        sizes = self.num[:, side, depth - 1]
        parent = self.num[:, side, depth - 2]
        return torch.where(sizes > 0, parent - sizes, 0) if inner else sizes.clone()

    def nodes(self, cls: int) -> list[Node]:
        """The nodes of a class, as `names` orders them.

        Raises: ValueError for no such class.
        """
        return [self._node(cls, name) for name in self.names(cls)]

    def to_frame(self) -> pd.DataFrame:
        """A row per class and node: the fields of `Node`, the interval as `low` and `high`."""
        rows = [
            {"class": cls, "name": node.name, "num": node.num, "low": node.interval[0],
             "high": node.interval[1], **dict(zip(Node._fields[3:], node[3:], strict=True))}
            for cls in range(len(self.weights)) for node in self.nodes(cls)
        ]  # fmt: skip
        columns = ["class", "name", "num", "low", "high", *Node._fields[3:]]
        return pd.DataFrame(rows, columns=columns)

    def _node(self, cls: int, name: str) -> Node:
        side, depth, inner = _parse(name)
        at = (cls, side, depth - 1)
        bound = float(self.anchor[at])
        if inner:
            before = float(self.anchor[cls, side, depth - 2])
            fit = [float("nan")] * 4
            ends = (before, bound)
        else:
            columns = (self.scale, self.pvalue, self.bic_gain, self.excess_ratio)
            fit = [float(column[at]) for column in columns]
            row = self.weights[cls]
            ends = (bound, float(row.amin() if side else row.amax()))
        return Node(name, int(self.sizes(name)[cls]), (min(ends), max(ends)), *fit)

    def _beyond(self, side: int, depth: int) -> Tensor:
        """(K, n) bool: weights of the outward nodes at a depth, all of a row's at depth 0."""
        if depth == 0:
            return torch.ones_like(self.weights, dtype=torch.bool)
        bound = self.anchor[:, side, depth - 1, None]
        return self.weights < bound if side else self.weights > bound

    def _class(self, cls: int) -> int:
        count = len(self.weights)
        known = isinstance(cls, int | np.integer) and not isinstance(cls, bool)
        if not known or not 0 <= cls < count:
            raise ValueError(f"cls must be an integer from 0 to {count - 1}, got {cls!r}")
        return int(cls)


def _parse(name: str) -> tuple[int, int, bool]:
    """Side, depth, and whether it is the inner node beside the outward one of that depth."""
    if not isinstance(name, str):
        raise TypeError(f"name must be text such as '+++', got {type(name).__name__}")
    if not name:
        return 0, 0, False
    if set(name) - {"+", "-"} or name[0] * (len(name) - 1) != name[:-1]:
        raise ValueError(f"name must be one sign repeated, or ended by the other, got {name!r}")
    return _sides[name[0]], len(name), name[-1] != name[0]
