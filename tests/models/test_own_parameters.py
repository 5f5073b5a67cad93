"""Parameters that are the module's own, and yet Pyro's to train and to put priors on."""

import copy
import pickle

import pyro
import pyro.distributions as dist
import pytest
import torch
from factorial_oracle import random_layer
from pyro import poutine
from pyro.infer import SVI, TraceEnum_ELBO
from pyro.nn import PyroSample

from probact.models.factorial_mixture import FactorialMixture
from probact.models.spline_mixture import SplineMixture


def factorial(seed=0):
    return FactorialMixture(*random_layer(2, 3, 4, seed)[:2], 0.7, learnable=True)


def spline(seed=0):
    return SplineMixture(*random_layer(2, 3, 4, seed)[:2], 0.7)


MODELS = pytest.mark.parametrize("make", [factorial, spline])


def fixed_codes(model):
    """The program at region 0 of every unit: the mean of x is a function of the slopes."""
    t = torch.zeros(5, 2, dtype=torch.int64)
    return poutine.condition(model, {"t": t, "t_0": t[:, 0], "t_1": t[:, 0]})


def mean_of(slopes, make):
    return slopes[:, 0] if make is spline else slopes[:, 0].sum(0)


@MODELS
def test_two_programs_do_not_share_parameters(make):
    x = torch.randn(5, 4, dtype=torch.float64)
    for seed in (0, 1, 0):
        model = make(seed)
        own = random_layer(2, 3, 4, seed)[0]
        site = poutine.trace(fixed_codes(model)).get_trace(x).nodes["x"]
        assert torch.equal(site["fn"].base_dist.loc[0], mean_of(own, make))
        assert torch.equal(model.slopes, own)
    assert not list(pyro.get_param_store().keys())


@MODELS
def test_pyros_svi_takes_a_gradient_step(make):
    model, x = make(), torch.randn(20, 4, dtype=torch.float64)
    start = copy.deepcopy(model)
    bound = start.elbo(x).sum() if make is factorial else start.log_prob(x).sum()
    names, before = zip(*start.named_parameters(), strict=True)
    steps = torch.autograd.grad(bound, before)
    elbo = TraceEnum_ELBO(max_plate_nesting=2)
    svi = SVI(model, model.guide, pyro.optim.SGD({"lr": 1e-3}), elbo)
    assert -svi.step(x) == pytest.approx(bound.item(), rel=1e-12)
    after = dict(model.named_parameters())
    for name, old, step in zip(names, before, steps, strict=True):
        torch.testing.assert_close(after[name], old + 1e-3 * step, rtol=1e-9, atol=1e-12)
    assert not list(pyro.get_param_store().keys())


@MODELS
@pytest.mark.parametrize("way", ["lift", "PyroSample"])
def test_a_prior_on_the_slopes(make, way):
    model, x = make(), torch.randn(5, 4, dtype=torch.float64)
    prior = dist.Normal(torch.zeros(2, 3, 4, dtype=torch.float64), 1.0).to_event(3)
    program = fixed_codes(model)
    if way == "lift":
        program = poutine.lift(program, prior={"slopes": prior})
    else:
        model.slopes = PyroSample(prior)
    trace = poutine.trace(program).get_trace(x)
    assert trace.nodes["slopes"]["type"] == "sample"
    slopes = trace.nodes["slopes"]["value"]
    assert torch.equal(trace.nodes["x"]["fn"].base_dist.loc[0], mean_of(slopes, make))


@MODELS
def test_a_program_that_ran_can_be_copied(make):
    model, x = make(), torch.randn(5, 4, dtype=torch.float64)
    poutine.trace(model).get_trace(x)
    assert torch.equal(copy.deepcopy(model).slopes, model.slopes)
    values = pickle.loads(pickle.dumps(dict(model.named_parameters())))
    assert torch.equal(values["slopes"], model.slopes)


@MODELS
def test_in_single_precision(make):
    """Where a user asks for it; data of either type."""
    model, x = make(), torch.randn(5, 4, dtype=torch.float64)
    read = (lambda m: m.elbo(x)) if make is factorial else (lambda m: m.log_prob(x))
    expected, draws = read(model), model.sample(3, seed=0).x
    narrow = model.float()
    assert (read(narrow).dtype, narrow.sample(3, seed=0).x.dtype) == (torch.float32,) * 2
    torch.testing.assert_close(read(narrow).double(), expected.double(), rtol=1e-5, atol=1e-5)
    assert draws.dtype == torch.float64
    assert narrow(x).shape == make()(x).shape
