r"""Hamming distances between packed patterns: in how many bits two rows differ.

Symbols: a (N, B), b (M, B) bits; d_ij = |a_i - b_j|_1. On a CPU words are compared and their bits
counted; on other devices d = (B - (2a - 1)(2b - 1)') / 2 by matrix products, exact in float32 up
to 2^24 bits.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from probact.analysis.patterns.hamming_compiled.popcounts import (
    condensed_distances,
    count_distances,
    cross_distances,
)
from probact.analysis.patterns.packed_patterns import PackedPatterns
from probact.arrays import check_count

__all__ = [
    "condensed_hamming",
    "hamming",
    "hamming_blocks",
    "hamming_counts",
    "signed_product_distances",
    "weighted_hamming",
]

_BLOCK = 1 << 22  # distances held at once
_BITS = 1 << 26  # bits laid open at once for a matrix product


def hamming(a: PackedPatterns, b: PackedPatterns | None = None) -> Tensor:
    """Distances (N, M) int32 of the rows of a to those of b, or of a: 4 N M bytes.

    Whole, so for matrices that fit; `hamming_blocks` gives them a block at a time. For one layer
    compare `a.layer(name)`.

    Raises:
        TypeError: no `PackedPatterns`.
        ValueError: other layers, or another device.

    >>> a = PackedPatterns.from_bits([[0, 1, 1], [1, 1, 1]])
    >>> hamming(a)
    tensor([[0, 1],
            [1, 0]], dtype=torch.int32)
    """
    b = _checked(a, b)
    out = torch.empty(a.num_rows, b.num_rows, dtype=torch.int32, device=a.words.device)
    for at, block in hamming_blocks(a, b):
        out[at] = block
    return out


def weighted_hamming(
    a: PackedPatterns, b: PackedPatterns | None = None, weights: Sequence[float] | None = None
) -> Tensor:
    """Sum over the layers of weight times distance, (N, M) float64: 8 N M bytes.

    Weights are 1 / B_l without `weights`: the mean over the layers, up to their number, of the
    share of bits that differ.

    Raises: as `hamming`; ValueError: not one weight per layer, or one that is not finite.

    >>> a = PackedPatterns.from_bits([[0, 1, 1, 0], [1, 1, 1, 0]])
    >>> weighted_hamming(a)[0, 1]
    tensor(0.2500, dtype=torch.float64)
    """
    b = _checked(a, b)
    sizes = [1.0 / layer.num_bits for layer in a.layers]
    given = sizes if weights is None else [float(w) for w in weights]
    if len(given) != len(sizes) or not np.isfinite(given).all():
        raise ValueError(
            f"weights must be {len(sizes)} finite numbers, one a layer, got {weights}"
        )
    shape = (a.num_rows, b.num_rows)
    out = torch.zeros(shape, dtype=torch.float64, device=a.words.device)
    for weight, (_, one), (_, other) in zip(given, a.each_layer(), b.each_layer(), strict=True):
        for at, block in hamming_blocks(one, other):
            out[at] += weight * block
    return out


def hamming_blocks(
    a: PackedPatterns, b: PackedPatterns | None = None, *, rows: int | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """Blocks of rows of a and their distances (n, M) int32 to all rows of b, or of a.

    A block has `rows` rows, or as many as give 2^22 distances; nothing else grows with N M.

    Raises: as `hamming`; ValueError: rows is no positive integer.

    >>> a = PackedPatterns.from_bits(torch.eye(3))
    >>> [block.tolist() for _, block in hamming_blocks(a, rows=2)]
    [[[0, 2, 2], [2, 0, 2]], [[2, 2, 0]]]
    """
    b = _checked(a, b)
    if rows is not None:
        check_count(rows, "rows")
    step = rows or max(1, _BLOCK // max(1, b.num_rows))
    return _blocks(a, b, step)


def _blocks(a: PackedPatterns, b: PackedPatterns, step: int) -> Iterator[tuple[slice, Tensor]]:
    compiled = a.words.device.type == "cpu"
    other = _words(b) if compiled else None
    for start in range(0, a.num_rows, step):
        at = slice(start, min(start + step, a.num_rows))
        if compiled:
            out = np.empty((at.stop - start, b.num_rows), np.int32)
            cross_distances(_words(a)[at], other, out)
            yield at, torch.from_numpy(out)
        else:
            yield at, signed_product_distances(a.rows(at), b)


def signed_product_distances(a: PackedPatterns, b: PackedPatterns) -> Tensor:
    """Distances (N, M) int32 by products of rows of +1 and -1, on any device.

    >>> a = PackedPatterns.from_bits([[0, 1, 1], [1, 1, 1]])
    >>> signed_product_distances(a, a)
    tensor([[0, 1],
            [1, 0]], dtype=torch.int32)
    """
    left = 2.0 * a.bits().float() - 1.0  # (N, B)
    out = torch.empty(a.num_rows, b.num_rows, dtype=torch.int32, device=a.words.device)
    for at, bits in b.blocks(max(1, _BITS // a.num_bits)):
        inner = left @ (2.0 * bits.float() - 1.0).mT
        out[:, at] = ((a.num_bits - inner) / 2.0).round().int()
    return out


def condensed_hamming(a: PackedPatterns) -> np.ndarray:
    """Distances (N(N-1)/2,) uint16 or int32 of the pairs i < j, as `scipy.cluster` takes them.

    Compiled, on the CPU. uint16 where B < 2^16: 2 bytes a pair.

    Raises: TypeError: no `PackedPatterns`.

    >>> condensed_hamming(PackedPatterns.from_bits(torch.eye(3))).tolist()
    [2, 2, 2]
    """
    _checked(a, None)
    kind = np.uint16 if a.num_bits < 1 << 16 else np.int32
    out = np.empty(a.num_rows * (a.num_rows - 1) // 2, kind)
    condensed_distances(_words(a), out)
    return out


def hamming_counts(a: PackedPatterns) -> Tensor:
    """Pairs i < j at each distance 0, .., B, (B + 1,) int64: memory does not grow with N.

    Raises: TypeError: no `PackedPatterns`.

    >>> hamming_counts(PackedPatterns.from_bits([[0, 0], [0, 1], [1, 1]]))
    tensor([0, 2, 1])
    """
    _checked(a, None)
    counts = np.zeros(a.num_bits + 1, np.int64)
    count_distances(_words(a), counts)
    return torch.from_numpy(counts)


def _words(a: PackedPatterns) -> np.ndarray:
    return np.ascontiguousarray(a.words.cpu().numpy()).view(np.uint64)


def _checked(a: PackedPatterns, b: PackedPatterns | None) -> PackedPatterns:
    for name, value in (("a", a), ("b", a if b is None else b)):
        if not isinstance(value, PackedPatterns):
            raise TypeError(
                f"{name} must be PackedPatterns (from collect, or from_bits), got "
                f"{type(value).__name__}"
            )
    if b is None:
        return a
    sizes = [[layer.num_bits for layer in p.layers] for p in (a, b)]
    if sizes[0] != sizes[1]:
        raise ValueError(f"a and b must have the same layers, got {sizes[0]} and {sizes[1]} bits")
    if a.words.device != b.words.device:
        raise ValueError(f"a is on {a.words.device}, b on {b.words.device}")
    return b
