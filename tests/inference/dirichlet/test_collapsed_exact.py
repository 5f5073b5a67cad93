"""The law that a step draws from leaves the exact posterior over all partitions alone."""

import numpy as np
import partition_oracle as oracle
import pytest
import statcheck
from model_draws import SUMMARIES, check_step, joint_gaps
from pyro.distributions import Gamma
from textbook_gibbs import chain_state, mixture_model

from probact.inference.dirichlet.collapsed_gibbs import CollapsedGibbs


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


@pytest.mark.parametrize("diagonal", [False, True])
def test_a_whole_step_from_exact_starts(diagonal, budget):
    x, _, prior = oracle.demo_data(5)
    prior.diagonal = diagonal
    model = mixture_model(prior, Gamma(2.0, 1.5))
    what = CollapsedGibbs(block=3), model, x, prior, (2.0, 1.5)
    check_step(*what, size=1500, seed=3, budget=budget, name=f"step {diagonal}")


@pytest.mark.parametrize("diagonal", [False, True])
def test_joint_draws_stay_joint_draws(diagonal, budget):
    """alpha, s, z and x from the model, one step, and each is compared with itself."""
    psi = np.diag([1.0, 0.5]) if diagonal else np.array([[1.0, 0.4], [0.4, 0.5]])
    prior = oracle.NIW([0.3, -0.2], 0.3, 5.0, psi, diagonal)
    model = mixture_model(prior, Gamma(2.0, 1.5), Gamma(4.0, 4.0))

    def draw(rng):
        return rng.gamma(2.0) / 1.5, rng.gamma(4.0) / 4.0

    gaps = joint_gaps(CollapsedGibbs(block=4), model, prior, draw, n=9, size=700, seed=4)
    for name, gap in zip(SUMMARIES, gaps.T, strict=True):
        budget.check(f"joint {diagonal} {name}", statcheck.paired_mean_pvalue(gap))
