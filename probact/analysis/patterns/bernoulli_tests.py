r"""Are patterns like fair coins? Exact tests of the mean Hamming distance and of each unit.

Symbols: N rows, n bits, c_i ones of bit i; d the distance of two rows. For independent fair bits
the sum of d over m disjoint pairs is Binomial(n m, 1/2). The mean over all pairs is
sum_i 2 c_i (N - c_i) / (N (N - 1)): it depends on the c_i alone, so it says nothing about
dependence, for which see `dependence_test`; and it rejects independent bits that are no fair ones.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from probact.analysis.patterns.hamming_compiled.popcounts import paired_distances
from probact.analysis.patterns.packed_patterns import PackedPatterns
from probact.arrays import as_number, check_seed

__all__ = ["BernoulliTest", "MarginalTest", "bernoulli_test", "marginal_test"]


class BernoulliTest(NamedTuple):
    """Mean distance of m disjoint pairs and of all pairs, n / 2 expected of fair coins.

    `standard_error` sqrt(n / (4 m)) and the exact two-sided `p_value` belong to `mean`;
    `all_pairs_error` sqrt(n / (2 N (N - 1))) to `all_pairs_mean`.
    """

    mean: float
    num_pairs: int
    expected: float
    standard_error: float
    p_value: float
    all_pairs_mean: float
    all_pairs_error: float


class MarginalTest(NamedTuple):
    """Two-sided binomial p-values (n,) of p_i = 1/2, and which are rejected."""

    p_values: Tensor
    rejected: Tensor


def bernoulli_test(patterns: PackedPatterns, *, seed: int = 0) -> BernoulliTest:
    """Test that all bits are independent fair coins by the mean Hamming distance.

    Rows are paired at random, each in one pair, N // 2 of them.

    Raises:
        TypeError: no `PackedPatterns`.
        ValueError: fewer than two rows, or a seed that is none.

    >>> packed = PackedPatterns.from_bits(torch.eye(8))
    >>> bernoulli_test(packed).mean, bernoulli_test(packed).p_value < 0.02
    (2.0, True)
    """
    _checked(patterns)
    check_seed(seed)
    rows, bits = patterns.num_rows, patterns.num_bits
    order = np.random.default_rng(seed).permutation(rows)
    pairs = rows // 2
    words = np.ascontiguousarray(patterns.words.cpu().numpy()).view(np.uint64)
    distances = np.empty(pairs, np.int64)
    paired_distances(words, order[:pairs], order[pairs : 2 * pairs], distances)
    total = int(distances.sum())
    counts = patterns.counts().double().cpu()
    return BernoulliTest(
        mean=total / pairs,
        num_pairs=pairs,
        expected=bits / 2,
        standard_error=math.sqrt(bits / (4 * pairs)),
        p_value=float(_two_sided(np.array([total]), bits * pairs)[0]),
        all_pairs_mean=float((2.0 * counts * (rows - counts)).sum()) / (rows * (rows - 1)),
        all_pairs_error=math.sqrt(bits / (2 * rows * (rows - 1))),
    )


def marginal_test(patterns: PackedPatterns, *, level: float = 0.05) -> MarginalTest:
    """Test each bit for p_i = 1/2, with the false discovery rate held at the level.

    Benjamini & Hochberg 1995. It controls the rate for independent and for positively dependent
    tests.

    Raises:
        TypeError: no `PackedPatterns`.
        ValueError: fewer than two rows, level outside (0, 1).

    >>> marginal_test(PackedPatterns.from_bits([[0, 1]] * 4 + [[0, 0]] * 4)).rejected
    tensor([ True, False])
    """
    _checked(patterns)
    level = as_number(level, "level")
    if level >= 1.0:
        raise ValueError(f"level must lie in (0, 1), got {level:g}")
    p = _two_sided(patterns.counts().cpu().numpy(), patterns.num_rows)
    order = np.argsort(p)
    below = p[order] <= level * np.arange(1, len(p) + 1) / len(p)
    rejected = np.zeros(len(p), bool)
    if below.any():
        rejected[order[: int(below.nonzero()[0][-1]) + 1]] = True
    return MarginalTest(torch.from_numpy(p), torch.from_numpy(rejected))


def _two_sided(counts: np.ndarray, trials: int) -> np.ndarray:
    """P(|C - trials/2| >= |c - trials/2|) for C ~ Binomial(trials, 1/2)."""
    far = np.minimum(counts, trials - counts)
    p: np.ndarray = np.minimum(1.0, 2.0 * stats.binom.cdf(far, trials, 0.5))
    return p


def _checked(patterns: PackedPatterns) -> None:
    if not isinstance(patterns, PackedPatterns):
        raise TypeError(f"patterns must be PackedPatterns, got {type(patterns).__name__}")
    if patterns.num_rows < 2:
        raise ValueError(f"patterns must have at least 2 rows, got {patterns.num_rows}")
