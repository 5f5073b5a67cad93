r"""How often each unit is on, with intervals; units that are dead, always on, or nearly so.

Symbols: c_i ones among the N rows of bit i, p_i = c_i / N.
"""

from typing import Literal, NamedTuple

import torch
from scipy import stats
from torch import Tensor

from probact.analysis.patterns.packed_patterns import PackedPatterns
from probact.arrays import as_number

__all__ = ["ActivationProbabilities", "LayerActivity", "activation_probabilities"]

Interval = Literal["wilson", "clopper_pearson", "jeffreys"]


class LayerActivity(NamedTuple):
    """Shares of the units of a layer, and mean and variance of their p_i."""

    name: str
    num_bits: int
    mean: float
    variance: float
    dead: float
    always_on: float
    saturated: float


class ActivationProbabilities(NamedTuple):
    """p (B,) with interval (low, high), in the order of the bits of `patterns`."""

    probability: Tensor
    low: Tensor
    high: Tensor
    counts: Tensor
    num_rows: int
    sizes: dict[str, int]

    @property
    def dead(self) -> Tensor:
        """Bits that no row sets, (B,) bool."""
        return self.counts == 0

    @property
    def always_on(self) -> Tensor:
        """Bits that every row sets, (B,) bool."""
        return self.counts == self.num_rows

    def saturated(self, share: float = 0.01) -> Tensor:
        """Bits that fewer than this share of the rows set, or leave unset, (B,) bool.

        Raises: ValueError: share outside (0, 1/2).
        """
        share = as_number(share, "share")
        if share >= 0.5:
            raise ValueError(f"share must lie in (0, 1/2), got {share:g}")
        return (self.probability < share) | (self.probability > 1.0 - share)

    def layers(self, share: float = 0.01) -> list[LayerActivity]:
        """A row per layer, for a table."""
        sizes = list(self.sizes.values())
        flags = torch.stack([self.dead, self.always_on, self.saturated(share)]).double()
        parts = zip(self.sizes, self.probability.split(sizes), flags.split(sizes, 1), strict=True)
        return [
            LayerActivity(name, len(p), *_moments(p), *f.mean(1).tolist()) for name, p, f in parts
        ]


def _moments(p: Tensor) -> tuple[float, float]:
    return float(p.mean()), float(p.var(correction=0))


def activation_probabilities(
    patterns: PackedPatterns, *, level: float = 0.95, interval: Interval = "wilson"
) -> ActivationProbabilities:
    """Share of the rows that set each bit, with an interval of that level for each bit alone.

    Wilson 1927 (score interval); Clopper & Pearson 1934 (covers at least the level); Jeffreys'
    Beta(c + 1/2, N - c + 1/2) with the ends 0 and 1 where c is 0 and N (Brown, Cai & DasGupta
    2001). For many bits at once choose the level accordingly.

    Raises:
        TypeError: patterns are no `PackedPatterns`.
        ValueError: level outside (0, 1), an interval of another name.

    >>> packed = PackedPatterns.from_bits([[0, 1, 1], [0, 0, 1]])
    >>> activation_probabilities(packed).probability
    tensor([0.0000, 0.5000, 1.0000], dtype=torch.float64)
    """
    if not isinstance(patterns, PackedPatterns):
        raise TypeError(f"patterns must be PackedPatterns, got {type(patterns).__name__}")
    level = as_number(level, "level")
    if level >= 1.0:
        raise ValueError(f"level must lie in (0, 1), got {level:g}")
    counts, rows = patterns.counts().cpu(), patterns.num_rows
    bounds = {"wilson": _wilson, "clopper_pearson": _clopper_pearson, "jeffreys": _jeffreys}
    if interval not in bounds:
        raise ValueError(f"interval must be one of {', '.join(bounds)}, got {interval!r}")
    low, high = bounds[interval](counts.double(), rows, 0.5 * (1.0 - level))
    sizes = {layer.name: layer.num_bits for layer in patterns.layers}
    return ActivationProbabilities(counts.double() / rows, low, high, counts, rows, sizes)


def _wilson(counts: Tensor, rows: int, tail: float) -> tuple[Tensor, Tensor]:
    z = float(stats.norm.isf(tail))
    p, shrink = counts / rows, 1.0 + z * z / rows
    middle = (p + z * z / (2 * rows)) / shrink
    half = z / shrink * (p * (1.0 - p) / rows + z * z / (4.0 * rows * rows)).sqrt()
    low = torch.where(counts == 0, 0.0, middle - half)
    return low, torch.where(counts == rows, 1.0, middle + half)


def _clopper_pearson(counts: Tensor, rows: int, tail: float) -> tuple[Tensor, Tensor]:
    c = counts.numpy()
    low = torch.from_numpy(stats.beta.ppf(tail, c.clip(1), rows - c + 1))
    high = torch.from_numpy(stats.beta.isf(tail, c + 1, (rows - c).clip(1)))
    return torch.where(counts == 0, 0.0, low), torch.where(counts == rows, 1.0, high)


def _jeffreys(counts: Tensor, rows: int, tail: float) -> tuple[Tensor, Tensor]:
    c = counts.numpy()
    low = torch.from_numpy(stats.beta.ppf(tail, c + 0.5, rows - c + 0.5))
    high = torch.from_numpy(stats.beta.isf(tail, c + 0.5, rows - c + 0.5))
    return torch.where(counts == 0, 0.0, low), torch.where(counts == rows, 1.0, high)
