"""The law that a step draws from leaves the exact posterior over all partitions alone."""

import math

import numpy as np
import partition_oracle as oracle
import pytest
import statcheck
import torch
from pyro.distributions import Gamma
from scipy.special import gammaln
from scipy.stats import invwishart
from textbook_gibbs import chain_state, mixture_model

from probact.inference.dirichlet.collapsed_gibbs import CollapsedGibbs
from probact.inference.dirichlet.state import canonical, log_joint


def tiny(name):
    """(x, prior, alpha, s) of one of the tiny data sets."""
    x, alpha, prior = oracle.demo_data()
    mu, kappa, nu, psi = prior.mu0, prior.kappa0, prior.nu0, prior.psi0
    correlated = np.array([[1.0, 0.9], [0.9, 1.0]])
    rng = np.random.default_rng(7)
    wide = rng.normal(size=(4, 9))
    cases = {
        "full": (x, prior, alpha, 1.0),
        "diagonal": (x, oracle.NIW(mu, kappa, nu, np.diag([1.0, 0.3]), True), alpha, 1.0),
        "correlated": (x, oracle.NIW(mu + 1, kappa, nu, correlated), alpha, 1.0),
        "duplicates": (x[[0, 0, 0, 1, 1, 2]], prior, alpha, 1.0),
        "one point": (x[:1], prior, alpha, 1.0),
        "D = 1": (x[:, :1], oracle.NIW([0.3], 0.1, 1.5, [[0.4]]), 2.0, 1.0),
        "D > N": (wide, oracle.NIW(np.zeros(9), 0.2, 9.5, np.eye(9)), alpha, 1.0),
        "offset": (x + 2.0**20, oracle.NIW(mu + 2.0**20, kappa, nu, psi), alpha, 1.0),
        "tiny scale": (x * 2.0**-30, oracle.NIW(mu, kappa, nu, psi * 2.0**-60), alpha, 1.0),
        "s = 3": (x, oracle.NIW(mu, kappa, nu, correlated), alpha, 3.0),
        "s = 0.2, diagonal": (x, oracle.NIW(mu, kappa, nu, psi, True), alpha, 0.2),
    }
    return cases[name]


def site_law(x, prior, alpha, s, kernel=None):
    """The partition after one point is drawn anew, by `conditional`."""
    kernel = kernel or CollapsedGibbs()
    model = mixture_model(prior)

    def law(labels, i):
        options, p = kernel.conditional(chain_state(model, x, labels, alpha, s), i)
        out = {}
        for slot, share in zip(options, p, strict=True):
            z = np.array(labels)
            z[i] = slot
            out[oracle.canonical(z)] = float(share)
        assert len(out) == len(options)
        return out

    return law


NAMES = ["full", "diagonal", "correlated", "duplicates", "one point", "D = 1", "D > N", "offset"]
NAMES += ["tiny scale", "s = 3", "s = 0.2, diagonal"]


@pytest.mark.parametrize("name", NAMES)
def test_invariance_over_all_partitions(name):
    x, prior, alpha, s = tiny(name)
    scaled = oracle.NIW(prior.mu0, prior.kappa0, prior.nu0, s * prior.psi0, prior.diagonal)
    post = oracle.exact_posterior(x, alpha, scaled)
    defect, rows = oracle.invariance_defect(site_law(x, prior, alpha, s), post)
    assert defect < 1e-10
    assert rows < 1e-12


def test_every_partition_is_reached_from_both_ends():
    x, prior, alpha, s = tiny("full")
    law = site_law(x, prior, alpha, s)
    for start in [(0,) * 6, tuple(range(6))]:
        seen, front = {start}, [start]
        while front:
            labels = front.pop()
            for i in range(6):
                for other, p in law(labels, i).items():
                    if p > 0 and other not in seen:
                        seen.add(other)
                        front.append(other)
        assert len(seen) == 203


def posterior_with_alpha(x, prior, shape, rate):
    """Exact p(z | x) with alpha ~ Gamma summed out, and p(alpha | K) on a grid."""
    grid = np.exp(np.linspace(-9, 5, 4001))
    n = len(x)
    log_p = shape * np.log(grid) - rate * grid + gammaln(grid) - gammaln(grid + n)  # on log alpha
    by_size = np.exp(log_p + np.arange(n + 1)[:, None] * np.log(grid))  # (N + 1, grid)
    post = {}
    for z in oracle.set_partitions(n):
        blocks = oracle.blocks(z)
        weight = sum(gammaln(len(b)) + prior.log_marginal(x[b]) for b in blocks)
        post[z] = math.exp(weight) * by_size[len(blocks)].sum()
    total = sum(post.values())
    return {z: p / total for z, p in post.items()}, grid, by_size


@pytest.mark.parametrize("diagonal", [False, True])
def test_a_whole_step_from_exact_starts(diagonal, budget):
    x, _, prior = oracle.demo_data(5)
    prior.diagonal = diagonal
    post, grid, by_size = posterior_with_alpha(x, prior, 2.0, 1.5)
    rng, generator = np.random.default_rng(3), torch.Generator().manual_seed(8)
    kernel, model = CollapsedGibbs(block=3), mixture_model(prior, Gamma(2.0, 1.5))
    first = chain_state(model, x, [0] * 5)
    draws, alphas = [], []
    for z in oracle.sample_posterior(post, 1500, rng):
        p = by_size[max(z) + 1]
        alpha = torch.tensor(rng.choice(grid, p=p / p.sum()))
        state = kernel.step(first._replace(z=torch.tensor(z), alpha=alpha), generator)
        draws.append(tuple(canonical(state.z).tolist()))
        alphas.append(float(state.alpha))
    budget.check(f"step partitions {diagonal}", oracle.frequency_test(draws, post))
    law = sum(p * by_size[max(z) + 1] / by_size[max(z) + 1].sum() for z, p in post.items())
    cdf = np.cumsum(law)
    p = statcheck.dkw_pvalue(alphas, lambda a: np.interp(np.log(a), np.log(grid), cdf))
    budget.check(f"step alpha {diagonal}", p)


@pytest.mark.parametrize("diagonal", [False, True])
def test_joint_draws_stay_joint_draws(diagonal, budget):
    """alpha, s, z and x from the model, one step, and each is compared with itself."""
    rng, generator = np.random.default_rng(4), torch.Generator().manual_seed(9)
    psi = np.diag([1.0, 0.5]) if diagonal else np.array([[1.0, 0.4], [0.4, 0.5]])
    prior = oracle.NIW([0.3, -0.2], 0.3, 5.0, psi, diagonal)
    model = mixture_model(prior, Gamma(2.0, 1.5), Gamma(4.0, 4.0))
    kernel, gaps = CollapsedGibbs(block=4), []
    for _ in range(700):
        alpha, s = rng.gamma(2.0) / 1.5, rng.gamma(4.0) / 4.0
        z = seating(rng, 9, alpha)
        state = chain_state(model, points(rng, z, prior, s), z, alpha, s)
        gaps.append(summary(kernel.step(state, generator)) - summary(state))
    for name, gap in zip(["log joint", "K", "alpha", "s", "pairs"], np.array(gaps).T, strict=True):
        budget.check(f"joint {diagonal} {name}", statcheck.paired_mean_pvalue(gap))


def seating(rng, n, alpha):
    z = [0]
    for i in range(1, n):
        w = np.append(np.bincount(z), alpha) / (i + alpha)
        z.append(int(rng.choice(len(w), p=w)))
    return z


def points(rng, z, prior, s):
    d = len(prior.mu0)
    x = np.empty((len(z), d))
    for k in set(z):
        if prior.diagonal:
            var = s * np.diag(prior.psi0) / rng.chisquare(prior.nu0 - d + 1, d)
            root = np.diag(np.sqrt(var))
        else:
            root = np.linalg.cholesky(invwishart(prior.nu0, s * prior.psi0).rvs(random_state=rng))
        mean = prior.mu0 + root @ rng.normal(size=d) / math.sqrt(prior.kappa0)
        for i in np.flatnonzero(np.array(z) == k):
            x[i] = mean + root @ rng.normal(size=d)
    return x


def summary(state):
    sizes = torch.bincount(canonical(state.z)).double()
    log_p, pairs = float(log_joint(state)), float((sizes**2).sum())
    return np.array([log_p, len(sizes), float(state.alpha), float(state.scale_factor), pairs])
