"""Runs that several files of this folder look at, made once."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pyro_programs import ClassRates, NormalMean
from torch import Tensor

import probact.inference as pi


@pytest.fixture(scope="session")
def x() -> Tensor:
    """Twenty points (20,) around 1."""
    noise = torch.Generator().manual_seed(1)
    return 1.0 + torch.randn(20, dtype=torch.float64, generator=noise)


@pytest.fixture(scope="session")
def times() -> Tensor:
    """Waiting times (15, 3) of three classes."""
    noise = torch.Generator().manual_seed(2)
    u = torch.rand(15, 3, dtype=torch.float64, generator=noise)
    return -u.log() / torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)


@pytest.fixture(scope="session")
def quick() -> Callable[..., Any]:
    """`sample` with few draws; what it warns of is beside the point here."""

    def run(model: Any, data: Any = None, **options: Any) -> Any:
        small = {"draws": 30, "tune": 30, "chains": 2, "progress": False}
        with pytest.warns(pi.SamplingWarning):
            return pi.sample(model, data, **{**small, **options})

    return run


@pytest.fixture(scope="session")
def mean_run(x: Tensor) -> Any:
    """2 x 600 draws of a normal mean; long enough to end without a warning."""
    return pi.sample(NormalMean(), x, draws=600, tune=200, chains=2, seed=3, progress=False)


@pytest.fixture(scope="session")
def rates_run(times: Tensor) -> Any:
    """2 x 400 draws of the rates of three classes."""
    return pi.sample(ClassRates(), times, draws=400, tune=200, chains=2, seed=1, progress=False)
