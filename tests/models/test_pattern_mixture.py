"""Latent classes of patterns: densities, evidence, learning, samples, refusals."""

import itertools

import numpy as np
import pyro.poutine as poutine
import pytest
import torch
from pyro.infer import TraceEnum_ELBO
from pyro.infer.autoguide import AutoDelta
from scipy.stats import chisquare
from statcheck import AlphaBudget

import probact as pa
from probact.models import PatternMixture

F64 = torch.float64
WEIGHTS = torch.tensor([0.2, 0.8], dtype=F64)
PROBS = torch.tensor([[0.9, 0.2, 0.6], [0.1, 0.5, 0.3]], dtype=F64)


def brute(a):
    """p(a) by loops."""
    total = 0.0
    for w, theta in zip(WEIGHTS.tolist(), PROBS.tolist(), strict=True):
        product = w
        for bit, p in zip(a, theta, strict=True):
            product *= p if bit else 1 - p
        total += product
    return total


def test_density_against_loops_and_its_sum():
    a = torch.tensor(list(itertools.product((0, 1), repeat=3)))
    found = PatternMixture(2, 3).log_prob(a, WEIGHTS, PROBS).exp()
    np.testing.assert_allclose(found, [brute(row) for row in a.tolist()], rtol=1e-13)
    assert float(found.sum()) == pytest.approx(1.0, abs=1e-14)


def test_probabilities_of_zero_and_one():
    model = PatternMixture(1, 2)
    a = torch.tensor([[1, 0], [1, 1]])
    found = model.log_prob(a, [1.0], [[1.0, 0.25]]).exp()
    torch.testing.assert_close(found, torch.tensor([0.75, 0.25], dtype=F64))
    assert float(model.log_prob(a, [1.0], [[0.0, 0.25]]).exp().sum()) == 0.0


def test_evidence_of_the_program_by_enumeration():
    a = torch.bernoulli(torch.full((20, 3), 0.4), generator=torch.Generator().manual_seed(0))
    model = PatternMixture(2, 3, concentration=2.0, unit_prior=(1.5, 3.0))
    program = poutine.condition(model, {"weights": WEIGHTS, "probs": PROBS})
    evidence = -TraceEnum_ELBO(max_plate_nesting=1).loss(program, lambda a: None, a)
    prior = torch.distributions.Dirichlet(torch.full((2,), 2.0).double()).log_prob(WEIGHTS)
    unit = torch.distributions.Beta(*torch.tensor([1.5, 3.0], dtype=F64))
    prior = prior + unit.log_prob(PROBS).sum()
    want = model.log_prob(a, WEIGHTS, PROBS).sum() + prior
    assert evidence == pytest.approx(float(want), rel=1e-12)


def test_em_climbs_to_a_stationary_point():
    generator = torch.Generator().manual_seed(1)
    truth = PatternMixture(2, 3)
    a = truth.sample_patterns(3000, [0.3, 0.7], [[0.9, 0.9, 0.1], [0.1, 0.2, 0.8]], seed=0)
    model = PatternMixture(2, 3, concentration=1.5, unit_prior=(1.2, 2.0))
    fit = model.em(a, seed=3, restarts=2, steps=5000, tolerance=1e-14)
    assert fit.converged

    def density(logit_w, logit_p):
        w, p = logit_w.softmax(-1), logit_p.sigmoid()
        rows = a.double() @ (p.log() - (1 - p).log()).T + (1 - p).log().sum(-1) + w.log()
        prior = 1.5 * w.log().sum() + (1.2 * p.log() + 2.0 * (1 - p).log()).sum()
        return (rows.logsumexp(-1).sum() + prior) / len(a)

    at = fit.weights.log().requires_grad_(), fit.probs.logit().requires_grad_()
    value = density(*at)
    assert float(value.detach()) == pytest.approx(fit.log_density, rel=1e-12)
    slopes = torch.autograd.grad(value, at)
    assert max(float(s.abs().max()) for s in slopes) < 1e-6
    for _ in range(20):
        noise = [0.3 * torch.randn(x.shape, dtype=F64, generator=generator) for x in at]
        other = density(*(x + e for x, e in zip(at, noise, strict=True)))
        assert float(other.detach()) < fit.log_density
    order = fit.weights.argsort()
    assert torch.allclose(fit.weights[order], torch.tensor([0.3, 0.7]).double(), atol=0.06)


def test_samples():
    budget = AlphaBudget(1e-6, 1)
    a = PatternMixture(2, 3).sample_patterns(20_000, WEIGHTS, PROBS, seed=0)
    place = (a.long() * torch.tensor([4, 2, 1])).sum(1)
    counts = torch.bincount(place, minlength=8).numpy()
    want = [brute(row) for row in itertools.product((0, 1), repeat=3)]
    budget.check("patterns", chisquare(counts, np.array(want) * len(a)).pvalue)


def test_replicates_follow_the_draws():
    model = PatternMixture(2, 3)
    probs = torch.stack([torch.zeros(2, 3), torch.ones(2, 3)]).double()
    draws = {"weights": torch.tensor([[0.5, 0.5], [0.5, 0.5]]), "probs": probs}
    found = model.replicates(draws, 5)
    assert found.shape == (2, 5, 3)
    assert int(found[0].sum()) == 0
    assert int(found[1].sum()) == 15
    with pytest.raises(ValueError, match=r"weights must be \(S, 3\) in the posterior"):
        PatternMixture(3, 3).replicates(draws, 5)


def test_fit_by_enumeration():
    a = PatternMixture(2, 3).sample_patterns(400, [0.5, 0.5], [[0.95] * 3, [0.05] * 3], seed=1)
    model = PatternMixture(2, 3)
    guide = AutoDelta(poutine.block(model, hide=["z"]))
    loss = TraceEnum_ELBO(max_plate_nesting=1)
    fit = pa.fit(model, a, guide=guide, loss=loss, epochs=150, progress=False, seed=1)
    assert fit.losses[-1] < fit.losses[0] - 50


def test_refusals():
    with pytest.raises(ValueError, match="num_components must be an integer of at least 1"):
        PatternMixture(0, 3)
    with pytest.raises(ValueError, match="unit_prior must be finite and above 0"):
        PatternMixture(2, 3, unit_prior=(0.0, 1.0))
    model = PatternMixture(2, 3)
    with pytest.raises(ValueError, match="a must have 3 units, got 2"):
        model.em([[0, 1]])
    with pytest.raises(ValueError, match=r"a must hold 0 and 1 alone, got 0\.5 at index"):
        model.em([[0.0, 0.5, 1.0]])
    with pytest.raises(ValueError, match="weights must be 2 shares that sum to one"):
        model.log_prob([[0, 1, 1]], [0.5, 0.6], PROBS)
    with pytest.raises(ValueError, match="give patterns a, or num_points"):
        model()
