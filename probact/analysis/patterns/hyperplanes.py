r"""Where a layer's hyperplanes lie, and what is left of its outputs in the bits alone.

Symbols: w (n,) weight and b bias of a unit, both U(-1 / sqrt n, 1 / sqrt n) in `torch.nn.Linear`.
Then |w|^2 has mean 1/3 and |w| standard deviation sqrt(1 / (15 n)) for large n, and the signed
distance b / |w| of the origin to the hyperplane follows U(-sqrt(3 / n), sqrt(3 / n)).

Sign agreement: f >= 0 outputs of a ReLU, a = 1[f > 0] their bits. Over random normal (w, b) of one
variance, <f, w> + b and <a, w> + b are jointly normal with correlation

    rho = (sum f + 1) / sqrt((sum f^2 + 1) (sum a + 1)),

so that they agree in sign with probability 1/2 + asin(rho) / pi (Sheppard 1899). For half-normal
f > 0 and wide layers rho = sqrt(2 / pi), whatever the scale and the share of active units.
"""

import math
from typing import Any, NamedTuple

import torch
from scipy import stats
from torch import Tensor

from probact.analysis.neighbours import as_rows
from probact.arrays import as_number, as_tensor, check_count, check_finite

__all__ = [
    "HyperplaneTest",
    "expected_sign_agreement",
    "hyperplane_distances",
    "hyperplane_test",
    "sign_agreement",
]


class HyperplaneTest(NamedTuple):
    """Distances b / |w| (K,), |w| (K,), and the test of the former against the law at the start.

    `bound` is sqrt(3 / n); `ks_distance` and `p_value` are those of U(-bound, bound), to which the
    law tends as n grows.
    """

    distances: Tensor
    norms: Tensor
    bound: float
    ks_distance: float
    p_value: float


def hyperplane_distances(weight: Any, bias: Any) -> Tensor:
    """Signed distances b / |w| (K,) of the origin to the hyperplanes, above zero if it is active.

    weight (K, n), or filters (K, ...) laid flat; bias (K,).

    Raises: TypeError, ValueError: no arrays, not finite, other sizes, or a weight that is zero.

    >>> hyperplane_distances([[3.0, 4.0]], [-10.0])
    tensor([-2.], dtype=torch.float64)
    """
    rows, b = as_rows(weight, "weight"), as_tensor(bias, "bias").double()
    if b.shape != (len(rows),):
        raise ValueError(f"bias must be ({len(rows)},), got {tuple(b.shape)}")
    check_finite(b, "bias")
    norms = torch.linalg.vector_norm(rows, dim=1)
    if bool((norms == 0.0).any()):
        raise ValueError(f"weight has a zero row, {int((norms == 0).nonzero()[0])}: no hyperplane")
    distances: Tensor = b / norms
    return distances


def hyperplane_test(weight: Any, bias: Any) -> HyperplaneTest:
    """Are the hyperplanes where `torch.nn.Linear` and `torch.nn.Conv2d` put them at the start?

    Raises: as `hyperplane_distances`.

    >>> layer = torch.nn.Linear(1000, 2)
    >>> bool(hyperplane_test(layer.weight, layer.bias).distances.abs().max() < 0.06)
    True
    """
    distances = hyperplane_distances(weight, bias).cpu()
    rows = as_rows(weight, "weight")
    bound = math.sqrt(3.0 / rows.shape[1])
    found = stats.kstest(distances.numpy(), stats.uniform(-bound, 2.0 * bound).cdf)
    norms = torch.linalg.vector_norm(rows, dim=1).cpu()
    return HyperplaneTest(distances, norms, bound, float(found.statistic), float(found.pvalue))


def expected_sign_agreement(
    num_units: int | None = None, *, prob: float = 0.5, scale: float = 1.0
) -> float:
    """Probability that a random unit reads the same sign off half-normal outputs and their bits.

    For n units, active with probability `prob`, of half-normal scale `scale` where they are; for
    n to infinity without `num_units`, where it depends on neither. Sums over units stand at their
    means, which is off by some 0.003 at n = 64.

    Raises: ValueError: num_units below 1, prob outside (0, 1], scale not above 0.

    >>> round(expected_sign_agreement(), 6), round(expected_sign_agreement(256, scale=0.577), 4)
    (0.794048, 0.7946)
    """
    p, s = as_number(prob, "prob"), as_number(scale, "scale")
    if p > 1.0:
        raise ValueError(f"prob must lie in (0, 1], got {p:g}")
    limit = math.sqrt(2.0 / math.pi)
    if num_units is None:
        return 0.5 + math.asin(limit) / math.pi
    check_count(num_units, "num_units")
    active = p * num_units
    rho = (active * s * limit + 1.0) / math.sqrt((active * s * s + 1.0) * (active + 1.0))
    return 0.5 + math.asin(min(1.0, rho)) / math.pi


def sign_agreement(features: Any) -> Tensor:
    """The same for each row of measured outputs (N, n) >= 0, exact for normal weights: (N,).

    Raises: TypeError, ValueError: no array, not finite, or values below zero.

    >>> sign_agreement([[0.0, 1.0, 1.0]])  # bits that are the outputs
    tensor([1.], dtype=torch.float64)
    """
    f = as_rows(features, "features")
    if bool((f < 0.0).any()):
        raise ValueError(f"features must not be negative, got {float(f.min()):g}")
    first, second, active = f.sum(1) + 1.0, f.square().sum(1) + 1.0, (f > 0).sum(1) + 1.0
    rho = (first / (second * active).sqrt()).clamp_max(1.0)
    agreement: Tensor = 0.5 + rho.asin() / math.pi
    return agreement
