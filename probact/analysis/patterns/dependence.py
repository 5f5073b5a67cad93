r"""Do units fire independently of each other? The variance of Hamming distances tells.

Symbols: N rows, n bits; d the distance of two rows; q_i = 2 c_i (N - c_i) / (N (N - 1)) the share
of pairs of rows that differ in bit i, c_i its ones. Over all pairs, Var d = sum_i q_i (1 - q_i)
on average when each bit is permuted over the rows by itself; VR is the ratio of the two.

With s_i in {-1, 1}^N the bit i, VR - 1 = sum over i < j of ((s_i's_j)^2 - N) / (N (N - 1)) less
its mean, over 2 sum_i q_i (1 - q_i). Under permutation s_i's_j is 4 H + N - 2 c_i - 2 c_j with H
hypergeometric, and the terms are uncorrelated, which gives the variance of VR exactly.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy import stats

from probact.analysis.patterns.hamming import hamming_counts
from probact.analysis.patterns.packed_patterns import PackedPatterns

__all__ = ["DependenceTest", "dependence_test"]

_BLOCK = 1 << 20  # pairs of counts at once


class DependenceTest(NamedTuple):
    """`variance_ratio` VR, 1 expected of independent bits, with `standard_error` under them.

    `p_value` is that of a VR as large, by a chi-square law of the right mean and variance;
    `effective_bits` is n / VR, over the bits that are neither dead nor always on.
    """

    variance_ratio: float
    standard_error: float
    p_value: float
    effective_bits: float
    mean_distance: float
    distance_variance: float


def dependence_test(patterns: PackedPatterns) -> DependenceTest:
    """Test that bits are independent of each other, whatever their probabilities.

    Distances of all pairs of rows are counted, O(N^2) of time and O(n) of memory; for very many
    rows take some of them. Dependence of either sign makes VR larger than 1.

    Raises:
        TypeError: no `PackedPatterns`.
        ValueError: fewer than three rows, or fewer than two bits that vary.

    >>> bits = torch.rand(400, 20, generator=torch.Generator().manual_seed(0)) < 0.3
    >>> twice = PackedPatterns.from_bits(torch.cat([bits, bits], 1))
    >>> 1.9 < dependence_test(twice).variance_ratio < 2.1
    True
    """
    if not isinstance(patterns, PackedPatterns):
        raise TypeError(f"patterns must be PackedPatterns, got {type(patterns).__name__}")
    rows, ones = patterns.num_rows, patterns.counts().cpu().numpy()
    varying = ones[(ones > 0) & (ones < rows)]
    if rows < 3 or len(varying) < 2:
        raise ValueError(
            f"patterns must have 3 rows and 2 bits that vary, got {rows} and {len(varying)}"
        )
    pairs = hamming_counts(patterns).double()
    distance = torch.arange(len(pairs), dtype=torch.float64)
    mean = float((pairs @ distance) / pairs.sum())
    variance = float((pairs @ (distance - mean).square()) / pairs.sum())
    q = 2.0 * varying * (rows - varying) / (rows * (rows - 1.0))
    alone = float((q * (1.0 - q)).sum())
    if alone <= 0.0:
        raise ValueError("every two rows differ in every bit that varies: no variance to compare")
    ratio = variance / alone
    error, degrees = _null(varying, rows, alone)
    above = degrees + (ratio - 1.0) / error * math.sqrt(2.0 * degrees) if error else math.nan
    p_value = float(stats.chi2.sf(above, degrees)) if error else 1.0
    return DependenceTest(ratio, error, p_value, len(varying) / ratio, mean, variance)


def _null(ones: np.ndarray, rows: int, alone: float) -> tuple[float, float]:
    """Standard error of VR under permutation, and degrees of freedom of its chi-square law."""
    values, times = np.unique(ones, return_counts=True)
    first = second = 0.0  # sums over i < j of sd and of variance of the terms
    step = max(1, _BLOCK // len(values))
    for start in range(0, len(values), step):
        at = slice(start, start + step)
        spread = _square_variance(values[at, None], values[None, :], rows)  # (U', U)
        pairs = times[at, None] * times[None, :].astype(float)
        same = np.equal(values[at, None], values[None, :])
        pairs = 0.5 * np.where(same, pairs - times[at, None], pairs)
        second += float((pairs * spread).sum())
        first += float((pairs * np.sqrt(spread)).sum())
    scale = 2.0 * alone * rows * (rows - 1.0)
    return math.sqrt(second) / scale, first * first / second if second else 1.0


def _square_variance(a: np.ndarray, b: np.ndarray, rows: int) -> np.ndarray:
    """Variance of (s_i's_j)^2 for bits with a and b ones, one of them permuted."""
    mean = (rows - 2.0 * a) * (rows - 2.0 * b) / rows
    v, third, fourth = _hypergeometric_moments(a.astype(float), b.astype(float), float(rows))
    square = 16.0 * v + mean**2
    power = 256.0 * fourth + 256.0 * third * mean + 96.0 * v * mean**2 + mean**4
    return np.maximum(power - square**2, 0.0)


def _hypergeometric_moments(a: np.ndarray, b: np.ndarray, n: float) -> tuple[np.ndarray, ...]:
    """Central moments 2, 3, 4 of the ones that two bits share, from factorial moments."""
    first = a * b / n
    factorial = [first]
    for k in (1.0, 2.0, 3.0):
        left = n - k
        factorial.append(factorial[-1] * (a - k) * (b - k) / left if left > 0 else 0.0 * first)
    f1, f2, f3, f4 = factorial
    raw2, raw3 = f2 + f1, f3 + 3.0 * f2 + f1
    raw4 = f4 + 6.0 * f3 + 7.0 * f2 + f1
    v = raw2 - f1**2
    third = raw3 - 3.0 * f1 * raw2 + 2.0 * f1**3
    fourth = raw4 - 4.0 * f1 * raw3 + 6.0 * f1**2 * raw2 - 3.0 * f1**4
    return v, third, fourth
