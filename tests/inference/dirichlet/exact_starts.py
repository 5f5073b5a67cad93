"""Chains that start from the exact posterior of a tiny data set: one step must keep it."""

import numpy as np
import partition_oracle as oracle
import torch
from textbook_gibbs import chain_state, mixture_model

__all__ = ["end_states", "frequency_pvalue", "tiny_mixture"]


def tiny_mixture(name, n, diagonal):
    """(x, prior): two groups of points in the plane or on a line; duplicates share rows."""
    rng = np.random.default_rng(5)
    d = 1 if name == "line" else 2
    gap = {"overlapping": 0.5, "separate": 3.0, "line": 1.2, "duplicates": 1.0}[name]
    x = 0.7 * rng.normal(size=(n, d)) + np.where(np.arange(n) % 2 == 0, gap, -gap)[:, None]
    if name == "duplicates":
        x[2], x[4], x[3] = x[0], x[0], x[1]
    scale = 0.8 * np.eye(d)
    if d == 2 and not diagonal:
        scale[0, 1] = scale[1, 0] = 0.3
    return x, oracle.NIW(np.full(d, 0.2), 0.4, d + 1.7, scale, diagonal)


def end_states(kernel, x, prior, alpha, s, size, seed):
    """Partitions one step after independent draws from the exact posterior, and that posterior."""
    scaled = oracle.NIW(prior.mu0, prior.kappa0, prior.nu0, s * prior.psi0, prior.diagonal)
    post = oracle.exact_posterior(x, alpha, scaled)
    model = mixture_model(prior, alpha)
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    start = chain_state(model, x, [0] * len(x), alpha, s)
    ends = []
    for z in oracle.sample_posterior(post, size, rng):
        slots = rng.permutation(len(x))[list(z)]  # with gaps, in any order
        state = kernel.step(start._replace(z=torch.from_numpy(slots)), generator)
        ends.append(oracle.canonical(state.z.tolist()))
    return ends, post


def frequency_pvalue(kernel, name, n, alpha, *, diagonal=False, s=1.0, size=1000, seed=1):
    """How well the end states agree with the posterior: a p-value."""
    x, prior = tiny_mixture(name, n, diagonal)
    return oracle.frequency_test(*end_states(kernel, x, prior, alpha, s, size, seed))
