"""Rates that share a law: the compiled density, joint distribution, recovery."""

import arviz as az
import numpy as np
import pytest
import statcheck
import torch
from laplace_oracle import columns, draw_weights, proper_prior
from scipy.special import gammaln
from scipy.stats import gamma

import probact as pa
from probact.distributions.laplace_hyperprior import LaplaceParameters
from probact.distributions.rate_regression import RateRegression, RateRegressionPrior
from probact.inference.laplace import LaplaceGibbs, laplace_gibbs
from probact.inference.laplace.laplace_gibbs import LaplaceState
from probact.inference.laplace.problem import LaplaceProblem
from probact.inference.laplace.rows import sort_weights
from probact.inference.laplace_compiled.regression_walk import log_marginal
from probact.models.laplace_weights import LaplaceWeights

PRIOR = RateRegressionPrior(0.5, 0.6, 1.0, 0.7)
FREQUENCY = torch.tensor([-1.0, -0.3, 0.2, 1.1], dtype=torch.float64)
NUM = 3  # weights a class, so that the priors matter


def test_the_marginal_against_an_integral():
    """The rates summed out of r^n exp(-r E) and their gamma law, by scipy's quadrature."""
    exposure, z = np.array([0.7, 3.0]), np.array([-0.4, 0.4])
    for b0, b1, log_a in ((0.3, -0.5, 1.2), (-1.0, 0.2, -1.0), (0.0, 0.0, 4.0)):
        a, total = np.exp(log_a), 0.0
        for k in range(2):
            law = gamma(a, scale=np.exp(b0 + b1 * z[k]) / a)
            total += np.log(law.expect(lambda r, k=k: r**5 * np.exp(-r * exposure[k])))
        point = np.array([b0, b1, log_a])
        assert log_marginal(point, np.log(exposure), z, 5.0) == pytest.approx(total, rel=1e-7)


def test_the_marginal_keeps_its_digits():
    """At a = 1e12 it tends to that of rates exp(eta), without cancellation."""
    exposure, z = np.array([20.0, 30.0]), np.array([-0.5, 0.5])
    point = np.array([3.0, 0.1, np.log(1e12)])
    rates = np.exp(3.0 + 0.1 * z)
    limit = (500 * np.log(rates) - rates * exposure).sum()
    assert log_marginal(point, np.log(exposure), z, 500.0) == pytest.approx(limit, abs=1e-5)
    a, u = 10.0, np.log(10.0) - 3.0 - 0.1 * z
    plain = a * u + gammaln(a + 7) - gammaln(a) - (a + 7) * np.log(np.exp(u) + exposure)
    point[2] = np.log(a)
    assert log_marginal(point, np.log(exposure), z, 7.0) == pytest.approx(plain.sum(), rel=1e-12)


def draw_regressions(count, generator, slope):
    """b0, b1 and log a (count, 2) from PRIOR."""
    noise = torch.randn(3, count, 2, dtype=torch.float64, generator=generator)
    b1 = PRIOR.slope_scale * noise[1] if slope else torch.zeros_like(noise[1])
    log_a = PRIOR.log_concentration_loc + PRIOR.log_concentration_scale * noise[2]
    return PRIOR.intercept_scale * noise[0], b1, log_a


def draw_state(generator, slope):
    """A draw of everything but the weights."""
    b0, b1, log_a = (x[0] for x in draw_regressions(1, generator, slope))
    a, eta = log_a.exp()[:, None], b0[:, None] + b1[:, None] * FREQUENCY
    rates = torch._standard_gamma(a.expand_as(eta).contiguous(), generator=generator)
    rates = rates * torch.exp(eta) / a
    loc = 2.0 * torch.rand(len(FREQUENCY), dtype=torch.float64, generator=generator) - 1.0
    return LaplaceParameters(loc, *rates), RateRegression(b0, b1, log_a.exp())


def features(p, regression):
    """Numbers of a state, products of parts of different blocks among them."""
    b0, b1, a = regression
    log_a, logs = a.log(), torch.stack([p.rate_right, p.rate_left]).log()
    out = {}
    for i, side in enumerate(("right", "left")):
        trend = logs[i] @ FREQUENCY
        out |= {
            f"b0 {side}": b0[i],
            f"b1 {side}": b1[i],
            f"log a {side}": log_a[i],
            f"b0^2 {side}": b0[i] ** 2,
            f"b1^2 {side}": b1[i] ** 2,
            f"(log a)^2 {side}": log_a[i] ** 2,
            f"mean {side}": logs[i].mean(),
            f"b0 mean {side}": b0[i] * logs[i].mean(),
            f"b1 trend {side}": b1[i] * trend,
            f"log a spread {side}": log_a[i] * logs[i].std(),
            f"m rate {side}": p.loc[0] * torch.stack([p.rate_right, p.rate_left])[i, 0].log(),
        }
    return {**out, "b0 b0": b0[0] * b0[1], "b1 b1": b1[0] * b1[1], "m^2": p.loc[1] ** 2}


def joint_z(generator, slope, chains, steps=12):
    """z of each feature, chains against draws from the prior; see `test_laplace_gibbs`."""
    kernel, prior = LaplaceGibbs(updates=2), proper_prior(len(FREQUENCY))
    z = FREQUENCY if slope else None
    sums = []
    for _ in range(chains):
        p, regression = draw_state(generator, slope)
        total = {}
        for _ in range(steps):
            rows = sort_weights(draw_weights(p, NUM, generator))
            problem = LaplaceProblem(rows, prior, PRIOR, z)
            p, regression, _ = kernel.step(LaplaceState(p, regression, problem), generator)
            for name, value in features(p, regression).items():
                total[name] = total.get(name, 0.0) + float(value) / steps
        sums.append(list(total.values()))
    exact = [features(*draw_state(generator, slope)) for _ in range(6 * chains)]
    exact = torch.tensor([[float(v) for v in row.values()] for row in exact])
    found = torch.tensor(sums)
    error = (found.var(0) / len(found) + exact.var(0) / len(exact)).sqrt()
    scores = (found.mean(0) - exact.mean(0)) / error
    numbers = zip(total, scores.tolist(), strict=True)
    return {name: score for name, score in numbers if np.isfinite(score)}


@pytest.mark.parametrize("slope", [True, False])
def test_joint_distribution(slope, budget, generator):
    for name, z in joint_z(generator, slope, chains=90).items():
        p = 2 * statcheck.st.norm.sf(abs(z))
        budget.check(f"laplace regression joint {name} {slope}", p)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("slope", [True, False])
def test_joint_distribution_at_length(slope, budget, generator):
    for name, z in joint_z(generator, slope, chains=1000).items():
        p = 2 * statcheck.st.norm.sf(abs(z))
        budget.check(f"laplace regression joint, long {name} {slope}", p)


def test_a_wrong_regression_is_seen(monkeypatch, generator):
    """The test above sees weights that are counted twice."""
    draw = laplace_gibbs.draw_regression

    def twice(current, exposures, z, num, *rest):
        return draw(current, exposures, z, 2 * num, *rest)

    monkeypatch.setattr(laplace_gibbs, "draw_regression", twice)
    assert max(abs(z) for z in joint_z(generator, True, 60).values()) > 8


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::probact.inference.SamplingWarning")
def test_recovery(generator):
    """The slopes of 100 classes of 512 weights; ten updates a step keep their ESS up."""
    classes = 100
    log_n = torch.linspace(np.log(5.0), np.log(500.0), classes, dtype=torch.float64)
    log_n = log_n[torch.randperm(classes, generator=generator)]
    z = log_n - log_n.mean()
    noise = torch._standard_gamma(40.0 * torch.ones(2, classes).double(), generator=generator)
    right, left = noise[0] / 40 * (3.2 - 0.14 * z).exp(), noise[1] / 40 * (3.3 - 0.1 * z).exp()
    truth = LaplaceParameters(*columns(-0.005, num=classes), right, left)
    weights = draw_weights(truth, 512, generator)
    model = LaplaceWeights(weights, hierarchical=True, counts=log_n.exp())
    post = pa.sample(model, draws=800, tune=200, chains=4, seed=1, progress=False)
    effects = model.frequency_effects(post)
    for name, slope in (("log_rate_right", -0.14), ("log_rate_left", -0.10)):
        row = effects.loc[name]
        assert 0.008 < row["sd"] < 0.018
        assert abs(row["mean"] - slope) < 3.5 * row["sd"]
    names = [
        f"{x}_{s}" for x in ("slope", "intercept", "concentration") for s in ("right", "left")
    ]
    summary = az.summary(post, var_names=names, round_to="none")
    assert summary["ess_bulk"].astype(float).min() > 800
    assert summary["r_hat"].astype(float).max() < 1.02
