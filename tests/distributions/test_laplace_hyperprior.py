"""Priors of asymmetric Laplace laws: what is weak, what is refused."""

import pytest
import torch

from probact.distributions.laplace_hyperprior import (
    LaplaceHyperprior,
    LaplaceParameters,
    check_hyperprior,
    weak_hyperprior,
)
from probact.distributions.rate_regression import (
    RateRegressionPrior,
    check_regression_prior,
    gamma_rates,
)

CPU = torch.device("cpu")


def test_the_weak_prior_moves_and_scales_with_the_weights(generator):
    weights = torch.randn(4, 50, dtype=torch.float64, generator=generator)
    prior, scaled = weak_hyperprior(weights), weak_hyperprior(3.0 + 0.5 * weights)
    assert torch.allclose(scaled.right_rate, 0.5 * prior.right_rate)
    assert torch.allclose(scaled.low, 3.0 + 0.5 * prior.low)
    assert torch.allclose(scaled.high, 3.0 + 0.5 * prior.high)
    assert torch.equal(prior.right_concentration, torch.ones(4, dtype=torch.float64))
    assert bool((prior.low < weights.amin(1)).all())
    assert bool((prior.high > weights.amax(1)).all())


def test_scale_and_asymmetry():
    p = LaplaceParameters(*(torch.tensor([x], dtype=torch.float64) for x in (0.0, 8.0, 2.0)))
    assert float(p.scale) == pytest.approx(0.25)
    assert float(p.asymmetry) == pytest.approx(2.0)


def test_refusals():
    with pytest.raises(ValueError, match=r"2 constant rows \(first: row 1\)"):
        weak_hyperprior(torch.tensor([[1.0, 2.0], [3.0, 3.0], [0.0, 0.0]]))
    with pytest.raises(ValueError, match="row 1"):
        weak_hyperprior(torch.tensor([[1.0, 2.0], [3.0, float("nan")]]))
    good = (1.0, 2.0, 1.0, 2.0, -1.0, 1.0)
    assert check_hyperprior(good, 2, CPU).low.tolist() == [-1.0, -1.0]
    for words, place, value in (
        ("right_concentration must be finite and > 0, got 0.0", 0, 0.0),
        ("left_rate must be finite and > 0", 3, float("nan")),
        ("low must be below high, got 1.0 and 1.0 in row 0", 4, 1.0),
        ("high must be finite", 5, float("inf")),
        (r"low must be \(2,\), got shape \(3,\)", 4, torch.zeros(3)),
    ):
        bad = list(good)
        bad[place] = value
        with pytest.raises(ValueError, match=words):
            check_hyperprior(LaplaceHyperprior(*bad), 2, CPU)
    for wrong in (None, (1.0, 2.0), 3.0):
        with pytest.raises(TypeError, match="must be a LaplaceHyperprior"):
            check_hyperprior(wrong, 2, CPU)


def test_regression_prior():
    assert check_regression_prior(None) == RateRegressionPrior(10.0, 10.0, 3.0, 1.5)
    shifted = RateRegressionPrior(log_concentration_loc=-2.0)
    assert check_regression_prior(shifted).log_concentration_loc == -2.0
    with pytest.raises(ValueError, match="slope_scale must be finite and above 0"):
        check_regression_prior(RateRegressionPrior(slope_scale=0.0))
    with pytest.raises(TypeError, match="must be a RateRegressionPrior"):
        check_regression_prior((1.0, 1.0, 1.0, 1.0))
    a, b0, b1 = (torch.tensor(x) for x in (4.0, 1.0, 2.0))
    mean = a / gamma_rates(a, b0, b1, torch.tensor([0.0, 0.5]))
    assert torch.allclose(mean, torch.tensor([1.0, 2.0]).exp())
