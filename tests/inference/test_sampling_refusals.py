"""What `sample` refuses, in which words."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import NUTS
from pyro_programs import NormalMean

import probact.inference as pi

REFUSED = [
    ({"draws": 0}, "draws must be an integer of at least 1, got 0"),
    ({"draws": 10.0}, "draws"),
    ({"chains": -1}, "chains"),
    ({"tune": -1}, "tune must be an integer of at least 0"),
    ({"thin": True}, "thin"),
    ({"seed": "a"}, "seed must be an integer, got 'a'"),
    ({"seed": -1}, "seed"),
    ({"seed": 2**63}, "seed"),
    ({"model": 3}, "model must be callable, got int"),
    ({"data": [1.0]}, "data must be None, a tensor, an array or a tuple of tensors, got list"),
    ({"kernel": 7}, "kernel must be a Pyro kernel or build one, got int"),
    ({"kernel": lambda model: 7}, "kernel must build a Pyro kernel, it built int"),
    ({"kernel": lambda model: NUTS(NormalMean())}, "kernel must be built on the same model"),
    ({"model": lambda x: None}, "no latent sites to sample: it has no sites"),
    ({"model": lambda x: pyro.sample("n", dist.Poisson(3.0))}, "discrete site 'n' .Poisson."),
]


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[str(c) for c, _ in REFUSED])
def test_bad_arguments_are_named(x, change, message):
    arguments = {"model": NormalMean(), "data": x, **change}
    with pytest.raises(ValueError, match=message):
        pi.sample(arguments.pop("model"), arguments.pop("data"), **arguments)


def test_rows_with_nan_are_counted(x):
    x = x.clone()
    x[[4, 17]] = float("nan")
    with pytest.raises(ValueError, match=r"data has 2 rows with NaN .first: row 4."):
        pi.sample(NormalMean(), x)
    with pytest.raises(ValueError, match=r"data\[1\] has 2 rows with NaN"):
        pi.sample(NormalMean(), (torch.ones(3), x))


def test_data_outside_the_support_is_refused():
    def model(x):
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.LogNormal(loc, 1.0), obs=x)

    with pytest.raises(ValueError, match="no finite log joint density at any of 100 random"):
        pi.sample(model, torch.tensor(-1.0), progress=False)


@pytest.mark.filterwarnings("ignore:t is discrete")
def test_a_model_with_nothing_to_move_is_refused():
    def model(x):
        with pyro.plate("data", len(x)):
            t = pyro.sample("t", dist.Bernoulli(0.5), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.Normal(t, 1.0), obs=x)

    with pytest.raises(ValueError, match="needs a continuous latent site, and model has none"):
        pi.sample(model, torch.zeros(5), draws=2, tune=2, chains=1, progress=False)
