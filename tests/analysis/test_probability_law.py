"""The law of activation probabilities: quadrature, simulation, and the predicted tables."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import nn

from probact import datasets
from probact.analysis.patterns import (
    InputMoments,
    ProbabilityLaw,
    distance_to_uniform,
    input_moments,
    mean_field_correlations,
    normalised_mlp,
    score_moments,
)


def variances(correlations):
    return [round(math.asin(c) / (2 * math.pi), 3) for c in correlations]


def standard_digits():
    x = datasets.digits(train=True).floats().flatten(1)
    return (x - x.mean()) / x.std()


@pytest.mark.parametrize("c", [0.05, 0.3, 0.5, 0.8])
def test_density_cdf_and_variance_by_quadrature(c):
    law = ProbabilityLaw(c)

    def integral(function, t=0.5):
        """From 0 to t <= 1/2, over p = Phi(z), which spreads the end out."""

        def inner(z):
            p = float(stats.norm.cdf(z))
            return function(p) * float(law.density(p)) * stats.norm.pdf(z)

        return integrate.quad(inner, -20.0, stats.norm.ppf(t), limit=200)[0]

    assert integral(lambda p: 1.0) == pytest.approx(0.5, abs=1e-8)  # the law is symmetric
    assert integral(lambda p: 2 * (p - 0.5) ** 2) == pytest.approx(law.variance, abs=1e-8)
    for t in (0.01, 0.2, 0.45):
        assert float(law.cdf(t)) == pytest.approx(integral(lambda p: 1.0, t), abs=1e-8)
        assert float(law.cdf(1 - t)) == pytest.approx(1 - float(law.cdf(t)), abs=1e-12)
    assert law.saturated(0.05) == pytest.approx(2 * float(law.cdf(0.05)))


def test_uniform_at_one_half_and_the_ends():
    p = np.linspace(0.01, 0.99, 9)
    np.testing.assert_allclose(ProbabilityLaw(0.5).density(p), 1.0, atol=1e-12)
    np.testing.assert_allclose(ProbabilityLaw(0.5).cdf(p), p, atol=1e-12)
    assert ProbabilityLaw(0.5).variance == pytest.approx(1 / 12)
    assert ProbabilityLaw(0.0).variance == 0.0
    assert ProbabilityLaw(0.0).distance([0.5, 0.5]) == 0.0
    assert ProbabilityLaw(1.0).variance == 0.25
    assert ProbabilityLaw(1.0).distance([0.0, 1.0]) == 0.0
    assert ProbabilityLaw(1.0).distance([0.5]) == 0.5


@pytest.mark.parametrize("c", [0.2, 0.5, 0.9])
def test_distance_against_scipy(c):
    law = ProbabilityLaw(c)
    p = np.random.default_rng(0).beta(0.7, 0.9, 200)
    for q in (p, 1 - p):  # each side of the distance is the larger one once
        expected = stats.kstest(q, lambda t: law.cdf(t).numpy()).statistic
        assert law.distance(q) == pytest.approx(expected, abs=1e-12)
    assert distance_to_uniform(p) == pytest.approx(stats.kstest(p, "uniform").statistic)


def test_law_against_simulated_units(budget):
    c, rng = 0.37, np.random.default_rng(1)
    p = stats.norm.cdf(math.sqrt(c / (1 - c)) * rng.standard_normal(4000))
    law = ProbabilityLaw(c)
    budget.check("law of p", stats.kstest(p, lambda t: law.cdf(t).numpy()).pvalue)
    error = np.std((p - 0.5) ** 2) / math.sqrt(len(p))
    z = (np.mean((p - 0.5) ** 2) - law.variance) / error
    budget.check("variance of p", 2 * stats.norm.sf(abs(z)))


def test_predicted_variances_of_digits():
    found = mean_field_correlations(input_moments(standard_digits()), [64] + [256] * 9)
    expected = [0.081, 0.105, 0.129, 0.166, 0.208, 0.232, 0.243, 0.247, 0.249, 0.250]
    assert variances(found) == expected


def test_predicted_variances_of_white_inputs():
    found = mean_field_correlations(InputMoments(1.0, 0.0), [784] + [256] * 5)
    np.testing.assert_allclose(variances(found), [0, 0.054, 0.095, 0.147, 0.2, 0.229], atol=1e-3)
    he = mean_field_correlations(InputMoments(1.0, 0.0), [64] * 3, weight_scale=2, bias_variance=0)
    assert he[1] == pytest.approx(1 / math.pi)  # half-normal values
    assert ProbabilityLaw(he[1]).ratio == pytest.approx(1 / (math.pi - 1))
    layer_two = mean_field_correlations(
        InputMoments(1.0, 0.329), [64] * 2, weight_scale=2, bias_variance=0
    )
    assert layer_two[1] == pytest.approx(0.5, abs=5e-4)  # uniform at the input cosine 0.329


def test_recursion_against_wide_networks():
    x = standard_digits()[:500]
    squares, number = np.zeros(6), 8
    widths = [64] + [256] * 6
    predicted = mean_field_correlations(input_moments(x), widths[:-1])
    for seed in range(number):
        moments = score_moments(normalised_mlp("none", widths, seed=seed), x)
        squares += [float((m.probability - 0.5).square().mean()) for m in moments]
        mean = np.array([m.correlation for m in moments])
        assert np.abs(mean - predicted).max() < 0.15
    expected = [ProbabilityLaw(c).variance for c in predicted]
    # over seeds the mean of |p - 1/2|^2 spreads by about 0.005
    np.testing.assert_allclose(squares / number, expected, atol=0.015)


def test_moments_by_brute_force():
    torch.manual_seed(0)
    net = (
        nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4), nn.LeakyReLU()).double().eval()
    )
    x = torch.randn(7, 3, dtype=torch.float64)
    found = score_moments(net, x, batch_size=3)
    first = net[0](x).detach()
    second = net[2](first.relu()).detach()
    for m, h in zip(found, (first, second), strict=True):
        torch.testing.assert_close(m.first, h.sum(0))
        torch.testing.assert_close(m.active_second, h.relu().square().sum(0))
        torch.testing.assert_close(m.probability, (h > 0).double().mean(0))
        pairs = [(h[i] * h[j]).mean() for i, j in product(range(7), repeat=2) if i != j]
        c = float(torch.stack(pairs).mean() / h.square().mean())
        assert m.correlation == pytest.approx(c)
    q, r = input_moments(x)
    products = x @ x.mT / 3
    assert q == pytest.approx(float(products.diagonal().mean()))
    assert r == pytest.approx(float((products.sum() - products.diagonal().sum()) / 42))


def test_uniform_second_layer_of_binary_inputs(budget):
    """x fair bits: p = Phi(mean / sd) of a unit tends to a uniform law."""
    random = np.random.default_rng(0)
    n = 2000
    w = random.uniform(-1, 1, (800, n)) / math.sqrt(n)
    b = random.uniform(-1, 1, 800) / math.sqrt(n)
    p = stats.norm.cdf((0.5 * w.sum(1) + b) / (0.5 * np.sqrt((w**2).sum(1))))
    budget.check("uniform", stats.kstest(p, "uniform").pvalue)


def volumes(n, draws):
    """Shares of (w, b) uniform on a cube with k of the 2^n binary inputs active."""
    x = np.array(list(product([0.0, 1.0], repeat=n)))
    random = np.random.default_rng(0)
    w, b = random.uniform(-1, 1, (draws, n)), random.uniform(-1, 1, (draws, 1))
    counts = (w @ x.T + b > 0).sum(1)
    return np.bincount(counts, minlength=2**n + 1) / draws


def test_the_finite_law_of_the_paper_does_not_hold():
    """(30)-(31) say 1 / 2^n for each k and half of it at the ends; n = 1 by exact areas.

    With one input the counts of b > 0 and w + b > 0 are 0 where both fail: 3/8 of the square.
    """
    exact = {1: [3 / 8, 1 / 4, 3 / 8]}
    for n, rounded in ((1, [0.375, 0.25, 0.375]), (2, [0.270, 0.146, 0.167, 0.146, 0.270])):
        found = volumes(n, 200_000)
        claimed = np.full(2**n + 1, 1 / 2**n)
        claimed[[0, -1]] /= 2
        np.testing.assert_allclose(found, rounded, atol=5e-3)
        assert np.abs(found - claimed).max() > 0.1
    np.testing.assert_allclose(volumes(1, 200_000), exact[1], atol=5e-3)


def test_refusals():
    with pytest.raises(ValueError, match="correlation must lie in"):
        ProbabilityLaw(1.5)
    with pytest.raises(ValueError, match="has no density"):
        ProbabilityLaw(1.0).density(0.3)
    with pytest.raises(ValueError, match="p must lie in"):
        ProbabilityLaw(0.3).cdf([0.2, 1.2])
    with pytest.raises(ValueError, match="p must have at least one"):
        ProbabilityLaw(0.3).distance([])
    with pytest.raises(ValueError, match="x must have at least 2 rows"):
        input_moments([[1.0, 2.0]])
    with pytest.raises(ValueError, match="fans"):
        mean_field_correlations(InputMoments(1.0, 0.0), [0])
    with pytest.raises(ValueError, match="product"):
        mean_field_correlations(InputMoments(1.0, 2.0), [3])
    with pytest.raises(ValueError, match="at least 2 rows"):
        score_moments(nn.Sequential(nn.Linear(2, 2), nn.ReLU()).eval(), torch.zeros(1, 2))
