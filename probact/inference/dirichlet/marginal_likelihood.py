r"""Marginal likelihoods of clusters on numpy arrays: those of `conjugate`, for small tables.

Symbols as there: K clusters with n_k points, mean b_k and scatter B_k about it; kappa_0, nu_0 (in
the diagonal form nu_0 - D + 1), m_0 and s S_0 of the prior.

    log m(X_k) = -D/2 [n_k log pi + log1p(n_k/kappa_0)] + log Gamma_D((nu_0 + n_k)/2)
                 - log Gamma_D(nu_0/2) + nu_0/2 log|s S_0| - (nu_0 + n_k)/2 log|S_k|

(Murphy 2012, section 4.6.3.9), with S_k = s S_0 + B_k + g_k g_k^T for a gap g_k of the means.
"""

import math
from typing import NamedTuple

import numpy as np

from probact.compiled import compiled
from probact.inference.dirichlet.blocked_clusters import Floats, take
from probact.inference.dirichlet.problem import Problem

__all__ = ["ClusterPrior", "Summaries", "cluster_prior", "log_marginals", "union"]

_LARGE = 16.0  # from here on Stirling's series to 1/x^9 is exact to 1e-16


class Summaries(NamedTuple):
    """Of K clusters. The scatter is its (K, D) diagonal for independent coordinates."""

    sizes: Floats  # (K,)
    means: Floats  # (K, D)
    scatters: Floats  # (K, D, D)


class ClusterPrior(NamedTuple):
    """The prior of a component in the chain's coordinates."""

    loc: Floats  # (D,)
    scale: Floats  # (D, D) s S_0, or (D,)
    kappa: float
    df: float  # of one coordinate where they are independent
    log_det: float  # log|s S_0|
    diagonal: bool


def cluster_prior(problem: Problem, scale_factor: float) -> ClusterPrior:
    """What `log_marginals` need of the problem."""
    scale = scale_factor * problem.scale.cpu().numpy()
    none = np.zeros((1, len(scale)))
    log_det = float(_log_dets(scale[None], none)[0])
    df = problem.df - (len(scale) - 1 if problem.diagonal else 0)
    loc = problem.loc.cpu().numpy()
    return ClusterPrior(loc, scale, problem.kappa, df, log_det, problem.diagonal)


def union(one: Summaries, other: Summaries) -> Summaries:
    """Summaries of the points of both, cluster by cluster; shapes broadcast."""
    size = one.sizes + other.sizes
    share = other.sizes / size
    gap = other.means - one.means
    spread = np.sqrt(one.sizes * share)[..., None] * gap
    scatter = one.scatters + other.scatters
    if scatter.ndim > gap.ndim:
        scatter += spread[..., None] * spread[..., None, :]
    else:
        scatter += spread * spread
    return Summaries(size, one.means + share[..., None] * gap, scatter)


def log_marginals(prior: ClusterPrior, clusters: Summaries) -> Floats:
    """log m(X_k) (K,), nats.

    Raises: ValueError where a scale matrix is singular in float64.
    """
    n, d = clusters.sizes, len(prior.loc)
    gap = np.sqrt(prior.kappa * n / (prior.kappa + n))[:, None] * (clusters.means - prior.loc)
    dims = 1 if prior.diagonal else d
    log_m: Floats = log_constants(n, prior.kappa, prior.df, dims) * (d // dims)
    log_m += 0.5 * prior.df * prior.log_det
    log_m -= 0.5 * (prior.df + n) * _log_dets(prior.scale + clusters.scatters, gap)
    return log_m


def _log_dets(core: Floats, gap: Floats) -> Floats:
    """log|A_k + g_k g_k^T| (K,) of matrices A (K, D, D), or of diagonals (K, D)."""
    found: Floats
    if core.ndim == 2:
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.log(core + gap * gap).sum(1)
    else:
        found = factor_log_dets(core.copy(), gap.copy())
    if not np.isfinite(found).all():
        k = int(np.flatnonzero(~np.isfinite(found))[0])
        raise ValueError(f"the scale matrix of component {k} is singular in float64; rescale x")
    return found


@compiled
def factor_log_dets(core: Floats, gap: Floats) -> Floats:
    """|A + g g^T| = |A| (1 + g^T A^-1 g), which keeps A's digits at large g; NaN if A fails.

    Overwrites core, whose upper triangle is read, and gap.
    """
    found = np.empty(len(core))
    for k in range(len(core)):
        upper, white, total, quadratic = core[k], gap[k], 0.0, 0.0
        for a in range(upper.shape[0]):
            pivot = upper[a, a]
            if not (pivot > 0.0 and pivot < np.inf):
                total = math.nan
                break
            total += math.log(pivot)
            upper[a, a:] *= 1.0 / math.sqrt(pivot)
            white[a] *= 1.0 / math.sqrt(pivot)
            quadratic += white[a] * white[a]
            take(white, upper[a], white[a], a + 1, len(white))
            for b in range(a + 1, upper.shape[0]):
                take(upper[b], upper[a], upper[a, b], b, upper.shape[0])
        found[k] = total + math.log1p(quadratic)
    return found


@compiled
def log_constants(sizes: Floats, kappa: float, df: float, dim: int) -> Floats:
    """log m without determinants (K,), for blocks of dim coordinates."""
    found = np.empty(len(sizes))
    for k in range(len(sizes)):
        n = sizes[k]
        total = -0.5 * dim * (n * math.log(math.pi) + math.log1p(n / kappa))
        for j in range(dim):
            total += log_gamma_ratio(0.5 * (df - j), 0.5 * n)
        found[k] = total
    return found


@compiled
def log_gamma_ratio(x: float, step: float) -> float:
    """log Gamma(x + step) - log Gamma(x) for x > 0, step >= 0, as in `probact.gamma`."""
    shift = 0.0
    if x < _LARGE:
        if x + step < 4.0 * _LARGE:
            return math.lgamma(x + step) - math.lgamma(x)
        shift = math.lgamma(_LARGE) - math.lgamma(x)
        step, x = step + x - _LARGE, _LARGE
    end = x + step
    ratio: float = (x - 0.5) * math.log1p(step / x) + step * (math.log(end) - 1.0)
    ratio += stirling(end) - stirling(x)
    return shift + ratio


@compiled
def stirling(x: float) -> float:
    """log Gamma(x) - (x - 1/2) log x + x - log(2 pi)/2 for x >= 16."""
    s = 1.0 / (x * x)
    series: float = (1 / 12 - s * (1 / 360 - s * (1 / 1260 - s * (1 / 1680 - s / 1188)))) / x
    return series
