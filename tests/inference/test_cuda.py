"""The same calls on a CUDA device: draws from data that live there, fits that move there."""

import numpy as np
import pytest
import torch
from objective_models import Stopping, fit_full, same_fit
from pyro_programs import ClassRates, NormalMean

import probact.inference as pi

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_chains_run_where_the_data_live(quick, x):
    state = torch.cuda.get_rng_state()
    one, two = (quick(NormalMean(), x.cuda(), seed=4) for _ in range(2))
    assert one.posterior.attrs["device"] == "cuda:0"
    assert np.array_equal(one.posterior["mu"].values, two.posterior["mu"].values)
    assert not np.intersect1d(*one.posterior["mu"].values).size
    assert torch.equal(torch.cuda.get_rng_state(), state)
    scored = pi.log_likelihood(NormalMean(), one, x.cuda()).log_likelihood["x"]
    on_cpu = pi.log_likelihood(NormalMean(), one, x).log_likelihood["x"]
    np.testing.assert_allclose(scored.values, on_cpu.values, rtol=1e-12)


def test_fits_move_to_the_device_and_back(times, tmp_path):
    fit = pi.fit(ClassRates(), times, epochs=3, device="auto", progress=False)
    assert fit.device == "cuda"
    assert all(p.is_cuda for p in fit.guide.parameters())
    fit.save(tmp_path)
    back = pi.load(tmp_path, model=ClassRates(), device="cpu")
    for name, value in fit.guide.state_dict().items():
        assert torch.equal(back.guide.state_dict()[name], value.cpu())


def test_an_interrupted_fit_goes_on_with_the_same_bits(tmp_path):
    straight = fit_full(device="cuda")
    with pytest.raises(KeyboardInterrupt):
        fit_full(Stopping(20), device="cuda", checkpoint=tmp_path)
    assert same_fit(fit_full(Stopping(0), device="cuda", checkpoint=tmp_path), straight)
