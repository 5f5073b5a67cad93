"""Posteriors of asymmetric Laplace weights through `sample` and `fit`."""

import signal

import arviz as az
import numpy as np
import pytest
import torch
from conjugate import same_draws
from laplace_oracle import columns, draw_weights
from pyro.infer import MCMC, NUTS

import probact as pa
import probact.inference as pi
from probact.distributions.laplace_hyperprior import LaplaceParameters
from probact.inference.laplace import LaplaceGibbs

QUIET = pytest.mark.filterwarnings("ignore::probact.inference.SamplingWarning")
OPTIONS = {"draws": 10, "tune": 4, "chains": 2, "seed": 2, "progress": False}


def weights(generator, classes=4, n=60, rates=(30.0, 22.0)):
    truth = LaplaceParameters(*columns(-0.01, *rates, num=classes))
    return draw_weights(truth, n, generator)


def counted(generator):
    options = {"hierarchical": True, "counts": [3, 20, 50, 400]}
    return pa.models.LaplaceWeights(weights(generator), class_names=list("abcd"), **options)


@QUIET
def test_sample_takes_the_kernel_by_default(generator):
    model = counted(generator)
    post = pa.sample(model, **OPTIONS)
    group = post.posterior
    for name in ("loc", "rate_right", "rate_left", "scale", "asymmetry"):
        assert group[name].dims == ("chain", "draw", "class")
    assert group["slope_left"].dims == ("chain", "draw")
    assert list(group["loc"].coords["class"].values) == list("abcd")
    assert np.allclose(group["scale"] ** -2, group["rate_right"] * group["rate_left"])
    summary = az.summary(post, var_names=["loc", "concentration_right"])
    assert list(summary.index) == [*(f"loc[{c}]" for c in "abcd"), "concentration_right"]
    assert same_draws(post, pa.sample(model, kernel=LaplaceGibbs, **OPTIONS))
    other = pa.sample(model, **{**OPTIONS, "seed": 3})
    assert not same_draws(post, other)
    pointwise = pi.log_likelihood(model, post)
    assert pointwise.log_likelihood["obs"].dims == ("chain", "draw", "feature", "class")
    assert post.observed_data["obs"].shape == (60, 4)


@QUIET
def test_chains_are_separate(generator):
    model = counted(generator)
    both = pa.sample(model, **OPTIONS).posterior["loc"].values
    alone = pa.sample(model, **{**OPTIONS, "chains": 1}).posterior["loc"].values
    assert np.array_equal(both[:1], alone)
    assert not np.array_equal(both[0], both[1])


@QUIET
@pytest.mark.slow
def test_bits_do_not_depend_on_the_number_of_processes(generator):
    model = counted(generator)
    assert same_draws(pa.sample(model, **OPTIONS), pa.sample(model, processes=2, **OPTIONS))


class Interrupting(pi.Sweep):
    """A kernel with one Ctrl-C of its own."""

    def step(self, state, generator):
        Interrupting.steps += 1
        if Interrupting.steps == 7:
            signal.raise_signal(signal.SIGINT)
        return super().step(state, generator)


@QUIET
def test_a_resumed_chain_has_the_same_bits(tmp_path, generator):
    """The checkpoint knows the weights: those of another model are refused."""
    Interrupting.steps = 0
    model = counted(generator)
    kernel = Interrupting([LaplaceGibbs()])
    with pytest.raises(pi.Interrupted):
        pa.sample(model, kernel=kernel, checkpoint=tmp_path, **OPTIONS)
    made = pi.resume(tmp_path, model, kernel=kernel, progress=False)
    assert same_draws(made, pa.sample(model, **OPTIONS))
    other = counted(generator)
    with pytest.raises(ValueError, match="made with another model"):
        pi.resume(tmp_path, other, kernel=kernel, progress=False)


def test_data_are_refused(generator):
    with pytest.raises(ValueError, match="data holds 1 arguments for LaplaceWeights"):
        pa.sample(counted(generator), torch.zeros(3), **OPTIONS)


@pytest.mark.parametrize("call", ["sample", "fit"])
def test_constant_rows_are_refused(call):
    model = pa.models.LaplaceWeights(torch.tensor([[0.0, 1.0, 3.0], [2.0, 2.0, 2.0]]))
    with pytest.raises(ValueError, match=r"constant row \(first: row 1\)"):
        pa.sample(model, **OPTIONS) if call == "sample" else pa.fit(model, None, progress=False)


def test_in_pyros_mcmc(monkeypatch, generator):
    monkeypatch.setattr("pyro.infer.mcmc.api.mp.cpu_count", lambda: 1)
    model = counted(generator)
    kernel = pi.as_pyro_kernel(pi.default_kernel(model), model)
    with pytest.warns(UserWarning, match="num_chains"):
        mcmc = MCMC(kernel, 4, 2, num_chains=2, disable_progbar=True)
    mcmc.run()
    assert mcmc.get_samples(group_by_chain=True)["rate_left"].shape == (2, 4, 4)


def moments(posterior):
    """Means and standard deviations (2, 3, K) of m, log r and log l."""
    loc, right, left = (pi.draws(posterior, name) for name in ("loc", "rate_right", "rate_left"))
    draws = torch.stack([loc, right.log(), left.log()])
    return torch.stack([draws.mean(1), draws.std(1)])


@QUIET
def test_the_variational_law_is_near_the_posterior(generator):
    model = pa.models.LaplaceWeights(weights(generator, n=2000, rates=(35.0, 20.0)))
    exact = moments(pa.sample(model, draws=400, tune=30, chains=2, progress=False))
    fit = pa.fit(model, None, epochs=100, device="cpu", seed=1, progress=False)
    found = moments(fit.to_arviz(500))
    assert ((found[0] - exact[0]) / exact[1]).abs().max() < 0.35
    assert (found[1] / exact[1]).log().abs().max() < 0.25
    assert fit.losses[-50:].mean() < fit.losses[:50].mean() + 0.5
    at_start = pa.fit(model, None, epochs=1, device="cpu", progress=False)
    start = moments(at_start.to_arviz(500))
    assert ((start[0] - exact[0]) / exact[1]).abs().max() < 1.0


@QUIET
def test_the_guide_has_the_sites_of_the_program(generator):
    """All starts are finite: degenerate rows, modes at a bound, shared rates."""
    x = weights(generator)
    x[0] = torch.where(x[0] > 0, 1.0, 0.0)
    for options in ({}, {"hierarchical": True}, {"hierarchical": True, "counts": [1, 5, 9, 70]}):
        model = pa.models.LaplaceWeights(x, **options)
        fit = pa.fit(model, None, epochs=3, device="cpu", progress=False)
        assert torch.isfinite(fit.losses).all()
        post = pa.sample(model, draws=4, tune=0, chains=1, progress=False)
        found = set(fit.to_arviz(5).posterior.data_vars)
        assert found == set(post.posterior.data_vars) - {"scale", "asymmetry"}


@pytest.mark.slow
@pytest.mark.timeout(900)
@QUIET
def test_nuts_agrees(generator):
    model = pa.models.LaplaceWeights(weights(generator, classes=2, n=600))
    exact = moments(pa.sample(model, draws=4000, tune=100, chains=2, progress=False))
    nuts = pa.sample(model, kernel=NUTS, draws=1000, tune=300, chains=1, progress=False)
    found = moments(nuts)
    assert ((found[0] - exact[0]) / exact[1]).abs().max() < 0.25
    assert (found[1] / exact[1]).log().abs().max() < 0.15


def digits_head(generator, width=256, epochs=40):
    """The last layer (10, width) of a small network trained on the digits."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x / 16.0, dtype=torch.float32), torch.tensor(y)
    net = torch.nn.Sequential(
        torch.nn.Linear(64, width), torch.nn.ReLU(), torch.nn.Linear(width, 10)
    )
    adam = torch.optim.Adam(net.parameters(), 3e-3, weight_decay=1e-4)
    for _ in range(epochs):
        for batch in torch.randperm(len(x), generator=generator).split(64):
            loss = torch.nn.functional.cross_entropy(net(x[batch]), y[batch])
            adam.zero_grad()
            loss.backward()
            adam.step()
    assert (net(x).argmax(1) == y).double().mean() > 0.98
    return net[-1]


@pytest.mark.slow
def test_chains_on_a_digits_head_agree(generator):
    """The defaults of `sample`; R-hat < 1.01 of m, log r and log l of every class."""
    model = pa.models.LaplaceWeights.from_head(digits_head(generator))
    post = pa.sample(model, progress=False)
    group = post.posterior
    logs = {name: np.log(group[name]) for name in ("rate_right", "rate_left")}
    for name, values in {"loc": group["loc"], **logs}.items():
        for k in range(10):
            assert float(az.rhat(values.values[..., k])) < 1.01, (name, k)
            assert float(az.ess(values.values[..., k])) > 400, (name, k)
