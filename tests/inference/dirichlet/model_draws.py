"""Draws of (alpha, s, z, x) from the model itself, and the posterior with alpha summed out."""

import math

import numpy as np
import partition_oracle as oracle
import statcheck
import torch
from scipy.special import gammaln
from scipy.stats import invwishart
from textbook_gibbs import chain_state

from probact.inference.dirichlet.state import canonical, log_joint

__all__ = ["SUMMARIES", "check_step", "joint_gaps", "points", "posterior_with_alpha", "seating"]

SUMMARIES = ["log joint", "K", "alpha", "s", "pairs"]


def seating(rng, n, alpha):
    """Labels (n,) of a Chinese restaurant."""
    z = [0]
    for i in range(1, n):
        w = np.append(np.bincount(z), alpha) / (i + alpha)
        z.append(int(rng.choice(len(w), p=w)))
    return z


def points(rng, z, prior, s):
    """Rows (n, D) given their labels."""
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


def joint_gaps(kernel, model, prior, draw, n, size, seed):
    """SUMMARIES after one step less those before it, from `size` draws of the model.

    draw(rng) gives alpha and s by their priors. If the step keeps the posterior, the state stays
    a draw of the model, so that the gaps (size, 5) have mean zero.
    """
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed + 5)
    gaps = []
    for _ in range(size):
        alpha, s = draw(rng)
        z = seating(rng, n, alpha)
        state = chain_state(model, points(rng, z, prior, s), z, alpha, s)
        gaps.append(summary(kernel.step(state, generator)) - summary(state))
    return np.array(gaps)


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


def check_step(kernel, model, x, prior, gamma, size, seed, budget, name):
    """One step from exact draws of (alpha, z), alpha ~ Gamma(*gamma): partitions and alphas."""
    post, grid, by_size = posterior_with_alpha(x, prior, *gamma)
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed + 5)
    first = chain_state(model, x, [0] * len(x))
    draws, alphas = [], []
    for z in oracle.sample_posterior(post, size, rng):
        p = by_size[max(z) + 1]
        alpha = torch.tensor(rng.choice(grid, p=p / p.sum()))
        state = kernel.step(first._replace(z=torch.tensor(z), alpha=alpha), generator)
        draws.append(tuple(canonical(state.z).tolist()))
        alphas.append(float(state.alpha))
    budget.check(f"{name} partitions", oracle.frequency_test(draws, post))
    cdf = np.cumsum(
        sum(p * by_size[max(z) + 1] / by_size[max(z) + 1].sum() for z, p in post.items())
    )
    p = statcheck.dkw_pvalue(alphas, lambda a: np.interp(np.log(a), np.log(grid), cdf))
    budget.check(f"{name} alpha", p)
