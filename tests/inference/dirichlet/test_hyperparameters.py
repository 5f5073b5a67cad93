"""Draws of alpha and of the scale factor, against their laws on a grid."""

from types import SimpleNamespace

import numpy as np
import partition_oracle as oracle
import pytest
import statcheck
import torch
from pyro.distributions import Gamma, LogNormal, Uniform
from scipy.special import gammaln
from textbook_gibbs import chain_state, mixture_model

from probact.inference.dirichlet.hyperparameters import resample_hyperparameters
from probact.inference.dirichlet.problem import pose
from probact.inference.dirichlet.state import DPState


def cdf_on(grid, log_density):
    """CDF of a law of log values given on an even grid."""
    mass = np.cumsum(np.exp(log_density - log_density.max()))
    return lambda v: np.interp(np.log(v), grid, mass / mass[-1])


def alpha_law(n, k, shape, rate):
    """p(alpha | K), from its definition."""
    grid = np.linspace(-40, 12, 200_001)
    a = np.exp(grid)
    return cdf_on(grid, (shape + k) * grid - rate * a + gammaln(a) - gammaln(a + n))


def draws_of_alpha(n, k, shape, rate, size):
    """Independent draws: exact starts, one update each."""
    cdf = alpha_law(n, k, shape, rate)
    grid = np.exp(np.linspace(-40, 12, 200_001))
    starts = np.interp(np.random.default_rng(0).random(size), cdf(grid), grid)
    base = SimpleNamespace(
        loc=torch.zeros(1), kappa=1.0, scale=torch.eye(1), df=3.0, diagonal=False
    )
    model = SimpleNamespace(base=base, concentration=Gamma(shape, rate), scale_factor=None)
    problem = pose(model, torch.arange(float(n)).unsqueeze(1))
    one, generator = torch.tensor(1.0).double(), torch.Generator().manual_seed(1)
    state = DPState(torch.arange(n) % k, one, one, problem, {})
    return np.array(
        [
            float(resample_hyperparameters(state._replace(alpha=one * a), generator).alpha)
            for a in starts
        ]
    )


@pytest.mark.parametrize(
    ("n", "k", "shape", "rate"),
    [(1, 1, 1.0, 1.0), (5, 2, 2.0, 0.5), (6, 1, 0.3, 2.0), (400, 7, 1.0, 1.0), (20000, 14, 1, 1)],
)
def test_alpha_follows_its_law(n, k, shape, rate, budget):
    size = 2500
    p = statcheck.dkw_pvalue(draws_of_alpha(n, k, shape, rate, size), alpha_law(n, k, shape, rate))
    budget.check(f"alpha {n} {k}", p)


def test_a_reversed_coin_would_be_rejected():
    """Shape a + K - 1 + s in place of a + K - s, with s ~ Bernoulli(N / (N + alpha))."""
    rng, n, k = np.random.default_rng(2), 400, 3
    cdf = alpha_law(n, k, 1.0, 1.0)
    grid = np.exp(np.linspace(-20, 8, 100_001))
    alpha = np.interp(rng.random(2500), cdf(grid), grid)
    eta, coin = rng.beta(alpha + 1, n), rng.random(2500) < n / (n + alpha)
    right = rng.gamma(1 + k - coin) / (1 - np.log(eta))
    wrong = rng.gamma(k + coin) / (1 - np.log(eta))
    assert statcheck.dkw_pvalue(right, cdf) > 1e-6
    assert statcheck.dkw_pvalue(wrong, cdf) < 1e-12


@pytest.mark.parametrize("law", [LogNormal(0.0, 1.0), Uniform(0.5, 2.0)])
@pytest.mark.parametrize("diagonal", [False, True])
def test_scale_factor_follows_its_law(diagonal, law, budget):
    rng = np.random.default_rng(3)
    x, labels = rng.normal(size=(7, 3)) + 1, (0, 0, 1, 0, 2, 1, 0)
    mix = rng.normal(size=(3, 3))
    psi = np.diag([0.5, 1.0, 2.0]) if diagonal else mix @ mix.T + np.eye(3)
    prior = oracle.NIW(np.zeros(3), 0.4, 5.5, psi, diagonal)
    grid = np.linspace(-8, 8, 801)
    log_p = np.full(len(grid), -np.inf)
    for i, s in enumerate(np.exp(grid)):
        value = torch.tensor(s)
        if bool(law.support.check(value)):
            scaled = oracle.NIW(prior.mu0, prior.kappa0, prior.nu0, s * psi, diagonal)
            log_p[i] = oracle.log_joint(labels, x, 1.0, scaled) + float(law.log_prob(value))
    log_p += grid
    cdf = cdf_on(grid, log_p)
    state = chain_state(mixture_model(prior, 1.0, law), x, labels)
    generator, fine = torch.Generator().manual_seed(4), np.linspace(-8, 8, 100_001)
    starts = np.interp(rng.random(700), cdf(np.exp(fine)), fine)
    draws = []
    for start in np.exp(starts):
        after = state._replace(scale_factor=torch.tensor(start))
        after = resample_hyperparameters(after, generator)
        draws.append(float(after.scale_factor))
        assert after.alpha == state.alpha
    budget.check(f"scale factor {diagonal} {law}", statcheck.dkw_pvalue(draws, cdf))
    assert np.mean(np.abs(np.log(draws) - starts) > 1e-6) > 0.9  # it does move


def test_fixed_values_stay_and_draw_nothing(generator):
    x, _, prior = oracle.demo_data()
    state = chain_state(mixture_model(prior), x, [0] * 6, 1.5)
    before = generator.get_state()
    after = resample_hyperparameters(state, generator)
    assert after.alpha == 1.5
    assert after.scale_factor == 1.0
    assert torch.equal(before, generator.get_state())


def test_refusals(generator):
    x, _, prior = oracle.demo_data()
    with pytest.raises(ValueError, match="concentration must be a Gamma"):
        chain_state(mixture_model(prior, LogNormal(0.0, 1.0)), x, [0] * 6)
    model = mixture_model(prior, 1.0, Gamma(2.0, 2.0))
    state = chain_state(model, np.repeat(x[:1], 40, 0), [0] * 40)

    def fall(state):
        for _ in range(50):
            state = resample_hyperparameters(state, generator)

    with pytest.raises(ValueError, match="scale_factor must be bounded"):
        fall(state)
