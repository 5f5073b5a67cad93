"""The laws on the sphere that every property test runs over, and exact helpers to judge them."""

import math
from typing import Any, NamedTuple

import mpmath
import numpy as np
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from probact.distributions import AngularGaussian, PowerSpherical, SphereUniform, VonMisesFisher

__all__ = ["CASES", "Case", "arc_grid", "axis", "direction", "great_circle", "mean_resultant"]


class Case(NamedTuple):
    law: type[TorchDistribution]
    params: dict[str, Any]  # floating tensors are cast to the wanted type
    batch_shape: tuple[int, ...]
    dim: int

    def arguments(self, dtype: torch.dtype = torch.float64) -> dict[str, Any]:
        cast = {k: v.to(dtype) if isinstance(v, Tensor) else v for k, v in self.params.items()}
        return {**cast, "dtype": dtype} if self.law is SphereUniform else cast

    def make(self, dtype: torch.dtype = torch.float64, **options: Any) -> Any:
        return self.law(**self.arguments(dtype), **options)


def axis(dim: int, index: int = 0, sign: float = 1.0) -> Tensor:
    """+-e_index in R^dim, float64."""
    e = torch.zeros(dim, dtype=torch.float64)
    e[index] = sign
    return e


def direction(dim: int, *batch: int, seed: int = 7) -> Tensor:
    """Unit vectors (*batch, dim) of no special position, float64."""
    noise = np.random.default_rng(seed).normal(size=(*batch, dim))
    return torch.tensor(noise / np.linalg.norm(noise, axis=-1, keepdims=True))


def kappa(*values: float) -> Tensor:
    return torch.tensor(values[0] if len(values) == 1 else values, dtype=torch.float64)


CASES: dict[str, Case] = {
    "vmf circle": Case(VonMisesFisher, {"loc": direction(2), "concentration": kappa(0.7)}, (), 2),
    "vmf sphere": Case(VonMisesFisher, {"loc": direction(3), "concentration": kappa(10.0)}, (), 3),
    "vmf at e1": Case(VonMisesFisher, {"loc": axis(3), "concentration": kappa(3.0)}, (), 3),
    "vmf at -e1": Case(
        VonMisesFisher, {"loc": axis(4, 0, -1.0), "concentration": kappa(3.0)}, (), 4
    ),
    "vmf uniform": Case(VonMisesFisher, {"loc": axis(4, 3), "concentration": kappa(0.0)}, (), 4),
    "vmf batch": Case(
        VonMisesFisher,
        {"loc": direction(5, 2, 1), "concentration": kappa(0.5, 8.0, 60.0)},
        (2, 3),
        5,
    ),
    "vmf shared kappa": Case(
        VonMisesFisher, {"loc": direction(3, 4), "concentration": kappa(5.0)}, (4,), 3
    ),
    "vmf wide": Case(
        VonMisesFisher, {"loc": direction(128), "concentration": kappa(85.0)}, (), 128
    ),
    "uniform circle": Case(SphereUniform, {"dim": 2}, (), 2),
    "uniform sphere": Case(SphereUniform, {"dim": 3}, (), 3),
    "uniform batch": Case(SphereUniform, {"dim": 9, "batch_shape": (3,)}, (3,), 9),
    "power circle": Case(
        PowerSpherical, {"loc": direction(2), "concentration": kappa(2.5)}, (), 2
    ),
    "power sphere": Case(
        PowerSpherical, {"loc": direction(3), "concentration": kappa(10.0)}, (), 3
    ),
    "power batch": Case(
        PowerSpherical,
        {"loc": direction(6, 2, 1), "concentration": kappa(0.0, 4.0, 50.0)},
        (2, 3),
        6,
    ),
    "angular circle": Case(
        AngularGaussian, {"loc": kappa(1.5, -0.5), "scale": kappa(0.7, 1.4)}, (), 2
    ),
    "angular sphere": Case(
        AngularGaussian, {"loc": kappa(0.5, 1.0, -2.0), "scale": kappa(0.5, 1.0, 2.0)}, (), 3
    ),
    "angular batch": Case(
        AngularGaussian, {"loc": direction(5, 3), "scale": 0.5 + direction(5).abs()}, (3,), 5
    ),
}


def great_circle(mu: Tensor, angle: Tensor) -> Tensor:
    """Points (n, d) at the angles (n,) from mu (d,), along one fixed tangent."""
    tangent = direction(mu.shape[-1], seed=11)
    tangent = tangent - (tangent @ mu) * mu
    tangent = tangent / torch.linalg.vector_norm(tangent)
    return angle.cos().unsqueeze(-1) * mu + angle.sin().unsqueeze(-1) * tangent


def mean_resultant(kappa: float, dim: int) -> tuple[float, float]:
    """A_d(kappa) and its slope, by long arithmetic."""
    if kappa == 0:
        return 0.0, 1.0 / dim
    with mpmath.workdps(40):
        k, half = mpmath.mpf(kappa), mpmath.mpf(dim) / 2
        a = mpmath.besseli(half, k) / mpmath.besseli(half - 1, k)
        return float(a), float(1 - a * a - (dim - 1) * a / k)


def arc_grid(dim: int, concentration: float, nodes: int = 20_001) -> tuple[np.ndarray, np.ndarray]:
    """Angles and unnormalised vMF density sin^(d-2) exp(-2 kappa sin^2(angle/2)) where it lives.

    The window is narrowed until the density at both ends is e^-45 of its peak, or 0 and pi.
    """
    low, high = 0.0, math.pi
    for _ in range(20):
        angle = np.linspace(low, high, 2001)
        log_f = _log_arc_density(angle, dim, concentration)
        seen = np.flatnonzero(log_f > log_f.max() - 45.0)
        first, last = max(seen[0] - 1, 0), min(seen[-1] + 1, 2000)
        if first == 0 and last == 2000:
            break
        low, high = angle[first], angle[last]
    angle = np.linspace(low, high, nodes)
    log_f = _log_arc_density(angle, dim, concentration)
    return angle, np.exp(log_f - log_f.max())


def _log_arc_density(angle: np.ndarray, dim: int, concentration: float) -> np.ndarray:
    decay = -2.0 * concentration * np.sin(0.5 * angle) ** 2
    if dim == 2:
        return decay
    return decay + (dim - 2) * np.log(np.maximum(np.sin(angle), 1e-300))
