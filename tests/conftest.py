"""Fixtures of the whole suite: seeds and one false-alarm budget."""

import pyro
import pytest
import torch
from statcheck import AlphaBudget

collect_ignore = ["statcheck.py", "bad_inputs.py"]  # helpers, not doctests

_BUDGET = AlphaBudget(total=1e-4, n_checks=2000)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test starts from the same global random state, whatever ran before it."""
    pyro.set_rng_seed(20260)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(20261)


@pytest.fixture(scope="session")
def budget() -> AlphaBudget:
    """All random checks of one run together fail a correct build with probability 1e-4."""
    return _BUDGET
