"""Programs for patterns besides latent classes: densities, evidence, fits, samples, refusals."""

import itertools
import math

import numpy as np
import pyro.poutine as poutine
import pytest
import torch
from scipy import integrate, stats
from statcheck import AlphaBudget

import probact as pa
from probact.models import (
    BetaBernoulliPatterns,
    DichotomisedGaussian,
    IsingPatterns,
    ProbitPatterns,
)

F64 = torch.float64
ALL3 = torch.tensor(list(itertools.product((0, 1), repeat=3)))
A = torch.tensor([[1, 0, 1], [1, 1, 0], [1, 0, 0], [0, 0, 1]])
B, J = [0.3, -0.5, 0.1], [[0.0, 1.2, -0.7], [1.2, 0.0, 0.4], [-0.7, 0.4, 0.0]]


def test_beta_bernoulli_evidence_by_quadrature():
    model = BetaBernoulliPatterns(3, mean=0.3, precision=5.0)
    want = 0.0
    for on in A.sum(0).tolist():
        law = stats.beta(1.5, 3.5)
        value = integrate.quad(lambda p, c=on, f=law: f.pdf(p) * p**c * (1 - p) ** (4 - c), 0, 1)
        want += math.log(value[0])
    assert float(model.log_evidence(A)) == pytest.approx(want, rel=1e-9)


def test_beta_bernoulli_evidence_is_joint_over_posterior():
    model = BetaBernoulliPatterns(3, mean=0.3, precision=5.0)
    p = torch.tensor([0.2, 0.7, 0.5], dtype=F64)
    joint = poutine.trace(poutine.condition(model, {"probs": p})).get_trace(A).log_prob_sum()
    evidence = joint - model.posterior(A).log_prob(p).sum()
    assert float(evidence) == pytest.approx(float(model.log_evidence(A)), rel=1e-12)


def test_empirical_prior():
    generator = torch.Generator().manual_seed(0)
    p = torch.from_numpy(stats.beta(2.0, 6.0).rvs(3000, random_state=1))
    a = torch.rand(60, 3000, generator=generator, dtype=F64) < p
    model = BetaBernoulliPatterns.from_data(a)
    assert model.mean == pytest.approx(0.25, abs=0.02)
    assert model.precision == pytest.approx(8.0, rel=0.12)
    best = float(model.log_evidence(a))
    for mean, precision in ((1.05, 1.0), (0.95, 1.0), (1.0, 1.1), (1.0, 0.9)):
        near = BetaBernoulliPatterns(
            3000, mean=model.mean * mean, precision=model.precision * precision
        )
        assert float(near.log_evidence(a)) < best
    with pytest.raises(ValueError, match="a must hold zeros and ones, got only 1"):
        BetaBernoulliPatterns.from_data(torch.ones(3, 2))


def test_beta_bernoulli_replicates_of_both_kinds():
    model = BetaBernoulliPatterns(3)
    exact = model.replicates(A, 400, max_draws=300).double().mean((0, 1))
    torch.testing.assert_close(exact, model.posterior(A).mean, rtol=0, atol=0.05)
    given = {"probs": torch.tensor([[0.0, 1.0, 0.0]] * 2)}
    assert model.replicates(given, 4).sum((0, 1)).tolist() == [0, 8, 0]


def test_probit_evidence_by_quadrature():
    model = ProbitPatterns(3)
    for variance in (0.05, 1.0, 30.0):
        want = 0.0
        for on in A.sum(0).tolist():

            def integrand(z, c=on, v=variance):
                s = math.sqrt(v)
                return (
                    stats.norm.pdf(z)
                    * stats.norm.cdf(s * z) ** c
                    * stats.norm.sf(s * z) ** (4 - c)
                )

            want += math.log(integrate.quad(integrand, -12, 12, limit=400, points=[0])[0])
        found = float(model.log_evidence(A, variance))
        assert found == pytest.approx(want, rel=1e-5)


def test_probit_variance_is_found():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(2000, dtype=F64, generator=generator)
    p = torch.special.ndtr(math.sqrt(0.6) * z)
    a = torch.rand(500, 2000, dtype=F64, generator=generator) < p
    variance = ProbitPatterns(2000).fit_variance(a)
    error = 0.6 * math.sqrt(2 / 2000)
    assert abs(variance - 0.6) < 5 * error
    r = variance / (1 + variance)
    assert float(p.var()) == pytest.approx(math.asin(r) / (2 * math.pi), abs=0.01)


@pytest.mark.filterwarnings("ignore::probact.inference.SamplingWarning")
def test_probit_program_under_nuts():
    p = torch.tensor([0.1, 0.4, 0.9], dtype=F64)
    a = torch.rand(80, 3, dtype=F64, generator=torch.Generator().manual_seed(0)) < p
    post = pa.sample(
        ProbitPatterns(3), a.double(), draws=60, tune=60, chains=1, progress=False, seed=0
    )
    fake = ProbitPatterns(3).replicates(post, 80, max_draws=40).double().mean((0, 1))
    torch.testing.assert_close(fake, a.double().mean(0), rtol=0, atol=0.08)


def test_dichotomised_gaussian_of_a_linear_layer():
    generator = torch.Generator().manual_seed(0)
    w = torch.randn(3, 5, dtype=F64, generator=generator)
    b, mean = torch.tensor([0.2, -0.4, 0.0]).double(), torch.linspace(-1, 1, 5, dtype=F64)
    half = torch.randn(5, 5, dtype=F64, generator=generator)
    model = DichotomisedGaussian.from_linear(w, b, mean, half @ half.T)
    x = mean + torch.randn(200_000, 5, dtype=F64, generator=generator) @ half.T
    a = (x @ w.T + b > 0).long()
    budget = AlphaBudget(1e-6, 2)
    counts = torch.bincount(a @ torch.tensor([4, 2, 1]), minlength=8)
    want = model.log_prob(ALL3, num_samples=20_000).value.exp()
    want = (want / want.sum()).numpy() * len(a)
    budget.check("patterns", stats.chisquare(counts.numpy(), want).pvalue)
    both = (a[:, 0] * a[:, 1]).sum()
    p = float(model.pair_probs()[0, 1])
    budget.check("pair", stats.binomtest(int(both), len(a), p).pvalue)


def test_dichotomised_gaussian_from_data():
    true = DichotomisedGaussian([0.5, -0.2, 0.0], [[1, 0.6, 0.1], [0.6, 1, -0.3], [0.1, -0.3, 1]])
    a = true.sample_patterns(20_000, seed=0)
    model = DichotomisedGaussian.from_data(a)
    rows = a.double()
    torch.testing.assert_close(model.pair_probs(), rows.T @ rows / len(rows), rtol=0, atol=1e-8)
    assert float((model.correlation - true.correlation).abs().max()) < 0.04
    assert float(torch.linalg.eigvalsh(model.correlation)[0]) > 0


def test_dichotomised_gaussian_mends_what_is_not_definite():
    a = torch.tensor([[1, 1, 0], [0, 0, 1], [1, 0, 1], [0, 1, 0], [1, 1, 1], [0, 0, 0]] * 3)
    a = torch.cat([a, a[:2].repeat(8, 1), torch.tensor([[1, 0, 1], [0, 1, 0]] * 8)])
    model = DichotomisedGaussian.from_data(a)
    assert float(torch.linalg.eigvalsh(model.correlation)[0]) > 0
    torch.testing.assert_close(model.probs, a.double().mean(0))


def brute_ising():
    a = ALL3.double()
    b, j = torch.tensor(B, dtype=F64), torch.tensor(J, dtype=F64)
    energy = a @ b + sum(j[p, q] * a[:, p] * a[:, q] for p, q in ((0, 1), (0, 2), (1, 2)))
    return energy.softmax(0)


def test_ising_law_and_conditionals():
    model, law = IsingPatterns(B, J), brute_ising()
    torch.testing.assert_close(model.log_prob(ALL3).exp(), law, rtol=1e-12, atol=0)
    pseudo = torch.zeros(8, dtype=F64)
    for i in range(3):
        other = (ALL3[:, None] != ALL3).sum(-1).long()
        differs = ALL3[:, None, i] != ALL3[None, :, i]
        pair = law + (law[None] * (differs & (other == 1))).sum(1)
        pseudo += (law / pair).log()
    torch.testing.assert_close(model.log_pseudo_likelihood(ALL3), pseudo, rtol=1e-12, atol=0)


def test_ising_samples():
    a = IsingPatterns(B, J).sample_patterns(8000, sweeps=30, seed=0)
    counts = torch.bincount(a.long() @ torch.tensor([4, 2, 1]), minlength=8)
    budget = AlphaBudget(1e-6, 1)
    budget.check("patterns", stats.chisquare(counts.numpy(), brute_ising().numpy() * 8000).pvalue)


def test_ising_program_counts_in_binary():
    trace = poutine.trace(IsingPatterns(B, J)).get_trace(ALL3)
    want = brute_ising().log().sum()
    torch.testing.assert_close(trace.log_prob_sum(), want, rtol=1e-12, atol=0)


def test_ising_fit_by_pseudo_likelihood():
    place = torch.multinomial(
        brute_ising(), 60_000, True, generator=torch.Generator().manual_seed(0)
    )
    fit = IsingPatterns.fit(ALL3[place], penalty=1e-6)
    assert fit.gradient < 1e-7
    assert float((fit.model.coupling - torch.tensor(J)).abs().max()) < 0.12
    assert float((fit.model.field - torch.tensor(B)).abs().max()) < 0.1
    stuck = IsingPatterns.fit(torch.ones(10, 2), penalty=0.1)
    assert bool(torch.isfinite(stuck.model.field).all())


def test_refusals():
    with pytest.raises(ValueError, match=r"mean must lie in \(0, 1\), got 1\.0"):
        BetaBernoulliPatterns(2, mean=1.0)
    with pytest.raises(ValueError, match=r"1 unit always on or always off \(first: unit 1"):
        DichotomisedGaussian.from_data([[1, 0], [0, 0]])
    with pytest.raises(ValueError, match="positive definite"):
        DichotomisedGaussian([0.0, 0.0], [[1.0, 1.5], [1.5, 1.0]])
    with pytest.raises(ValueError, match="unit 1 of weight does not vary"):
        DichotomisedGaussian.from_linear([[1.0], [0.0]], [0.0, 0.0], [0.0], [[1.0]])
    with pytest.raises(ValueError, match="symmetric with zeros"):
        IsingPatterns([0.0, 0.0], [[0.0, 1.0], [0.5, 0.0]])
    with pytest.raises(ValueError, match="at most 20 units, got 21"):
        IsingPatterns(torch.zeros(21), torch.zeros(21, 21)).log_normalizer()
    with pytest.raises(ValueError, match="a must have 3 units, got 2"):
        IsingPatterns(B, J).log_prob([[0, 1]])
    for model in (BetaBernoulliPatterns(2), ProbitPatterns(2)):
        with pytest.raises(ValueError, match="give patterns a, or num_points"):
            model()
    assert np.isfinite(float(BetaBernoulliPatterns(2).log_evidence([[0, 1]])))
