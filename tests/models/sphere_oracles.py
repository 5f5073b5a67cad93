"""Independent witnesses for laws on the sphere: scipy, quadrature and brute force."""

import math

import numpy as np
from numpy.random import Generator
from scipy import special, stats

__all__ = ["bessel_ratio", "softmax", "unit_rows", "vmf_draws", "vmf_log_density"]


def bessel_ratio(kappa: float, dim: int) -> float:
    """A_d(kappa) = kappa / (d + kappa^2 / (d + 2 + kappa^2 / ...)), Gauss' continued fraction."""
    tail = 0.0
    for k in range(200 + int(2.0 * kappa), -1, -1):
        tail = kappa / (dim + 2.0 * k + kappa * tail)
    return tail


def vmf_log_density(x: np.ndarray, mu: np.ndarray, kappa: float) -> np.ndarray:
    """log vMF(x; mu, kappa) in nats; kappa = 0 is the uniform law."""
    if kappa == 0:
        dim = len(mu)
        area = math.log(2.0) + 0.5 * dim * math.log(math.pi) - special.gammaln(0.5 * dim)
        return np.full(len(x), -area)
    return np.asarray(stats.vonmises_fisher(mu, kappa).logpdf(x))


def vmf_draws(mu: np.ndarray, kappa: float, size: int, rng: Generator) -> np.ndarray:
    """Draws (size, d) by scipy."""
    return np.asarray(stats.vonmises_fisher(mu, kappa).rvs(size, random_state=rng))


def unit_rows(rng: Generator, rows: int, dim: int) -> np.ndarray:
    """Uniform directions (rows, dim)."""
    x = rng.normal(size=(rows, dim))
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.asarray(special.softmax(logits, axis=-1))
