"""Every form of the sweep draws the labels of the textbook sampler, one for one."""

import numpy as np
import partition_oracle as oracle
import pytest
import torch
from pyro.distributions import Gamma
from textbook_gibbs import chain_state, mixture_model, textbook_sweep

from probact.inference.dirichlet.collapsed_gibbs import CollapsedGibbs
from probact.inference.dirichlet.collapsed_sweep import collapsed_sweep
from probact.inference.dirichlet.hyperparameters import resample_hyperparameters

#        N, D, alpha, block, s, seed
CASES = [
    (60, 1, 1.0, 7, 1.0, 0),
    (70, 2, 3.0, 1, 1.0, 1),
    (70, 5, 6.0, 32, 0.5, 2),
    (80, 9, 1.0, 200, 2.0, 3),
    (50, 20, 2.0, 50, 1.0, 4),
    (40, 2, 60.0, 16, 0.01, 5),
    (30, 33, 2.0, 8, 1.0, 6),
]


def clusters(n, d, seed, diagonal):
    """Points from five clusters, and a prior that is not centred at them."""
    rng = np.random.default_rng(seed)
    x = (3 * rng.normal(size=(5, d)))[rng.integers(0, 5, n)] + rng.normal(size=(n, d))
    mix = rng.normal(size=(d, d))
    scale = np.diag(rng.uniform(0.5, 2.0, d)) if diagonal else mix @ mix.T / d + np.eye(d) / 2
    return x, oracle.NIW(rng.normal(size=d), 0.3, d + 1.5, scale, diagonal), rng


@pytest.mark.parametrize("form", ["blocked", "speculative"])
@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize(("n", "d", "alpha", "block", "s", "seed"), CASES)
def test_labels_of_the_textbook_sampler(n, d, alpha, block, s, seed, diagonal, form):
    x, prior, rng = clusters(n, d, seed, diagonal)
    scaled = oracle.NIW(prior.mu0, prior.kappa0, prior.nu0, s * prior.psi0, diagonal)
    state = chain_state(mixture_model(prior), x, rng.integers(0, 4, n), alpha, s)
    kernel = CollapsedGibbs(form=form, block=block)
    for sweep in range(4):
        z = state.z.numpy()
        order, u = rng.permutation(n), rng.random(n)
        result = kernel._sweep(state, torch.from_numpy(order), torch.from_numpy(u))
        want = textbook_sweep(x, z, alpha, scaled, order, u)
        assert (result.z == want).all(), sweep
        state = state._replace(z=torch.from_numpy(result.z))


@pytest.mark.parametrize("diagonal", [False, True])
def test_steps_are_sweeps_and_then_the_hyper_parameters(diagonal):
    n = 60
    x, prior, rng = clusters(n, 3, 11, diagonal)
    state = chain_state(mixture_model(prior, Gamma(2.0, 0.5)), x, rng.integers(0, 9, n), 4.0)
    generator, again = (torch.Generator().manual_seed(3) for _ in range(2))
    kernel, born, died = CollapsedGibbs(block=16), 0, 0
    for _ in range(8):
        order = torch.randperm(n, generator=again).numpy()
        u = torch.rand(n, generator=again, dtype=torch.float64).numpy()
        want = textbook_sweep(x, state.z.numpy(), float(state.alpha), prior, order, u)
        moved = (np.unique(state.z, return_inverse=True)[1] != want).sum()
        after = resample_hyperparameters(state._replace(z=torch.from_numpy(want)), again)
        state = kernel.step(state, generator)
        assert (state.z.numpy() == want).all()
        assert state.alpha == after.alpha
        assert state.counts["num_moved"] >= moved  # a slot may be left and taken anew
        born, died = born + state.counts["num_born"], died + state.counts["num_died"]
    assert born > 0
    assert died > 0


@pytest.mark.parametrize("diagonal", [False, True])
def test_restricted_scan_and_its_probability(diagonal):
    x, prior, rng = clusters(24, 4, 5, diagonal)
    problem = chain_state(mixture_model(prior), x, np.zeros(24, int)).problem
    z, order, u = np.arange(24) % 2, 2 + rng.permutation(22), rng.random(22)
    free = collapsed_sweep(problem, 1.0, 0.0, z, order, u, block=5)
    want, log_prob = z.copy(), 0.0
    for i, v in zip(order, u, strict=True):
        w = np.empty(2)
        for k in range(2):
            rest = x[(want == k) & (np.arange(24) != i)]
            w[k] = np.log(len(rest)) + prior.log_predictive(x[i], rest)
        share = 1 / (1 + np.exp(w[1] - w[0]))
        want[i] = int(v >= share)
        log_prob += w[want[i]] - np.logaddexp(*w)
    assert (free.z == want).all()
    assert free.log_prob == pytest.approx(log_prob, abs=1e-9)
    forced = collapsed_sweep(problem, 1.0, 0.0, z, order, u, block=7, forced=want[order])
    assert (forced.z == want).all()
    assert forced.log_prob == pytest.approx(log_prob, abs=1e-9)
    against = collapsed_sweep(problem, 1.0, 0.0, z, order, u, forced=1 - want[order])
    assert (against.z[order] == 1 - want[order]).all()
    assert -np.inf < against.log_prob < log_prob


def test_the_block_changes_nothing_on_a_larger_set():
    x, prior, rng = clusters(1500, 12, 8, False)
    state = chain_state(mixture_model(prior), x, rng.integers(0, 40, 1500), 3.0)
    order, u = torch.randperm(1500), torch.rand(1500, dtype=torch.float64)
    labels = [
        CollapsedGibbs(block=b, form=form)._sweep(state, order, u).z
        for b, form in [(1, "blocked"), (64, "blocked"), (333, "blocked"), (128, "speculative")]
    ]
    assert all((z == labels[0]).all() for z in labels[1:])
    assert len(np.unique(labels[0])) > 5
