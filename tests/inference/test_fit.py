"""`fit` against conjugate posteriors, its isolation and what it refuses."""

from functools import partial
from itertools import chain

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceMeanField_ELBO
from pyro.nn import PyroModule, PyroParam
from pyro_programs import Autoencoder, ClassRates, Mixture, NormalMean
from torch.utils.data import DataLoader, TensorDataset

import probact.inference as pi

quick_fit = partial(pi.fit, epochs=3, device="cpu", progress=False)
# a rate that falls to nothing, so that the last step's noise does not count
falling = partial(torch.optim.Adagrad, lr=0.3)
exact = {"loss": TraceMeanField_ELBO(num_particles=8, vectorize_particles=True)}


@pytest.fixture
def many():
    """400 points (400,) around 2."""
    noise = torch.Generator().manual_seed(4)
    return 2.0 + torch.randn(400, dtype=torch.float64, generator=noise)


def assert_conjugate(fit, x):
    """Mean to 2% and sd to 10% of the guide, and draws that agree with the guide."""
    mean, sd = NormalMean.posterior(x)
    loc, scale = (float(t["mu"].detach()) for t in (fit.guide.median(), scales(fit)))
    assert loc == pytest.approx(mean, rel=0.02)
    assert scale == pytest.approx(sd, rel=0.10)
    mu = pi.draws(fit.to_arviz(draws=400), "mu")
    assert abs(mu.mean() - loc) < 5 * scale / 400**0.5


def scales(fit):
    """Scales of an AutoNormal by site."""
    return {"mu": fit.guide.scales.mu}


def test_whole_data_fit_is_conjugate(many):
    fit = pi.fit(
        NormalMean(), many, epochs=400, optimizer=falling, device="cpu", progress=False, **exact
    )
    assert_conjugate(fit, many)
    assert fit.losses.shape == (400,)
    # the ELBO of a conjugate model reaches the log evidence; the last losses are within 0.5 nats
    n, gram = len(many), torch.eye(400, dtype=torch.float64) + 9.0
    evidence = dist.MultivariateNormal(torch.zeros(n, dtype=torch.float64), gram).log_prob(many)
    assert float(fit.losses[-20:].mean()) == pytest.approx(-float(evidence), abs=0.5)


@pytest.mark.parametrize("loader", [False, True])
def test_mini_batch_fit_is_conjugate(many, loader):
    model, options = NormalMean(size=400), {"optimizer": falling, **exact}
    data = DataLoader(TensorDataset(many), batch_size=100, shuffle=True) if loader else many
    size = None if loader else 100
    fit = pi.fit(model, data, batch_size=size, epochs=150, device="cpu", progress=False, **options)
    assert_conjugate(fit, many)
    assert "observed_data" not in pi.arviz_bridge.groups_of(fit.to_arviz(draws=5))


def test_two_fits_with_the_same_names_do_not_interfere(x):
    one = pi.fit(NormalMean(), x, epochs=200, device="cpu", progress=False)
    before = {k: v.clone() for k, v in one.guide.state_dict().items()}
    two = pi.fit(NormalMean(), x - 5.0, epochs=200, device="cpu", progress=False)
    assert all(torch.equal(v, before[k]) for k, v in one.guide.state_dict().items())
    assert float(one.guide.median()["mu"]) > 0 > float(two.guide.median()["mu"])
    assert (
        float(pi.draws(two.to_arviz(50), "mu").mean())
        < 0
        < float(pi.draws(one.to_arviz(50), "mu").mean())
    )


def test_model_and_guide_with_equal_parameter_names_stay_apart(x):
    class Shifted(PyroModule):
        def __init__(self):
            super().__init__()
            self.loc = PyroParam(torch.tensor(0.0, dtype=torch.float64))

        def forward(self, x):
            mu = pyro.sample("mu", dist.Normal(self.loc, 1.0))
            with pyro.plate("data", len(x)):
                pyro.sample("x", dist.Normal(mu, 1.0), obs=x)

    class Guide(PyroModule):
        def __init__(self):
            super().__init__()
            self.loc = PyroParam(torch.tensor(-7.0, dtype=torch.float64))

        def forward(self, x):
            pyro.sample("mu", dist.Normal(self.loc, 0.1))

    fit = quick_fit(Shifted(), x, guide=Guide(), epochs=1)
    assert float(fit.guide.loc.detach()) == pytest.approx(-7.0, abs=0.02)
    assert float(fit.model.loc.detach()) == pytest.approx(0.0, abs=0.02)


def test_store_and_random_streams_are_untouched(x):
    store, state = pyro.get_param_store(), torch.random.get_rng_state()
    fit = quick_fit(NormalMean(), x)
    fit.to_arviz(draws=3)
    assert not list(store.keys())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert pyro.settings.get("module_local_params") is False


def test_same_seed_same_bits(many):
    def run(seed):
        return quick_fit(NormalMean(size=400), many, batch_size=64, seed=seed)

    torch.manual_seed(1)
    one = run(7)
    torch.manual_seed(2)
    two, other = run(7), run(8)
    assert torch.equal(one.losses, two.losses)
    assert not torch.equal(one.losses, other.losses)
    assert np.array_equal(one.to_arviz(9).posterior["mu"], two.to_arviz(9).posterior["mu"])
    assert not np.array_equal(
        one.to_arviz(9).posterior["mu"], one.to_arviz(9, seed=1).posterior["mu"]
    )


def test_every_epoch_sees_every_row_once_in_an_order_of_the_seed():
    class Watching(NormalMean):
        def forward(self, x):
            self.seen = [*getattr(self, "seen", []), x.tolist()]
            super().forward(x)

    orders = {}
    for seed in (0, 1):
        model = Watching(size=10)
        quick_fit(model, torch.arange(10.0), batch_size=4, seed=seed, epochs=2)
        batches = model.seen[-6:]
        assert [len(batch) for batch in batches] == [4, 4, 2] * 2
        epochs = [list(chain(*batches[:3])), list(chain(*batches[3:]))]
        assert [sorted(rows) for rows in epochs] == [list(range(10))] * 2
        assert epochs[0] != epochs[1]
        orders[seed] = epochs
    assert orders[0] != orders[1]


def test_draws_carry_the_names_of_sample(times, rates_run):
    post = quick_fit(ClassRates(), times).to_arviz(draws=6)
    assert post.posterior["rate"].dims == rates_run.posterior["rate"].dims
    assert post.posterior.sizes == {"chain": 1, "draw": 6, "class": 3}
    assert post.posterior["class"].values.tolist() == ["cat", "dog", "owl"]
    assert post.observed_data.sizes == {"data": 15, "class": 3}
    assert post.posterior.attrs["epochs"] == 3


def test_the_models_own_guide_and_parameters_are_trained():
    x = torch.randn(64, 3) * torch.tensor([3.0, 1.0, 0.1])
    model = Autoencoder()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    fit = pi.fit(model, x, epochs=30, batch_size=16, device="cpu", progress=False)
    assert fit.recipe == "model"
    assert all(not torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert fit.losses[-5:].mean() < fit.losses[:5].mean()


def test_an_unweighted_batch_is_refused(many):
    message = r"site 'x' counts the 50 rows of a batch, not all 400, beside \['mu'\].*plate"
    with pytest.raises(ValueError, match=message):
        quick_fit(NormalMean(), many, batch_size=50)
    loader = DataLoader(TensorDataset(many), batch_size=50)
    with pytest.raises(ValueError, match=message):
        quick_fit(NormalMean(), loader)
    quick_fit(NormalMean(), many, batch_size=400)  # a batch of all rows needs no weight


def test_a_loss_that_is_not_finite_is_told_with_its_epoch(x):
    class Overflow(PyroModule):
        def forward(self, x):
            mu = pyro.sample("mu", dist.Normal(x.new_zeros(()), 1.0))
            with pyro.plate("data", len(x)):
                pyro.sample("x", dist.Normal(mu, 1.0), obs=x * float("inf"))

    with pytest.raises(ValueError, match=r"the loss is (nan|inf) at epoch 0, batch 0"):
        quick_fit(Overflow(), x)
    wild = partial(torch.optim.SGD, lr=1e300)
    with pytest.raises(ValueError, match=r"at epoch [1-9]"):
        quick_fit(NormalMean(), x, optimizer=wild, epochs=50)


class Stray(PyroModule):
    def forward(self, x):
        p = pyro.param("p", torch.tensor(0.0))
        mu = pyro.sample("mu", dist.Normal(p, 1.0))
        pyro.sample("x", dist.Normal(mu, 1.0).expand(x.shape).to_event(1), obs=x)


REFUSED = [
    ({"model": lambda x: None}, "model must be a PyroModule, got function"),
    ({"model": Stray()}, "pyro.param statements"),
    ({"model": Mixture()}, r"AutoNormal cannot fit the discrete sites \['z'\]"),
    ({"data": [1.0]}, "data must be"),
    ({"data": torch.tensor([1.0, float("nan")])}, "data has 1 rows with NaN .first: row 1."),
    ({"data": DataLoader([])}, "data has no batches"),
    ({"epochs": 0}, "epochs must be a positive integer, got 0"),
    ({"batch_size": 0}, "batch_size must be a positive integer or None, got 0"),
    ({"batch_size": 2, "data": DataLoader([1.0])}, "batch_size must be None beside a DataLoader"),
    ({"batch_size": 2, "data": (torch.ones(3), torch.ones(4))}, "equally many rows"),
    ({"optimizer": torch.optim.Adam([torch.ones(1)])}, "optimizer must be a function"),
    ({"optimizer": lambda parameters: 3}, "optimizer must build a torch optimiser, got int"),
    ({"loss": torch.nn.MSELoss()}, "loss must be a Pyro ELBO, got MSELoss"),
    ({"guide": 3}, "guide must be a module or build one, got int"),
    ({"guide": lambda model: 3}, "guide must build a torch module, it built int"),
    ({"seed": None}, "seed must be an integer, got None"),
    ({"device": "abacus"}, "device 'abacus' is not a device"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[str(list(c)) for c, _ in REFUSED])
def test_bad_arguments_are_named(x, change, message):
    arguments = {"model": NormalMean(), "data": x, **change}
    with pytest.raises(ValueError, match=message):
        quick_fit(arguments.pop("model"), arguments.pop("data"), **arguments)


def test_bad_numbers_of_draws_are_named(x):
    fit = quick_fit(NormalMean(), x)
    with pytest.raises(ValueError, match="draws must be a positive integer, got 0"):
        fit.to_arviz(0)


def test_a_model_without_latents_has_nothing_to_fit(x):
    class Fixed(PyroModule):
        def forward(self, x):
            pyro.sample("x", dist.Normal(0.0, 1.0).expand(x.shape).to_event(1), obs=x)

    with pytest.raises(ValueError, match="model has no latent sites"):
        quick_fit(Fixed(), x)
