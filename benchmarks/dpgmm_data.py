"""The data sets of the mixture benchmark, made from a seed, and the paper's prior for them.

a      N = 2000, D = 16, 10 components, separated
b_sep  N = 6400, D = 80, 30 components, separated means
b_ovl  the same with overlapping means
paper  N = 25600, D = 81, 20 components: the size of the paper's largest layer
c      digits of scikit-learn, first 16 principal components, 1497 points, 300 held out
over   N = 400, D = 3, 8 overlapping components: how many there are is uncertain
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

__all__ = ["SETS", "DataSet", "Prior", "load", "paper_prior"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
SETS = ("a", "c", "b_sep", "b_ovl", "paper")


class DataSet(NamedTuple):
    x: Floats  # (N, D)
    labels: Ints  # (N,) the true ones
    held_out: Floats  # (N', D)
    oracle: float  # mean log density of held_out under the law they were drawn from, nats


class Prior(NamedTuple):
    """NIW(m0, kappa0, nu0, S0) of Jamroz et al. (2020), and its number of first clusters."""

    loc: Floats
    kappa: float
    df: float
    scale: Floats
    num_first: int


def load(name: str) -> DataSet:
    sizes = {"a": (2000, 16, 10, 1.5), "b_sep": (6400, 80, 30, 1.5)}
    sizes |= {"b_ovl": (6400, 80, 30, 0.25), "paper": (25600, 81, 20, 1.0)}
    if name == "over":
        return overlapping()
    return digits() if name == "c" else gaussians(*sizes[name])


def overlapping(n: int = 400, d: int = 3, k: int = 8) -> DataSet:
    rng = np.random.default_rng(5)
    means, z = 2 * rng.normal(size=(k, d)), rng.integers(0, k, n)
    x = means[z] + rng.normal(size=(n, d)) * rng.uniform(0.4, 1.2, size=(k, d))[z]
    return DataSet(x, z, np.empty((0, d)), float("nan"))


def gaussians(n: int, d: int, k: int, spread: float, num_held_out: int = 1000) -> DataSet:
    """A mixture of k Gaussians with means N(0, spread^2) and eigenvalues from 0.3 to 3."""
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.full(k, 5.0))
    means = spread * rng.normal(size=(k, d))
    roots = np.empty((k, d, d))
    for j in range(k):
        q, _ = np.linalg.qr(rng.normal(size=(d, d)))
        values = np.exp(rng.uniform(np.log(0.3), np.log(3.0), size=d))
        roots[j] = np.linalg.cholesky((q * values) @ q.T)
    z = rng.choice(k, size=n + num_held_out, p=weights)
    noise = rng.normal(size=(n + num_held_out, d))
    x = means[z] + np.stack([roots[j] @ e for j, e in zip(z, noise, strict=True)])
    log_p = np.empty((k, num_held_out))
    for j in range(k):
        y = np.linalg.solve(roots[j], (x[n:] - means[j]).T)
        log_det = np.log(np.diag(roots[j])).sum()
        log_p[j] = np.log(weights[j]) - 0.5 * (y * y).sum(0) - log_det
    oracle = float(logsumexp(log_p, 0).mean() - 0.5 * d * np.log(2 * np.pi))
    return DataSet(x[:n], z[:n], x[n:], oracle)


def digits() -> DataSet:
    from sklearn.datasets import load_digits

    x, z = load_digits(return_X_y=True)
    x = x - x.mean(0)
    x = x @ np.linalg.svd(x, full_matrices=False)[2][:16].T
    order = np.random.default_rng(0).permutation(len(x))
    first, rest = order[:-300], order[-300:]
    return DataSet(x[first], z[first], x[rest], float("nan"))


def paper_prior(x: Floats) -> Prior:
    n, d = x.shape
    num_first = int(np.log2(1 + n))
    scale = np.diag(x.var(0) / num_first ** (2 / d))
    return Prior(x.mean(0), 0.01, d + 2.0, scale, num_first)
