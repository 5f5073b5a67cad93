"""Hamming distances of packed rows: exclusive or and a count of bits, word by word, compiled.

Symbols: a (N, W), b (M, W) rows of uint64 words; d_ij the number of bits in which a_i and b_j
differ. Rows of b are taken in groups that stay in the cache.
"""

from typing import Any

from numba.core import types
from numba.extending import intrinsic

from probact.compiled import compiled

__all__ = ["condensed_distances", "count_distances", "cross_distances", "paired_distances"]

_WORDS = 1 << 14  # of a group of rows of b: 128 kB


@intrinsic
def _popcount(context: Any, word: Any) -> Any:
    """Number of ones: the instruction, which numba has no function for."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), code


def _cross(a: Any, b: Any, out: Any) -> None:
    """Fill out (N, M) with d_ij."""
    group = max(16, _WORDS // max(1, a.shape[1]))
    for start in range(0, len(b), group):
        stop = min(start + group, len(b))
        for i in range(len(a)):
            for j in range(start, stop):
                count = 0
                for k in range(a.shape[1]):
                    count += _popcount(a[i, k] ^ b[j, k])
                out[i, j] = count


def _condensed(a: Any, out: Any) -> None:
    """Fill out (N(N-1)/2,) with d_ij, i < j, in the order of scipy's condensed matrices."""
    size, group = len(a), max(16, _WORDS // max(1, a.shape[1]))
    for start in range(0, size, group):
        stop = min(start + group, size)
        for i in range(stop - 1):
            first = i * size - i * (i + 1) // 2 - i - 1
            for j in range(max(start, i + 1), stop):
                count = 0
                for k in range(a.shape[1]):
                    count += _popcount(a[i, k] ^ a[j, k])
                out[first + j] = count


def _counted(a: Any, counts: Any) -> None:
    """Add to counts (B + 1,) the number of pairs i < j at each distance."""
    size, group = len(a), max(16, _WORDS // max(1, a.shape[1]))
    for start in range(0, size, group):
        stop = min(start + group, size)
        for i in range(stop - 1):
            for j in range(max(start, i + 1), stop):
                count = 0
                for k in range(a.shape[1]):
                    count += _popcount(a[i, k] ^ a[j, k])
                counts[count] += 1


def _paired(a: Any, first: Any, second: Any, out: Any) -> None:
    """Fill out (m,) with the distances of rows first (m,) and second (m,) of a."""
    for pair in range(len(first)):
        count = 0
        for k in range(a.shape[1]):
            count += _popcount(a[first[pair], k] ^ a[second[pair], k])
        out[pair] = count


cross_distances = compiled(_cross, nogil=True)
condensed_distances = compiled(_condensed, nogil=True)
count_distances = compiled(_counted, nogil=True)
paired_distances = compiled(_paired, nogil=True)
