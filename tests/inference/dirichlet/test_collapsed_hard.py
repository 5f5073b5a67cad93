"""Data on which floating point is short: nothing is clamped, and nothing fails by accident."""

from types import SimpleNamespace

import bad_inputs
import numpy as np
import partition_oracle as oracle
import pytest
import torch
from numba import njit
from pyro.distributions import Gamma
from textbook_gibbs import chain_state, mixture_model, textbook_sweep

from probact.arrays import as_matrix
from probact.inference.dirichlet.blocked_clusters import allocate, factorise, shift
from probact.inference.dirichlet.collapsed_gibbs import CollapsedGibbs
from probact.inference.dirichlet.diagonal_sweep import Coordinates
from probact.inference.dirichlet.diagonal_sweep import shift as shift_coordinates
from probact.inference.dirichlet.problem import pose
from probact.inference.dirichlet.state import DPState, log_joint


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("case", list(bad_inputs.data_cases()), ids=lambda case: case[0])
def test_steps_on_awkward_data(case, diagonal, generator):
    _, make, expect = case
    kernel = CollapsedGibbs(block=16)

    def run():
        with np.errstate(all="ignore"):
            x = as_matrix(make(), "x").double()
            var = x.var(0, correction=0)
            scale = torch.diag(torch.where(var > 1e-20, var, 1.0))
            d = x.shape[1]
            base = SimpleNamespace(
                loc=x.mean(0), kappa=0.01, scale=scale, df=d + 2.0, diagonal=diagonal
            )
            model = SimpleNamespace(base=base, concentration=Gamma(1.0, 1.0), scale_factor=None)
            if not torch.isfinite(scale).all():
                raise ValueError("the prior itself is refused")
            problem = pose(model, make())
            one = torch.tensor(1.0, dtype=torch.float64)
            state = DPState(torch.zeros(len(x), dtype=torch.long), one, one, problem, {})
            for _ in range(3):
                state = kernel.step(state, generator)
                p = kernel.conditional(state, 0)[1]
                assert abs(float(p.sum()) - 1) < 1e-12
            return log_joint(state)

    assert bad_inputs.verdict(run, expect, lambda out: bool(torch.isfinite(out))) is None


@pytest.mark.parametrize("form", ["blocked", "speculative"])
@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize(("dim", "distance"), [(1, 1e7), (3, 1e4), (3, 1e7), (10, 1e6)])
def test_an_outlier_that_holds_its_component_open(dim, distance, diagonal, form):
    """1 - r of the outlier is near distance^-2, so that it has no digits left at 1e7."""
    rng = np.random.default_rng(dim)
    x = rng.normal(size=(30, dim))
    x[7] += distance
    x[19] -= 0.7 * distance * rng.normal(size=dim)
    prior = oracle.NIW(x.mean(0), 0.1, dim + 2.0, np.eye(dim), diagonal)
    state = chain_state(mixture_model(prior), x, np.arange(30) % 2, 1.5)
    kernel = CollapsedGibbs(block=8, form=form)
    for _ in range(4):
        order, u = rng.permutation(30), rng.random(30)
        result = kernel._sweep(state, torch.from_numpy(order), torch.from_numpy(u))
        want = textbook_sweep(x, state.z.numpy(), 1.5, prior, order, u)
        assert (result.z == want).all()
        state = state._replace(z=torch.from_numpy(result.z))


def test_conditional_of_an_outlier():
    x = np.array([[0.0, 0.3], [1.0, -0.2], [1e7, 2e7], [0.5, 0.5]])
    prior = oracle.NIW(np.zeros(2), 0.1, 4.0, np.eye(2))
    for labels in [(0, 0, 0, 0), (0, 1, 0, 1), (0, 1, 1, 2)]:
        state = chain_state(mixture_model(prior), x, labels, 0.8)
        options, p = CollapsedGibbs().conditional(state, 2)
        w = []
        for k in options.tolist():
            rest = x[[i for i in (0, 1, 3) if labels[i] == k]]
            w.append(np.log(len(rest) or 0.8) + prior.log_predictive(x[2], rest))
        want = np.exp(np.array(w) - np.logaddexp.reduce(w))
        np.testing.assert_allclose(p.numpy(), want, rtol=1e-7)


def test_a_scale_that_float64_cannot_hold():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 4))
    x[3] += 1e19 * rng.normal(size=4)
    prior = oracle.NIW(np.zeros(4), 1e-9, 5.0, np.eye(4))
    state = chain_state(mixture_model(prior), x, np.zeros(20, int))
    try:
        after = CollapsedGibbs().step(state, torch.Generator().manual_seed(0))
    except ValueError as error:
        assert "component" in str(error)  # noqa: PT017
    else:
        assert torch.isfinite(log_joint(after))


def test_a_component_does_not_drift():
    """A million points added and dropped again: log|S| is still that of the members."""
    rng = np.random.default_rng(1)
    x, d = rng.normal(size=(1000, 8)) * 3 + 5, 8
    clusters = allocate(1, d, d)
    clusters.scales[0] = np.eye(d)

    @njit
    def churn(clusters, x, first, pairs):
        for i in range(first):
            shift(clusters, 0, x[i], 0.1 + clusters.sizes[0], 1)
        for t in range(pairs):
            i = first + t % (len(x) - first)
            shift(clusters, 0, x[i], 0.1 + clusters.sizes[0], 1)
            shift(clusters, 0, x[i], 0.1 + clusters.sizes[0], -1)

    churn(clusters, x, 40, 1_000_000)
    assert factorise(clusters, 0, 40.1, d, 0.0)
    _, _, _, scale = oracle.NIW(np.zeros(d), 0.1, d + 2.0, np.eye(d)).posterior(x[:40])
    want = np.linalg.slogdet(scale)[1] + np.log(40.1)
    assert abs(clusters.log_dets[0] - want) < 1e-6


def test_coordinates_do_not_drift():
    """The same for independent coordinates, whose sums are updated in place."""
    rng = np.random.default_rng(1)
    x, d = rng.normal(size=(1000, 8)) * 3 + 5, 8
    one, slot = np.ones(1), np.ones((1, d))
    clusters = Coordinates(
        np.zeros(1, np.int64), 0 * slot, 1.0 * slot, 1.0 * slot, 0 * one, np.empty(2), np.empty(2)
    )

    @njit
    def churn(clusters, x, first, pairs):
        for i in range(first):
            shift_coordinates(clusters, 0, x[i], 0.1 + clusters.sizes[0], 1)
        for t in range(pairs):
            i = first + t % (len(x) - first)
            shift_coordinates(clusters, 0, x[i], 0.1 + clusters.sizes[0], 1)
            shift_coordinates(clusters, 0, x[i], 0.1 + clusters.sizes[0], -1)

    churn(clusters, x, 40, 1_000_000)
    prior = oracle.NIW(np.zeros(d), 0.1, d + 2.0, np.eye(d))
    mean, _, _, scale = prior.posterior(x[:40])
    assert clusters.sizes[0] == 40
    assert abs(clusters.means[0] - mean).max() < 1e-6
    assert abs(clusters.log_dets[0] - np.log(np.diag(scale)).sum()) < 1e-6


@pytest.mark.parametrize("diagonal", [False, True])
def test_a_step_is_a_pure_function(diagonal):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(70, 3))
    prior = oracle.NIW(np.zeros(3), 0.1, 5.0, np.eye(3), diagonal)
    model = mixture_model(prior, Gamma(1.0, 1.0), Gamma(2.0, 2.0))
    state = chain_state(model, x, rng.integers(0, 6, 70) * 3)
    before = [t.clone() for t in (state.z, state.alpha, state.scale_factor, state.problem.x)]
    first, second = (
        CollapsedGibbs().step(state, torch.Generator().manual_seed(5)) for _ in range(2)
    )
    assert torch.equal(first.z, second.z)
    assert first.alpha == second.alpha
    assert first.scale_factor == second.scale_factor
    after = (state.z, state.alpha, state.scale_factor, state.problem.x)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_slots_grow_as_needed():
    """Under a huge alpha nearly every point takes a slot of its own."""
    x = np.random.default_rng(3).normal(size=(120, 2))
    for diagonal in (False, True):
        prior = oracle.NIW(np.zeros(2), 0.1, 4.0, np.eye(2), diagonal)
        state = chain_state(mixture_model(prior), x, np.zeros(120, int), 1e6)
        state = CollapsedGibbs().step(state, torch.Generator().manual_seed(1))
        assert len(state.z.unique()) > 100
        assert state.counts["num_born"] > 100


def test_refusals():
    with pytest.raises(ValueError, match="form must be"):
        CollapsedGibbs(form="fast")
    with pytest.raises(ValueError, match="block must be"):
        CollapsedGibbs(block=0)
    x, _, prior = oracle.demo_data()
    state = chain_state(mixture_model(prior), x, np.zeros(6, int))
    with pytest.raises(ValueError, match="i must be"):
        CollapsedGibbs().conditional(state, 6)


@pytest.mark.gpu
def test_the_same_labels_on_a_cuda_device():
    rng = np.random.default_rng(4)
    x = (4 * rng.normal(size=(8, 12)))[rng.integers(0, 8, 3000)] + rng.normal(size=(3000, 12))
    prior = oracle.NIW(np.zeros(12), 0.1, 14.0, np.eye(12))
    model, z = mixture_model(prior, Gamma(1.0, 1.0)), rng.integers(0, 10, 3000)
    states = [chain_state(model, torch.tensor(x, device=d), z) for d in ("cpu", "cuda")]
    states[1] = states[1]._replace(z=states[1].z.cuda(), alpha=states[1].alpha.cuda())
    generators = [torch.Generator().manual_seed(6) for _ in states]
    for _ in range(5):
        states = [CollapsedGibbs().step(s, g) for s, g in zip(states, generators, strict=True)]
        assert states[1].z.is_cuda
        assert torch.equal(states[0].z, states[1].z.cpu())
