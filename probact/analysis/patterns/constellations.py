r"""Constellations: do patterns fall into groups? The tree of complete linkage and its score.

Symbols: N rows, n bits; heights h_1 <= .. <= h_{N-1} at which the tree of complete linkage joins
groups, the diameter of the joint group in bits; C(h) = 1 + #{k : h_k > h} the groups of diameter
at most h. The area below C from 0 to n is n + sum of the heights, so that
score = sum of the heights / (n (N - 1)) lies in [0, 1]: small for few tight groups.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy.cluster.hierarchy import linkage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from probact.analysis.patterns.hamming import condensed_hamming, hamming_blocks
from probact.analysis.patterns.packed_patterns import PackedPatterns
from probact.arrays import check_count, check_seed

__all__ = ["Constellations", "constellations", "strict_constellations"]


class Constellations(NamedTuple):
    """The score, beside those of random patterns, and the heights (N - 1,) of the tree.

    `fair` is the score of fair coins, `matched` that of independent bits with the same p_i, one
    draw of each of the same size.
    """

    score: float
    fair: float
    matched: float
    heights: Tensor
    num_bits: int

    def curve(self) -> Tensor:
        """C(h) at h = 0, 1, .., n, (n + 1,) int64."""
        joined = torch.bincount(self.heights, minlength=self.num_bits + 1).cumsum(0)
        return 1 + len(self.heights) - joined

    def plateau(self) -> tuple[int, int]:
        """The widest gap between heights: diameters h, h' with C constant on [h, h')."""
        gaps = self.heights.diff()
        if len(gaps) == 0:
            return 0, int(self.heights[0])
        at = int(gaps.argmax())
        return int(self.heights[at]), int(self.heights[at + 1])


def constellations(
    patterns: PackedPatterns, *, max_rows: int = 4000, seed: int = 0
) -> Constellations:
    """Tree of complete linkage of the rows, or of `max_rows` of them drawn without replacement.

    Takes about 14 bytes for each of the N (N - 1) / 2 pairs: 110 MB for 4000 rows.

    Raises:
        TypeError: no `PackedPatterns`.
        ValueError: fewer than two rows, max_rows below 2, a seed that is none.

    >>> found = constellations(PackedPatterns.from_bits([[0, 0], [0, 0], [1, 1], [1, 1]]))
    >>> found.heights, found.score, found.curve()
    (tensor([0, 0, 2]), 0.3333333333333333, tensor([2, 2, 1]))
    """
    if not isinstance(patterns, PackedPatterns):
        raise TypeError(f"patterns must be PackedPatterns, got {type(patterns).__name__}")
    check_count(max_rows, "max_rows", 2)
    check_seed(seed)
    if patterns.num_rows < 2:
        raise ValueError(f"patterns must have at least 2 rows, got {patterns.num_rows}")
    random = np.random.default_rng(seed)
    if patterns.num_rows > max_rows:
        chosen = np.sort(random.choice(patterns.num_rows, max_rows, replace=False))
        patterns = patterns.rows(torch.from_numpy(chosen).to(patterns.words.device))
    rows, bits = patterns.num_rows, patterns.num_bits
    heights = _heights(patterns)
    p = patterns.counts().cpu().numpy() / rows
    others = [_heights(_independent(q, rows, random)) for q in (np.full(bits, 0.5), p)]
    score, fair, matched = (float(h.sum()) / (bits * (rows - 1)) for h in (heights, *others))
    return Constellations(score, fair, matched, torch.from_numpy(heights), bits)


def strict_constellations(patterns: PackedPatterns, diameter: int) -> list[Tensor]:
    """Groups of at least two rows that all are within `diameter` bits, no other row of any is.

    They are the connected components of {d <= diameter} that are cliques: stricter than a cut of
    the tree, which may part rows that are near.

    Raises:
        TypeError: no `PackedPatterns`.
        ValueError: diameter is no integer of at least 0.

    >>> patterns = PackedPatterns.from_bits([[0, 0, 0], [1, 1, 1], [0, 0, 1]])
    >>> strict_constellations(patterns, 1), strict_constellations(patterns, 2)
    ([tensor([0, 2])], [])
    """
    check_count(diameter, "diameter", 0)
    first, second = [], []
    for at, block in hamming_blocks(patterns):
        near = (block <= diameter).nonzero().cpu().numpy()
        first.append(near[:, 0] + at.start)
        second.append(near[:, 1])
    i, j = np.concatenate(first), np.concatenate(second)
    rows = patterns.num_rows
    graph = coo_matrix((np.ones(len(i), bool), (i, j)), shape=(rows, rows))
    _, labels = connected_components(graph, directed=False)
    degrees, sizes = np.bincount(i, minlength=rows), np.bincount(labels)
    whole = np.bincount(labels, degrees) == sizes.astype(float) ** 2
    kept = np.flatnonzero(whole & (sizes > 1))
    return [torch.from_numpy(np.flatnonzero(labels == group)) for group in kept]


def _heights(patterns: PackedPatterns) -> np.ndarray:
    """Heights (N - 1,) int64, ascending."""
    tree = linkage(condensed_hamming(patterns).astype(np.float64), "complete")
    return np.sort(np.rint(tree[:, 2]).astype(np.int64))


def _independent(p: np.ndarray, rows: int, random: np.random.Generator) -> PackedPatterns:
    """Rows of independent bits of probabilities p (n,)."""
    parts = [
        PackedPatterns.from_bits(random.random((64, len(p)), np.float32) < p)
        for _ in range(0, rows, 64)
    ]
    words = torch.cat([part.words for part in parts])[:rows]
    return PackedPatterns(words, parts[0].layers)
