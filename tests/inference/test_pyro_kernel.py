"""A Gibbs kernel inside `pyro.infer.MCMC`."""

import json
import warnings

import numpy as np
import pyro
import pytest
import torch
from conjugate import NormalGibbs, NormalModel, X
from pyro.infer import MCMC

import probact.inference as pi


def run(seed=0, num_chains=2, num_samples=6, warmup_steps=3, **options):
    """Draws (chain, draw, ...) of `MCMC` and the object itself; chains in turn unless told."""
    pyro.set_rng_seed(seed)
    kernel = pi.as_pyro_kernel(NormalGibbs(), NormalModel())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "num_chains", UserWarning)
        mcmc = MCMC(
            kernel,
            num_samples,
            warmup_steps,
            num_chains=num_chains,
            disable_progbar=True,
            **options,
        )
    return mcmc


def sequential(monkeypatch, **options):
    monkeypatch.setattr("pyro.infer.mcmc.api.mp.cpu_count", lambda: 1)
    mcmc = run(**options)
    mcmc.run(X)
    return mcmc


def check(mcmc):
    draws = mcmc.get_samples(group_by_chain=True)
    assert {name: tuple(x.shape) for name, x in draws.items()} == {
        "mu": (2, 6),
        "tau": (2, 6),
        "num_components": (2, 6),
        "z": (2, 6, len(X)),
    }
    assert all(x.dtype == torch.float64 for x in draws.values())
    assert not np.intersect1d(*draws["mu"].numpy()).size
    above = (draws["mu"][..., None] < X).double()
    assert torch.equal(draws["z"], above)
    found = mcmc.diagnostics()
    assert found["divergences"] == {"chain 0": [], "chain 1": []}
    assert found["start"]["chain 1"]["winner"] in ("near", "far")


def test_two_chains_in_turn(monkeypatch):
    mcmc = sequential(monkeypatch)
    check(mcmc)
    again = sequential(monkeypatch)
    assert torch.equal(mcmc.get_samples()["mu"], again.get_samples()["mu"])
    mcmc.summary()


@pytest.mark.slow  # starts Python twice
def test_two_chains_in_spawned_processes(monkeypatch):
    monkeypatch.setattr("pyro.infer.mcmc.api.mp.cpu_count", lambda: 8)
    mcmc = run(mp_context="spawn")
    mcmc.run(X)
    check(mcmc)


def test_a_second_run_starts_afresh():
    mcmc = run(num_chains=1)
    mcmc.run(X)
    first = mcmc.get_samples()["mu"]
    mcmc.run(X)
    assert not torch.equal(first, mcmc.get_samples()["mu"])


def test_logging_is_json_and_cleanup_may_be_called_twice():
    kernel = pi.as_pyro_kernel(NormalGibbs(), NormalModel())
    kernel.setup(3, X)
    assert json.loads(json.dumps(kernel.logging())).keys() == {"lp"}
    assert kernel.transforms == {}
    assert isinstance(kernel.model, NormalModel)
    kernel.cleanup()
    kernel.cleanup()


def test_refusals():
    with pytest.raises(ValueError, match="kernel must be a GibbsKernel"):
        pi.as_pyro_kernel(NormalGibbs)
    kernel = pi.as_pyro_kernel(NormalGibbs(), NormalModel())
    with pytest.raises(ValueError, match="pass the data by position"):
        kernel.setup(3, x=X)
    with pytest.raises(ValueError, match="initial_params must be None"):
        kernel.initial_params = {"mu": torch.zeros(2)}
