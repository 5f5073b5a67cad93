r"""The law of activation probabilities over the units of a layer.

Symbols: h_i(x) pre-activation of unit i, N(M_i, V) over inputs x; M_i ~ N(0, tau^2) over units;
c = tau^2 / (tau^2 + V) the correlation of a unit's pre-activations at two independent inputs,
v = tau^2 / V = c / (1 - c). A unit is active with probability

    p_i = Phi(M_i / sqrt(V)),  so  p = Phi(sqrt(v) Z),  Z ~ N(0, 1),  E p = 1/2,
    Var p = asin(c) / (2 pi).

c = 0 puts every p at 1/2; c = 1/2 makes p uniform on (0, 1); c = 1 leaves 0 and 1, half each.
"""

import math
from typing import Any

import torch
from torch import Tensor

from probact.arrays import as_number, as_tensor, check_finite

__all__ = ["ProbabilityLaw", "distance_to_uniform"]


class ProbabilityLaw:
    """Law of p = Phi(sqrt(v) Z) over units, of the correlation c in [0, 1].

    Raises:
        TypeError: c is no number.
        ValueError: c outside [0, 1].

    >>> law = ProbabilityLaw(0.5)
    >>> law.density(0.3), law.cdf(0.3)
    (tensor(1., dtype=torch.float64), tensor(0.3000, dtype=torch.float64))
    >>> round(law.variance, 4)  # 1/12
    0.0833
    """

    def __init__(self, correlation: float) -> None:
        c = as_number(correlation, "correlation", inclusive=True)
        if c > 1.0:
            raise ValueError(f"correlation must lie in [0, 1], got {c:g}")
        self.correlation = c

    def __repr__(self) -> str:
        return f"ProbabilityLaw({self.correlation:g})"

    @property
    def ratio(self) -> float:
        """v = c / (1 - c), infinite at c = 1."""
        return self.correlation / (1.0 - self.correlation) if self.correlation < 1.0 else math.inf

    @property
    def variance(self) -> float:
        """asin(c) / (2 pi), between 0 and 1/4."""
        return math.asin(self.correlation) / (2.0 * math.pi)

    def density(self, p: Any) -> Tensor:
        """Density at p in (0, 1), phi(z / sqrt v) / (sqrt v phi(z)) with z = Phi^-1(p).

        Raises: ValueError: p outside (0, 1), or c = 0 or 1, where there is no density.
        """
        x = _shares(p)
        if not 0.0 < self.correlation < 1.0:
            raise ValueError(f"a law of correlation {self.correlation:g} has no density")
        if bool(((x <= 0.0) | (x >= 1.0)).any()):
            raise ValueError("p must lie in (0, 1)")
        z = torch.special.ndtri(x)
        density: Tensor = torch.exp(0.5 * z.square() * (1.0 - 1.0 / self.ratio))
        return density / math.sqrt(self.ratio)

    def cdf(self, p: Any) -> Tensor:
        """Share of units whose probability is at most p in [0, 1]."""
        return self._cdf(_shares(p), below=False)

    def saturated(self, share: float = 0.01) -> float:
        """Share of units that are active on less than that share of the inputs, or inactive.

        Raises: ValueError: share outside (0, 1/2).
        """
        if not 0.0 < share < 0.5:
            raise ValueError(f"share must lie in (0, 1/2), got {share!r}")
        return 2.0 * float(self.cdf(share))

    def distance(self, p: Any) -> float:
        """Kolmogorov-Smirnov distance of measured p (n,) to this law, in [0, 1].

        Raises: ValueError: no values, or values outside [0, 1].
        """
        x = _shares(p).flatten().sort().values
        if len(x) == 0:
            raise ValueError("p must have at least one value")
        at = torch.cat([x, x.new_tensor([0.0, 0.5, 1.0])])  # where either function may jump
        gaps = []
        for below in (False, True):
            share = torch.searchsorted(x, at, right=not below).double() / len(x)
            gaps.append((share - self._cdf(at, below=below)).abs().max())
        return float(torch.stack(gaps).max())

    def _cdf(self, p: Tensor, *, below: bool) -> Tensor:
        """P(p' <= p), or P(p' < p)."""
        if self.correlation == 0.0:
            return ((p > 0.5) if below else (p >= 0.5)).double()
        if self.correlation == 1.0:
            inner = torch.full_like(p, 0.5)
            return torch.where(p == 0.0, 0.0, inner) if below else torch.where(p == 1, 1.0, inner)
        share: Tensor = torch.special.ndtr(torch.special.ndtri(p) / math.sqrt(self.ratio))
        return share


def distance_to_uniform(p: Any) -> float:
    """Kolmogorov-Smirnov distance of measured p (n,) to the uniform law on (0, 1).

    Raises: as `ProbabilityLaw.distance`.
    >>> distance_to_uniform([0.25, 0.75])
    0.25
    """
    return ProbabilityLaw(0.5).distance(p)


def _shares(p: Any) -> Tensor:
    x = torch.tensor(p, dtype=torch.float64) if isinstance(p, float | int) else as_tensor(p, "p")
    x = x.double().cpu()
    if x.ndim:
        check_finite(x, "p")
    if bool(((x < 0.0) | (x > 1.0) | x.isnan()).any()):
        raise ValueError("p must lie in [0, 1]")
    return x
