"""Codes of a factorial mixture through `sample`: defaults, checkpoints, Pyro's MCMC."""

import signal

import pytest
import statcheck
from conjugate import same_draws
from factorial_oracle import random_model, ring_model
from pyro.infer import MCMC

import probact as pa
import probact.inference as pi
from probact.inference.factorial_gibbs import FactorialGibbs
from probact.models.factorial_mixture import FactorialMixture

QUIET = pytest.mark.filterwarnings("ignore::probact.inference.SamplingWarning")
OPTIONS = {"draws": 8, "tune": 4, "chains": 2, "seed": 2, "progress": False}


@QUIET
def test_sample_takes_the_kernel_by_default():
    model, x = ring_model()
    posterior = pa.sample(model, x, **OPTIONS)
    assert posterior.posterior["t_0"].dims == ("chain", "draw", "data")
    assert posterior.posterior["t_3"].shape == (2, 8, 6)
    again = pa.sample(model, x, kernel=FactorialGibbs(), **OPTIONS)
    assert same_draws(posterior, again)
    pointwise = pi.log_likelihood(model, posterior, x)
    assert pointwise.log_likelihood["x"].shape == (2, 8, 6)


class Interrupting(pi.Sweep):
    """A kernel with one Ctrl-C of its own."""

    def step(self, state, generator):
        Interrupting.steps += 1
        if Interrupting.steps == 7:
            signal.raise_signal(signal.SIGINT)
        return super().step(state, generator)


@QUIET
def test_a_resumed_chain_has_the_same_bits(tmp_path):
    Interrupting.steps = 0
    model, x = ring_model()
    kernel = Interrupting([FactorialGibbs(refresh=5)])
    with pytest.raises(pi.Interrupted):
        pa.sample(model, x, kernel=kernel, checkpoint=tmp_path, **OPTIONS)
    made = pi.resume(tmp_path, model, x, kernel=kernel, progress=False)
    assert same_draws(made, pa.sample(model, x, kernel=FactorialGibbs(refresh=5), **OPTIONS))
    other = FactorialMixture(model.slopes, model.weights, 0.9)
    with pytest.raises(ValueError, match="made with another model"):
        pi.resume(tmp_path, other, x, kernel=kernel, progress=False)


def test_in_pyros_mcmc(monkeypatch):
    monkeypatch.setattr("pyro.infer.mcmc.api.mp.cpu_count", lambda: 1)
    model, x = ring_model()
    kernel = pi.as_pyro_kernel(pi.default_kernel(model), model)
    with pytest.warns(UserWarning, match="num_chains"):
        mcmc = MCMC(kernel, 4, 2, num_chains=2, disable_progbar=True)
    mcmc.run(x)
    assert mcmc.get_samples(group_by_chain=True)["t_1"].shape == (2, 4, 6)


def test_posterior_of_a_run(budget):
    """Chains against the enumerated marginals, twenty rows of each kind."""
    model, x = random_model(3, 2, 3, scale=0.8)
    rows = x[:3].repeat_interleave(20, 0)
    options = {"draws": 250, "tune": 20, "chains": 2, "seed": 1, "progress": False}
    draws = pa.sample(model, rows, **options).posterior
    exact = model.unit_posterior(x)[..., 1]
    for k in range(3):
        chain = draws[f"t_{k}"].values.reshape(500, 3, 20).mean(-1)
        for row in range(3):
            z = statcheck.batch_means_z(chain[:, row], float(exact[row, k]), n_batches=50)
            p = 2 * statcheck.st.t.sf(abs(z), 49)
            budget.check(f"factorial run t_{k} row {row}", p)
