"""Statistics of clusters against the oracle's definitions."""

import math

import numpy as np
import partition_oracle as oracle
import pytest
import torch
from textbook_gibbs import chain_state, mixture_model

from probact.distributions.component_statistics import Statistics, merged, statistics_of
from probact.inference.dirichlet.cluster_table import (
    log_merge_gain,
    log_pair_gain,
    log_partner_law,
    merge_clusters,
    split_cluster,
    summaries_of,
    tabulate,
)
from probact.inference.dirichlet.conjugate import component_laws, factor, log_marginal
from probact.inference.dirichlet.marginal_likelihood import (
    Summaries,
    cluster_prior,
    log_marginals,
)


def sample(diagonal, n=40, d=3):
    rng = np.random.default_rng(2)
    mix = rng.normal(size=(d, d))
    scale = np.diag(rng.uniform(0.5, 2, d)) if diagonal else mix @ mix.T + np.eye(d)
    prior = oracle.NIW(rng.normal(size=d), 0.3, d + 1.5, scale, diagonal)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 4, prior, rng.integers(0, 4, n)


@pytest.mark.parametrize("diagonal", [False, True])
def test_marginals_are_the_oracles(diagonal):
    x, prior, z = sample(diagonal)
    scaled = oracle.NIW(prior.mu0, prior.kappa0, prior.nu0, 1.7 * prior.psi0, diagonal)
    table = tabulate(chain_state(mixture_model(prior), x, 5 * z, 1.3, 1.7))
    volume = 0.5 * np.log(np.diag(prior.psi0)).sum()
    want = [scaled.log_marginal(x[z == k]) + (z == k).sum() * volume for k in range(4)]
    np.testing.assert_allclose(table.log_marginals, want, rtol=1e-10)


def test_laws_are_the_posteriors():
    x, prior, z = sample(False)
    state = chain_state(mixture_model(prior), x, z)
    clusters = statistics_of(state.problem.x, state.z)
    laws = component_laws(state.problem, clusters, torch.tensor(1.0).double())
    unit = np.sqrt(np.diag(prior.psi0))
    for k in range(4):
        mean, kappa, df, scale = prior.posterior(x[z == k])
        np.testing.assert_allclose(laws.loc[k].numpy() * unit + x.mean(0), mean)
        np.testing.assert_allclose(laws.scale[k].numpy() * np.outer(unit, unit), scale)
        assert float(laws.kappa[k]) == pytest.approx(kappa)
        assert float(laws.df[k]) == pytest.approx(df)


@pytest.mark.parametrize("diagonal", [False, True])
def test_union_is_the_statistics_of_both(diagonal):
    x, _, z = sample(diagonal)
    x, z = torch.from_numpy(x), torch.from_numpy(z) % 2
    parts = statistics_of(x, z, diagonal=diagonal)
    one, two = (Statistics(*(v[k : k + 1] for v in parts)) for k in (0, 1))
    whole = statistics_of(x, torch.zeros_like(z), diagonal=diagonal)
    for got, want in zip(merged(one, two), whole, strict=True):
        torch.testing.assert_close(got, want)


def test_pieces_add_up(monkeypatch):
    x, _, z = sample(False)
    x, z = torch.from_numpy(x), torch.from_numpy(z)
    whole = statistics_of(x, z)
    monkeypatch.setattr("probact.distributions.component_statistics._PIECE", 3)
    for got, want in zip(statistics_of(x, z), whole, strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("diagonal", [False, True])
def test_merge_gain_is_the_ratio_of_joint_densities(diagonal):
    x, prior, z = sample(diagonal)
    table = tabulate(chain_state(mixture_model(prior), x, z, 1.3))
    gain = log_merge_gain(table, 2)
    here = oracle.log_joint(z, x, 1.3, prior)
    for j in (0, 1, 3):
        union = oracle.log_joint(np.where(z == j, 2, z), x, 1.3, prior)
        assert float(gain[j]) == pytest.approx(union - here, rel=1e-9)
    assert float(gain[2]) == -math.inf


def test_partner_law_is_half_even_and_half_by_gain():
    gain = np.array([0.0, -math.inf, 2 * math.log(3), -1e6])
    want = [1 / 6 + 1 / 8, 0, 1 / 6 + 3 / 8, 1 / 6]
    np.testing.assert_allclose(np.exp(log_partner_law(gain)), want)


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize(("a", "b"), [(0, 3), (3, 0), (1, 2), (2, 3)])
def test_tables_follow_merges_and_splits(a, b, diagonal):
    x, prior, z = sample(diagonal)
    state = chain_state(mixture_model(prior), x, z)
    table = tabulate(state)
    moved = merge_clusters(table, a, b)
    merged_labels = np.where(z == b, a, z)
    assert oracle.canonical(moved.z) == oracle.canonical(merged_labels)
    check_table(moved, state.problem)
    c = int(moved.z[int(np.flatnonzero(z == a)[0])])
    members = np.flatnonzero(moved.z == c)
    parts = np.arange(len(members)) % 2
    halves = summaries_of(state.problem.x.numpy()[members], parts, 2, diagonal=diagonal)
    log_m = log_marginals(table.prior, halves)
    split = split_cluster(moved, c, members, parts, halves, log_m)
    assert (split.z[members] == np.where(parts == 1, 3, c)).all()
    check_table(split, state.problem)
    gain = log_pair_gain(moved.log_marginals[c], log_m, halves.sizes, table.log_alpha)
    assert gain == pytest.approx(log_merge_gain(split, c)[3])


def check_table(table, problem):
    """Every entry is what the labels give."""
    anew = statistics_of(problem.x, torch.from_numpy(table.z), diagonal=problem.diagonal)
    for got, want in zip(table.clusters, anew, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)
    marginals = log_marginal(problem, anew, torch.tensor(1.0).double())
    np.testing.assert_allclose(table.log_marginals, marginals, rtol=1e-10)


@pytest.mark.parametrize("df", [3.5, 40.0, 1e6])
@pytest.mark.parametrize("diagonal", [False, True])
def test_both_forms_of_the_marginals_agree(diagonal, df):
    """From one point to 10^7, few and many degrees of freedom."""
    x, prior, z = sample(diagonal)
    prior.nu0 = df
    state = chain_state(mixture_model(prior), x, z)
    one = statistics_of(state.problem.x, state.z, diagonal=diagonal)
    s = torch.tensor(1.7, dtype=torch.float64)
    for size in (1.0, 2.0, 30.0, 1e3, 1e7):
        clusters = one._replace(size=torch.full_like(one.size, size))
        want = log_marginal(state.problem, clusters, s)
        found = log_marginals(
            cluster_prior(state.problem, 1.7), Summaries(*map(np.asarray, clusters))
        )
        np.testing.assert_allclose(found, want, rtol=1e-13)


def test_singular_scale_is_refused():
    scale = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]]]).double()
    with pytest.raises(ValueError, match="scale matrix of component 1 is singular"):
        factor(scale)
