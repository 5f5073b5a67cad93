"""Fitting a factorial mixture: EM against its optimality, the bound with the layer as guide."""

import pyro.distributions as dist
import pytest
import torch
from factorial_oracle import brute_codes, brute_log_joint, random_model

import probact as pa
from probact.models.factorial_mixture import FactorialMixture


def brute(model, x):
    return brute_log_joint(x, model.slopes, model.weights, float(model.noise), model.offset)


def three_bars():
    """Rows with three strokes on or off, and the model that made them."""
    slopes = torch.zeros(3, 2, 6, dtype=torch.float64)
    slopes[0, 1, :2], slopes[1, 1, 2:4], slopes[2, 1, 3:6] = 2.0, 2.0, -3.0
    weights = torch.tensor([[0.7, 0.3], [0.5, 0.5], [0.4, 0.6]], dtype=torch.float64)
    truth = FactorialMixture(slopes, weights, 0.2)
    return truth, truth.sample(400, seed=0).x


@pytest.mark.parametrize("posterior", ["exact", "mean_field"])
def test_em_climbs_and_finds_the_bars(posterior):
    truth, x = three_bars()
    options = {"posterior": posterior, "iterations": 60, "tolerance": 1e-7}
    found = max(
        (FactorialMixture.em(x, 3, seed=seed, **options) for seed in range(4)),
        key=lambda found: float(found.bounds[-1]),
    )
    assert found.bounds.diff().min() > -1e-9
    assert found.model.log_evidence(x).mean() > truth.log_evidence(x).mean() - 0.02
    strokes = found.model.gauged().slopes[:, 1]  # of either sign, in any order
    for bar in truth.slopes[:, 1]:
        gap = torch.minimum((strokes - bar).abs().amax(-1), (strokes + bar).abs().amax(-1))
        assert gap.min() < 0.25
    if posterior == "exact":
        again = FactorialMixture.em(x, 3, start=truth, iterations=2)
        assert float(again.bounds[0]) == pytest.approx(float(truth.log_evidence(x).mean()))


def test_m_step_is_the_optimum_of_the_expected_log_joint():
    """Gradients of E log p(x, t) under the old posterior vanish at the new parameters."""
    old, x = random_model(3, 2, 4)
    new = FactorialMixture.em(x, 3, start=old, iterations=1).model
    weights = brute(old, x).softmax(-1)
    at = new.parameters_now
    inputs = [v.clone().requires_grad_() for v in at]
    codes = torch.from_numpy(brute_codes(3, 2))
    means = inputs[0][torch.arange(3), codes].sum(1)
    prior = inputs[1].log_softmax(-1)[torch.arange(3), codes].sum(1)
    law = dist.Normal(means, inputs[2].sqrt()).to_event(1)
    expected = (weights * (law.log_prob(x.unsqueeze(1)) + prior)).sum()
    for gradient in torch.autograd.grad(expected, inputs):
        assert gradient.abs().max() < 1e-8


def test_fit_with_the_layer_as_guide():
    """SVI raises the bound, which stays below the evidence."""
    _, x = three_bars()
    start = FactorialMixture.em(x, 3, iterations=3, seed=1).model
    model = FactorialMixture(start.slopes, start.weights, start.noise, learnable=True)
    before = float(start.elbo(x).mean())
    fit = pa.fit(model, x, epochs=60, seed=0, device="cpu", progress=False)
    after = model.elbo(x).mean().item()
    assert after > before + 0.1
    assert after <= model.log_evidence(x).mean().item()
    assert float(fit.losses[0]) == pytest.approx(-before, abs=1e-9)
    names = {name for name, value in model.named_parameters() if value.requires_grad}
    assert len(names) == 4


def test_objective_gradient():
    model, x = random_model(3, 2, 4)
    model = FactorialMixture(model.slopes, model.weights, model.noise, learnable=True)
    parameters = list(model.parameters())
    model.objective(x).backward()
    for p in parameters:
        at = (0,) * p.ndim
        with torch.no_grad():
            values = []
            for step in (1e-5, -2e-5):
                p[at] += step
                values.append(float(model.objective(x)))
            p[at] += 1e-5
        assert float(p.grad[at]) == pytest.approx((values[0] - values[1]) / 2e-5, abs=1e-7)
