"""Annealed importance sampling: evidence within its error of the enumerated one."""

import pytest
import torch
from factorial_oracle import brute_log_joint, orthogonal_slopes, random_layer, random_model
from scipy.stats import norm

from probact.distributions.harmonium import Harmonium
from probact.inference.annealed_importance import annealed_evidence, annealed_log_normalizer
from probact.models.factorial_mixture import FactorialMixture


def check(name, estimate, exact, budget):
    error = estimate.standard_error
    assert (error < 0.2).all()  # where it is large the weights are not normal
    z = (estimate.log_evidence - exact) / error
    for i, value in enumerate(z.flatten().tolist()):
        budget.check(f"{name} {i}", 2 * norm.sf(abs(value)))


@pytest.mark.parametrize("colours", ["auto", "sequential"])
def test_evidence_of_a_factorial_mixture(colours, budget):
    model, x = random_model(6, 2, 8, noise=0.5, scale=0.8)
    x = x[:4]
    exact = brute_log_joint(x, model.slopes, model.weights, 0.5).logsumexp(-1)
    options = {"num_chains": 300, "num_temperatures": 30, "colours": colours, "seed": 1}
    found = annealed_evidence(model, x, **options)
    check(f"annealed evidence {colours}", found, exact, budget)
    assert (found.effective_chains <= 300).all()
    again = annealed_evidence(model, x, **options)
    assert torch.equal(found.log_evidence, again.log_evidence)


def test_evidence_with_an_offset(budget):
    model, x = random_model(3, 3, 4)
    moved = FactorialMixture(model.slopes, model.weights, 0.6, offset=torch.full((4,), 7.0))
    exact = model.log_evidence(x[:2])
    found = annealed_evidence(moved, x[:2] + 7.0, num_chains=300, num_temperatures=40, seed=2)
    check("annealed evidence offset", found, exact, budget)


def test_one_temperature_is_importance_sampling_from_the_prior(budget):
    """T = 1: w = p(x | t), t from its prior."""
    model, x = random_model(3, 2, 2, noise=2.0)
    found = annealed_evidence(model, x[:2], num_chains=4000, num_temperatures=1, seed=3)
    check("annealed one temperature", found, model.log_evidence(x[:2]), budget)


def test_normaliser_of_a_harmonium(budget):
    for seed, (k, r, d) in enumerate([(4, 2, 3), (3, 3, 5)]):
        slopes, _, offsets = random_layer(k, r, d, seed=seed, scale=0.7)
        law = Harmonium(slopes, offsets, 0.6)
        found = annealed_log_normalizer(law, num_chains=600, num_temperatures=40, seed=seed)
        check(f"annealed normaliser {k}", found, law.log_normalizer, budget)


def test_normaliser_beyond_enumeration(budget):
    """Orthogonal units: Z is a product over units, however many."""
    slopes = orthogonal_slopes(20, 2, 20, each=1)
    weights = torch.tensor([[0.3, 0.7]] * 20, dtype=torch.float64)
    model = FactorialMixture(slopes, weights, 0.8)
    law = model.harmonium()
    assert not law.normalized
    own = (law.offsets + 0.5 * slopes.square().sum(-1)) / 0.8
    exact = own.logsumexp(-1).sum() + 10.0 * torch.log(torch.tensor(2 * torch.pi * 0.8))
    found = annealed_log_normalizer(law, num_chains=500, num_temperatures=40, seed=0)
    check("annealed normaliser of many", found, exact, budget)
    x = model.sample(2, seed=0).x
    units = [FactorialMixture(slopes[k : k + 1], weights[k : k + 1], 0.8) for k in range(20)]
    base = torch.distributions.Normal(0.0, torch.tensor(0.8).double().sqrt()).log_prob(x).sum(-1)
    evidence = base + sum(unit.log_evidence(x) - base for unit in units)
    estimate = annealed_evidence(model, x, num_chains=200, num_temperatures=25, seed=1)
    check("annealed evidence of many", estimate, evidence, budget)


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("num_chains", {"num_chains": 1}),
        ("num_temperatures", {"num_temperatures": 0}),
        ("seed", {"seed": -1}),
        ("colours", {"colours": "red"}),
        ("x must have 8 columns", {"x": torch.zeros(2, 3)}),
        ("must be a FactorialMixture", {"model": torch.nn.ReLU()}),
    ],
)
def test_bad_input(words, options):
    model, x = random_model()
    given = {"model": model, "x": x, **options}
    with pytest.raises(ValueError, match=words):
        annealed_evidence(given.pop("model"), given.pop("x"), **given)


def test_bad_law():
    with pytest.raises(TypeError, match="law must be a Harmonium"):
        annealed_log_normalizer(random_model()[0])
    law = Harmonium(torch.zeros(1, 2, 1), torch.zeros(1, 2), 1.0)
    with pytest.raises(ValueError, match="num_chains"):
        annealed_log_normalizer(law, num_chains=0)
