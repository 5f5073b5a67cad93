"""Other ways to do one sweep of a Dirichlet-process Gaussian mixture, from the same labels.

A peer makes a parameterless function that does one sweep (one iteration) and says which share of
the points it visits, so that slow code can be timed on a part and scaled. What a peer can keep
between sweeps it has ready before the clock starts.
"""

import math
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from dpgmm_data import Floats, Ints, Prior
from numba import njit
from scipy.special import gammaln
from sklearn.mixture import BayesianGaussianMixture

from probact.inference.dirichlet.collapsed_gibbs import CollapsedGibbs
from probact.inference.dirichlet.problem import pose
from probact.inference.dirichlet.state import DPState

__all__ = [
    "CONDITIONAL",
    "OURS",
    "PEERS",
    "SEQUENTIAL",
    "SMALL_PEERS",
    "Task",
    "chain",
    "conditional_chain",
    "have_pyrichlet",
    "variational_model",
]

OURS = "probact, CollapsedGibbs.step"
SEQUENTIAL = "rank-one updates, point by point (numba)"
TEXTBOOK = "inverse and determinant for each move (numpy)"
VARIATIONAL = "scikit-learn BayesianGaussianMixture, one iteration"
CONDITIONAL = "pyrichlet, one Gibbs step (components drawn, not collapsed)"
_TEXTBOOK_POINTS = 300


class Task(NamedTuple):
    run: Callable[[], Any]
    share: float = 1.0  # of a sweep that one call does


def chain(x: Floats, prior: Prior, z: Ints) -> DPState:
    """A state of our chain at labels z, with alpha = 1."""
    base = SimpleNamespace(
        loc=torch.from_numpy(prior.loc),
        kappa=prior.kappa,
        scale=torch.from_numpy(prior.scale),
        df=prior.df,
        diagonal=False,
    )
    model = SimpleNamespace(base=base, concentration=1.0, scale_factor=None)
    one = torch.tensor(1.0, dtype=torch.float64)
    return DPState(torch.from_numpy(z), one, one, pose(model, torch.from_numpy(x)), {})


def ours(x: Floats, prior: Prior, z: Ints) -> Task:
    state, kernel = chain(x, prior, z), CollapsedGibbs()
    generator = torch.Generator().manual_seed(0)
    return Task(lambda: kernel.step(state, generator))


def sequential(x: Floats, prior: Prior, z: Ints) -> Task:
    """The usual fast code: augmented inverses (D + 1, D + 1), one rank-one update a move."""
    n, d = x.shape
    spread = np.sqrt(np.diag(prior.scale))
    x = np.ascontiguousarray((x - prior.loc) / spread)
    slots = int(z.max()) + 9
    sizes = np.bincount(z, minlength=slots)
    ones = np.hstack([x, np.ones((n, 1))])
    start = np.diag(np.append(np.diag(prior.scale) / spread**2, prior.kappa))
    matrices = np.stack([start + ones[z == k].T @ ones[z == k] for k in range(slots)])
    inverses, log_dets = np.linalg.inv(matrices), np.linalg.slogdet(matrices)[1]
    empty = np.linalg.inv(start), float(np.linalg.slogdet(start)[1])
    table = constants(n, d, prior)
    log_new = table[0] - 0.5 * empty[1]  # alpha = 1
    log_new -= (
        0.5
        * (prior.df + 1)
        * np.log1p(np.einsum("na,ab,nb->n", ones, empty[0], ones, optimize=True))
    )
    rng, z = np.random.default_rng(0), z.copy()

    def run() -> int:
        order, u = rng.permutation(n), rng.random(n)
        return _sequential(
            ones, z, sizes, inverses, log_dets, *empty, log_new, table, prior.df, order, u
        )

    return Task(run)


def constants(n: int, d: int, prior: Prior) -> Floats:
    """(N + 1,) log m + c(m), log m left out at 0."""
    m = np.arange(n + 1.0)
    kappa, df = prior.kappa + m, prior.df + m
    table = gammaln((df + 1) / 2) - gammaln((df + 1 - d) / 2) - d / 2 * np.log(np.pi)
    table += (d - df - 1) / 2 * np.log(kappa / (kappa + 1)) + 0.5 * np.log(kappa)
    table[1:] += np.log(m[1:])
    return table


@njit
def whiten(inverse, x, f):
    """f = inverse x."""
    for a in range(len(x)):
        f[a] = 0.0
        for b in range(len(x)):
            f[a] += inverse[a, b] * x[b]


@njit
def _sequential(
    x, z, sizes, inverses, log_dets, empty_inverse, empty_log_det, log_new, table, df, order, u
):
    slots, d = len(sizes), x.shape[1]
    w, r, f = np.empty(slots + 1), np.empty(slots + 1), np.empty((slots + 1, d))
    moves = 0
    for t in range(len(order)):
        i = order[t]
        old, best = z[i], log_new[i]
        w[slots] = log_new[i]
        for k in range(slots):
            w[k] = -np.inf
            size = sizes[k]
            if size == 0:
                continue
            whiten(inverses[k], x[i], f[k])
            r[k] = 0.0
            for a in range(d):
                r[k] += f[k, a] * x[i, a]
            if k == old:
                if size > 1:
                    w[k] = table[size - 1] - 0.5 * log_dets[k]
                    w[k] += 0.5 * (df + size - 1) * math.log1p(-r[k])
            else:
                w[k] = table[size] - 0.5 * log_dets[k] - 0.5 * (df + size + 1) * math.log1p(r[k])
            best = max(best, w[k])
        total = 0.0
        for k in range(slots + 1):
            w[k] = math.exp(w[k] - best)
            total += w[k]
        target, total, new = u[t] * total, 0.0, slots
        for k in range(slots + 1):
            total += w[k]
            if total > target:
                new = k
                break
        if new == slots:
            new = old if sizes[old] == 1 else np.argmin(sizes)
        if new == old:
            continue
        moves += 1
        if sizes[new] == 0:
            inverses[new], log_dets[new] = empty_inverse, empty_log_det
            whiten(empty_inverse, x[i], f[new])
            r[new] = np.dot(f[new], x[i])
        for k, sign in ((old, -1.0), (new, 1.0)):
            factor = 1.0 + sign * r[k]
            log_dets[k] += math.log(factor)
            sizes[k] += int(sign)
            for a in range(d):
                for b in range(d):
                    inverses[k, a, b] -= sign / factor * f[k, a] * f[k, b]
        z[i] = new
    return moves


def textbook(x: Floats, prior: Prior, z: Ints) -> Task:
    """Sums per component; a point is taken out and put back, each with a new inverse."""
    n, d = x.shape
    count = int(z.max()) + 1
    sums = np.stack([x[z == k].sum(0) for k in range(count)])
    squares = np.stack([x[z == k].T @ x[z == k] for k in range(count)])
    sizes, visited = np.bincount(z), min(n, _TEXTBOOK_POINTS)
    scale_0 = prior.scale + prior.kappa * np.outer(prior.loc, prior.loc)
    inverses, log_dets = np.empty((count + 1, d, d)), np.empty(count + 1)
    means, rng = np.empty((count + 1, d)), np.random.default_rng(0)

    def renew(k: int) -> None:
        m, total, square = (sizes[k], sums[k], squares[k]) if k < count else (0, 0.0, 0.0)
        kappa = prior.kappa + m
        means[k] = (prior.kappa * prior.loc + total) / kappa
        scale = scale_0 + square - kappa * np.outer(means[k], means[k])
        scale *= (kappa + 1) / (kappa * (prior.df + m - d + 1))
        inverses[k], log_dets[k] = np.linalg.inv(scale), np.linalg.slogdet(scale)[1]

    for k in range(count + 1):
        renew(k)

    def run() -> None:
        for i in rng.permutation(n)[:visited]:
            k = z[i]
            sizes[k], sums[k], squares[k] = (
                sizes[k] - 1,
                sums[k] - x[i],
                squares[k] - np.outer(x[i], x[i]),
            )
            renew(k)
            df = prior.df + np.append(sizes, 0) - d + 1
            gap = x[i] - means
            r = np.einsum("ka,kab,kb->k", gap, inverses, gap)
            log_w = np.log(np.append(np.maximum(sizes, 1e-300), 1.0)) - 0.5 * log_dets
            log_w += gammaln((df + d) / 2) - gammaln(df / 2) - d / 2 * np.log(np.pi * df)
            log_w -= (df + d) / 2 * np.log1p(r / df)
            w = np.exp(log_w - log_w.max())
            rng.choice(count + 1, p=w / w.sum())  # drawn, then put back: the chain is settled
            sizes[k], sums[k], squares[k] = (
                sizes[k] + 1,
                sums[k] + x[i],
                squares[k] + np.outer(x[i], x[i]),
            )
            renew(k)

    return Task(run, visited / n)


def variational_model(prior: Prior, count: int) -> BayesianGaussianMixture:
    return BayesianGaussianMixture(
        n_components=count,
        weight_concentration_prior_type="dirichlet_process",
        mean_precision_prior=prior.kappa,
        mean_prior=prior.loc,
        degrees_of_freedom_prior=prior.df,
        covariance_prior=prior.scale,
    )


def variational(x: Floats, prior: Prior, z: Ints) -> Task:
    """One E step and one M step at as many components as the labels have."""
    count = int(z.max()) + 1
    model = variational_model(prior, count)
    model._check_parameters(x)
    model._initialize(x, np.eye(count)[z])

    def run() -> None:
        _, log_resp = model._e_step(x)
        model._m_step(x, log_resp)

    return Task(run)


def have_pyrichlet() -> bool:
    return find_spec("pyrichlet") is not None


def conditional_chain(x: Floats, prior: Prior, seed: int) -> Any:
    """A chain of pyrichlet from its k-means start at the paper's number of clusters, alpha = 1."""
    with warnings.catch_warnings(action="ignore"):
        from pyrichlet.mixture_models import DirichletProcessMixture
    model = DirichletProcessMixture(
        alpha=1,
        rng=seed,
        mu_prior=prior.loc,
        lambda_prior=prior.kappa,
        psi_prior=prior.scale,
        nu_prior=prior.df,
    )
    model._initialize_common_params(x)
    model._initialize_gibbs_params(init_groups=prior.num_first)
    return model


def conditional(x: Floats, prior: Prior, z: Ints) -> Task:
    """One step: components and weights are drawn, then all labels given them. Not collapsed."""
    model = conditional_chain(x, prior, 0)

    def run() -> None:
        model.d = z.copy()
        model._gibbs_step()

    return Task(run)


PEERS = {OURS: ours, SEQUENTIAL: sequential, TEXTBOOK: textbook, VARIATIONAL: variational}
SMALL_PEERS = {CONDITIONAL: conditional} if have_pyrichlet() else {}
