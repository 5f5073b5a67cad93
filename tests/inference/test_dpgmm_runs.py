"""Mixture models through `sample`: the default kernel, checkpoints, processes and Pyro's MCMC."""

import json
import signal

import numpy as np
import pyro
import pytest
import torch
from conjugate import same_draws
from pyro.infer import MCMC

import probact as pa
import probact.inference as pi
from probact.distributions import NormalInverseWishart
from probact.inference.arviz_bridge import groups_of
from probact.models import DPGMM

pytestmark = pytest.mark.filterwarnings("ignore::probact.inference.SamplingWarning")
OPTIONS = {"draws": 6, "tune": 4, "chains": 2, "seed": 2, "progress": False}


@pytest.fixture(scope="module")
def rows():
    noise = torch.Generator().manual_seed(0)
    centres = torch.tensor([[-6.0, 0.0], [6.0, 0.0], [0.0, 8.0]], dtype=torch.float64)
    return centres.repeat(12, 1) + torch.randn(36, 2, generator=noise, dtype=torch.float64)


def model(rows):
    return DPGMM(NormalInverseWishart.from_data(rows))


@pytest.fixture(scope="module")
def whole(rows):
    with pytest.warns(pi.SamplingWarning):
        return pa.sample(model(rows), rows, **OPTIONS)


def test_the_groups_of_a_mixture(whole, rows):
    groups = groups_of(whole)
    posterior = groups["posterior"]
    assert {"alpha", "num_components", "z"} <= set(posterior.data_vars)
    assert posterior["z"].dims == ("chain", "draw", "obs")
    assert posterior["z"].dtype == np.int16
    assert np.array_equal(groups["observed_data"]["x"], rows)
    assert "prior_scale" in groups["constant_data"]
    assert "components" in groups
    assert groups["sample_stats"]["lp"].shape == (2, 6)
    for start in json.loads(posterior.attrs["starts"]):
        assert start["winner"] in start["log_joint"]


class Interrupting(pi.Sweep):
    """The default kernel, with one Ctrl-C of its own."""

    steps = 0

    def step(self, state, generator):
        Interrupting.steps += 1
        if Interrupting.steps == self._at:
            signal.raise_signal(signal.SIGINT)
        return super().step(state, generator)


@pytest.mark.parametrize("after", [62, 110])
def test_a_resumed_mixture_has_the_same_bits(tmp_path, whole, rows, after):
    Interrupting.steps = 0
    kernel = Interrupting(pi.default_kernel(model(rows)).kernels)
    kernel._at = after
    with pytest.raises(pi.Interrupted):
        pa.sample(model(rows), rows, kernel=kernel, checkpoint=tmp_path, **OPTIONS)
    kernel._at = 0
    made = pi.resume(tmp_path, model(rows), rows, kernel=kernel, progress=False)
    assert same_draws(made, whole)


def test_another_prior_is_another_model(tmp_path, rows):
    pa.sample(model(rows), rows, checkpoint=tmp_path, **{**OPTIONS, "draws": 1, "tune": 0})
    base = NormalInverseWishart.from_data(rows)
    wider = NormalInverseWishart.from_data(rows, kappa=0.02)
    gamma = pyro.distributions.Gamma(2.0, 1.0)
    for other in (DPGMM(wider), DPGMM(base, concentration=gamma), DPGMM(base, concentration=1.0)):
        with pytest.raises(ValueError, match="made with another model"):
            pi.resume(tmp_path, other, rows, progress=False)


@pytest.mark.slow  # starts Python twice
def test_processes_give_the_same_mixture(whole, rows):
    assert same_draws(pa.sample(model(rows), rows, processes=2, **OPTIONS), whole)


def test_a_mixture_in_pyros_mcmc(rows, monkeypatch):
    monkeypatch.setattr("pyro.infer.mcmc.api.mp.cpu_count", lambda: 1)
    kernel = pi.as_pyro_kernel(pi.default_kernel(model(rows)), model(rows))
    with pytest.warns(UserWarning, match="num_chains"):
        mcmc = MCMC(kernel, 4, 2, num_chains=2, disable_progbar=True)
    mcmc.run(rows)
    draws = mcmc.get_samples(group_by_chain=True)
    assert draws["z"].shape == (2, 4, len(rows))
    assert draws["z"].dtype == torch.float64
    assert not np.intersect1d(*draws["alpha"].numpy()).size
