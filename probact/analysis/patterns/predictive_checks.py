r"""Posterior predictive checks of a model of patterns (Rubin 1984; Gelman, Meng & Stern 1996).

Symbols: a (N, n) the patterns; a^s (N, n), s = 1 .. S, data sets that a fitted model draws; T a
statistic of a data set. The model is at odds with the data where T(a) lies in the tail of T(a^s):

    p = 2 min(P(T(a^s) <= T(a)), P(T(a^s) >= T(a))), each counted with the data's own value
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from probact.analysis.patterns.constellations import constellations
from probact.analysis.patterns.dependence import dependence_test
from probact.analysis.patterns.packed_patterns import PackedPatterns
from probact.arrays import as_bits, as_tensor

__all__ = ["STATISTICS", "PredictiveCheck", "predictive_check"]

Statistic = Callable[[Tensor], float]


@dataclass(frozen=True)
class PredictiveCheck:
    """A value of every statistic: `observed` of the data, `replicated` (S,) of the model's."""

    observed: dict[str, float]
    replicated: dict[str, np.ndarray]

    @property
    def p_values(self) -> dict[str, float]:
        """Two-sided, at least 2 / (S + 1); small where the model is at odds with the data."""
        found = {}
        for name, value in self.observed.items():
            draws = self.replicated[name]
            near = 1e-9 * max(1.0, abs(value))  # the same number by another sum is no tail
            below = 1 + int((draws <= value + near).sum())
            above = 1 + int((draws >= value - near).sum())
            found[name] = min(1.0, 2.0 * min(below, above) / (len(draws) + 1))
        return found

    def to_frame(self) -> pd.DataFrame:
        """A row per statistic: observed, mean, sd, low and high (95 %), p_value."""
        rows = {
            name: {
                "observed": value,
                "mean": self.replicated[name].mean(),
                "sd": self.replicated[name].std(ddof=1) if len(self.replicated[name]) > 1 else 0.0,
                "low": np.quantile(self.replicated[name], 0.025),
                "high": np.quantile(self.replicated[name], 0.975),
                "p_value": self.p_values[name],
            }
            for name, value in self.observed.items()
        }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("statistic")


def mean_distance(bits: Tensor) -> float:
    """Mean Hamming distance over all pairs of rows: 2 sum_i c_i (N - c_i) / (N (N - 1))."""
    ones, rows = bits.double().sum(0), len(bits)
    return float(2.0 * (ones * (rows - ones)).sum() / (rows * (rows - 1.0)))


def variance_ratio(bits: Tensor) -> float:
    """Variance of Hamming distances over that of independent bits, see `dependence_test`."""
    return dependence_test(PackedPatterns.from_bits(bits.bool())).variance_ratio


def count_deviation(bits: Tensor) -> float:
    """Standard deviation over rows of the number of active units."""
    return float(bits.double().sum(1).std())


def largest_eigenvalue(bits: Tensor) -> float:
    """Of the second moment (n, n) of bits as -1 and 1, over n."""
    signs = 2.0 * bits.double() - 1.0
    return float(torch.linalg.matrix_norm(signs, 2).square() / signs.numel())


def unique_patterns(bits: Tensor) -> float:
    """Number of different rows."""
    packed = np.packbits(bits.numpy(force=True).astype(bool), axis=1)
    return float(len(np.unique(packed, axis=0)))


def constellation_score(bits: Tensor) -> float:
    """How evenly patterns are spread, see `constellations`; slow for thousands of rows."""
    return constellations(PackedPatterns.from_bits(bits.bool())).score


STATISTICS: dict[str, Statistic] = {
    "mean_distance": mean_distance,
    "variance_ratio": variance_ratio,
    "count_deviation": count_deviation,
    "largest_eigenvalue": largest_eigenvalue,
    "unique_patterns": unique_patterns,
    "constellation_score": constellation_score,
}


def predictive_check(
    a: Any,
    replicates: Any,
    statistics: Sequence[str] | Mapping[str, Statistic] = tuple(STATISTICS)[:-1],
) -> PredictiveCheck:
    """Compare patterns a (N, n) with data sets (S, N, n) of a model's `replicates`.

    statistics: names of STATISTICS, by default all but "constellation_score", or functions of
    bits (N, n) by name.

    Raises:
        TypeError: no arrays.
        ValueError: anything but zeros and ones, fewer than two rows, replicates of another shape
            than a, an unknown statistic, or one without a finite value, as the variance ratio of
            bits that do not vary; the data set is named.

    >>> a = torch.tensor([[1, 1], [0, 0]] * 20)
    >>> fair = torch.rand(50, 40, 2, generator=torch.Generator().manual_seed(0)) < 0.5
    >>> check = predictive_check(a, fair, ["mean_distance", "unique_patterns"])
    >>> check.p_values["unique_patterns"] < 0.05 < check.p_values["mean_distance"]
    True
    """
    bits = as_bits(a, "a")
    drawn = as_tensor(replicates, "replicates")
    if drawn.ndim != 3 or drawn.shape[1:] != bits.shape or len(drawn) < 1:
        wanted = ("S", *bits.shape)
        raise ValueError(f"replicates must be {wanted}, like a, got {tuple(drawn.shape)}")
    if len(bits) < 2:
        raise ValueError("a must have two rows at least")
    data_sets = [as_bits(rows, "replicates") for rows in drawn]
    chosen = _chosen(statistics)
    observed = {name: _value(name, function, bits, "a") for name, function in chosen.items()}
    replicated = {
        name: np.array(
            [_value(name, function, d, f"replicates[{s}]") for s, d in enumerate(data_sets)]
        )
        for name, function in chosen.items()
    }
    return PredictiveCheck(observed, replicated)


def _value(name: str, function: Statistic, bits: Tensor, source: str) -> float:
    try:
        value = float(function(bits))
    except ValueError as error:
        raise ValueError(f"{source} has no {name}: {error}") from None
    if not np.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value!r} for {source}")
    return value


def _chosen(statistics: Sequence[str] | Mapping[str, Statistic]) -> dict[str, Statistic]:
    if isinstance(statistics, Mapping):
        odd = [name for name, function in statistics.items() if not callable(function)]
        if odd or not statistics:
            raise ValueError(f"statistics must map names to functions, odd ones: {odd}")
        return dict(statistics)
    names = (statistics,) if isinstance(statistics, str) else tuple(statistics)
    unknown = [name for name in names if name not in STATISTICS]
    if unknown or not names:
        raise ValueError(f"statistics must be of {tuple(STATISTICS)}, got {names}")
    return {name: STATISTICS[name] for name in names}
