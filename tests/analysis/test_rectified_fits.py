"""Fits of the laws of a ReLU's output against a numerical optimiser."""

import math

import numpy as np
import pytest
import torch
from scipy import optimize, stats

from probact.analysis.rectified_fits import (
    active_sums,
    fit_hurdle_folded,
    fit_hurdle_truncated,
    fit_rectified,
    rectified_test,
)
from probact.distributions import HurdleFoldedNormal, HurdleTruncatedNormal, RectifiedNormal


def optimum(law, values, start):
    def loss(theta):
        loc, log_scale = torch.tensor(theta, dtype=torch.float64)
        return -float(law(loc, log_scale.exp()).log_prob(values).sum())

    best = optimize.minimize(
        loss, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-11, "maxiter": 4000}
    )
    return best.x[0], math.exp(best.x[1]), -best.fun


@pytest.mark.parametrize(("loc", "scale"), [(0.0, 1.0), (1.5, 0.7), (-1.2, 2.0), (3.0, 0.5)])
def test_rectified_against_an_optimiser(loc, scale, generator):
    h = loc + scale * torch.randn(300, 2, generator=generator, dtype=torch.float64)
    a = h.relu()
    fit = fit_rectified(active_sums(a))
    assert fit.exists.all()
    for i in range(2):
        found = optimum(RectifiedNormal, a[:, i], [loc, math.log(scale)])
        own = (fit.loc[i], fit.scale[i], fit.log_likelihood[i])
        np.testing.assert_allclose(own, found, rtol=2e-6, atol=2e-6)
    law = RectifiedNormal(fit.loc, fit.scale)
    torch.testing.assert_close(law.log_prob(a).sum(0), fit.log_likelihood)
    torch.testing.assert_close(law.prob, fit.prob)


@pytest.mark.parametrize(("loc", "scale"), [(0.0, 1.0), (1.5, 0.7), (4.0, 0.5)])
def test_hurdle_truncated_against_an_optimiser(loc, scale, generator):
    y = HurdleTruncatedNormal(1.0, loc, scale).sample((400,), generator=generator).double()
    a = torch.cat([y, torch.zeros(100, dtype=torch.float64)])
    fit = fit_hurdle_truncated(active_sums(a))
    found = optimum(
        lambda m, s: HurdleTruncatedNormal(torch.tensor(0.8, dtype=torch.float64), m, s),
        a, [loc, math.log(scale)],
    )  # fmt: skip
    assert fit.prob.item() == pytest.approx(0.8)
    own = (fit.loc[0], fit.scale[0], fit.log_likelihood[0])
    np.testing.assert_allclose(own, found, rtol=1e-5, atol=1e-5)


def test_truncated_limit_is_the_exponential_law():
    a = torch.tensor([0.0, 0.1, 0.1, 0.2, 5.0], dtype=torch.float64)  # variance above squared mean
    fit = fit_hurdle_truncated(active_sums(a))
    assert fit.exponential.item()
    assert fit.loc.item() == -math.inf
    y = a[1:].numpy()
    expected = stats.expon(scale=y.mean()).logpdf(y).sum() + 4 * math.log(0.8) + math.log(0.2)
    assert fit.log_likelihood.item() == pytest.approx(expected)
    far = -1e4  # laws near the limit come close from below
    scale = math.sqrt(-far * y.mean())
    law = HurdleTruncatedNormal(*torch.tensor([0.8, far, scale], dtype=torch.float64))
    near = law.log_prob(a).sum().item()
    assert expected - 1e-2 < near <= expected
    assert rectified_test(active_sums(a)).p_value.isnan().item()


@pytest.mark.parametrize("loc", [0.0, 0.6, 2.5])
def test_hurdle_folded_against_an_optimiser(loc, generator):
    a = (loc + torch.randn(800, generator=generator, dtype=torch.float64)).abs()
    a[:200] = 0.0
    fit = fit_hurdle_folded(a)
    found = optimum(
        lambda m, s: HurdleFoldedNormal(torch.tensor(0.75, dtype=torch.float64), m, s),
        a, [max(loc, 0.8), 0.0],
    )  # fmt: skip
    assert fit.log_likelihood.item() == pytest.approx(found[2], abs=1e-8)
    assert fit.loc.item() == pytest.approx(abs(found[0]), abs=1e-3 if fit.half_normal else 1e-5)


def test_half_normal_scales_of_the_paper():
    """Mean 0.4685 and standard deviation 0.3489: 0.5872 by the mean, 0.5842 by likelihood."""
    mean, spread = 0.4685, 0.3489
    assert round(mean * math.sqrt(math.pi / 2), 4) == 0.5872
    y = torch.tensor([[0.0], [mean - spread], [mean + spread]], dtype=torch.float64)
    assert abs(math.sqrt(active_sums(y).second.item() / 2) - 0.5842) < 1e-4
    a = torch.tensor([0.0, 0.1, 0.1, 0.1, 0.2, 3.0], dtype=torch.float64)
    fit = fit_hurdle_folded(a)
    assert fit.half_normal.item()
    assert fit.scale.item() == pytest.approx(math.sqrt(float(a.square().sum()) / 5))
    literal = math.sqrt(spread + mean**2)  # as printed, a square is missing
    assert round(literal, 3) == 0.754


def test_likelihood_ratio_keeps_its_level_and_sees_another_mass(generator, budget):
    h = 0.4 + 1.3 * torch.randn(400, 600, generator=generator, dtype=torch.float64)
    test = rectified_test(active_sums(h.relu()))
    p = test.p_value[~test.exponential].numpy()
    rejected = int((p < 0.05).sum())
    budget.check("level", stats.binomtest(rejected, len(p), 0.055).pvalue)
    kept = (torch.rand(400, 600, generator=generator) < 0.7).double()
    other = rectified_test(active_sums((2.5 + h).relu() * kept))
    assert (other.p_value < 1e-6).double().mean() > 0.95


def test_boundary_cases_are_marked():
    columns = [[0, 0, 0, 0], [1, 2, 3, 4], [2, 2, 2, 2], [0, 0, 3, 3], [0, 1, 2, 3]]
    sums = active_sums(torch.tensor(columns, dtype=torch.float64).T)
    assert fit_rectified(sums).exists.tolist() == [False, True, False, True, True]
    assert fit_hurdle_truncated(sums).exists.tolist() == [False, True, False, False, True]
    folded = fit_hurdle_folded(torch.tensor(columns, dtype=torch.float64).T)
    assert folded.exists.tolist() == [False, True, False, False, True]
    assert rectified_test(sums).p_value.isnan().tolist() == [True, True, True, True, False]
    fit = fit_rectified(sums)
    assert fit.loc[1].item() == pytest.approx(2.5)  # without zeros the normal law
    assert fit.scale[1].item() == pytest.approx(math.sqrt(1.25))
    assert fit.loc[0].isnan()


def test_extreme_shares_of_zeros():
    for zeros in (1, 10**6):
        y = torch.tensor([1.0, 1.5, 2.5], dtype=torch.float64)
        a = torch.cat([y, torch.zeros(zeros, dtype=torch.float64)])
        fit = fit_rectified(active_sums(a))
        theta = torch.stack([fit.loc, fit.scale]).requires_grad_()
        law = RectifiedNormal(theta[0], theta[1])
        above = law.log_prob(y).sum() + zeros * law.log_prob(torch.zeros((), dtype=torch.float64))
        (gradient,) = torch.autograd.grad(above.sum(), theta)
        assert gradient.abs().max() < 1e-5


def test_refusals():
    with pytest.raises(ValueError, match="a must not be negative"):
        active_sums([-1.0, 2.0])
    with pytest.raises(ValueError, match="a has 1 row with NaN"):
        active_sums([math.nan, 2.0])
    for function in (fit_rectified, fit_hurdle_truncated, rectified_test):
        with pytest.raises(TypeError, match="sums must be ActiveSums"):
            function(torch.zeros(3))
