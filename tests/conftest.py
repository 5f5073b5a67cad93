"""Fixtures of the whole suite: seeds and one false-alarm budget."""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

import pyro
import pytest
import torch
from example_runs import EXAMPLES
from statcheck import AlphaBudget
from torch.distributions import Distribution

collect_ignore = ["statcheck.py", "bad_inputs.py", "example_runs.py"]  # helpers, not doctests

_BUDGET = AlphaBudget(total=1e-4, n_checks=2000)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test starts from the same global state of Pyro, whatever ran before it."""
    pyro.set_rng_seed(20260)
    pyro.clear_param_store()  # a module's program that is run outside `fit` writes into it
    Distribution.set_default_validate_args(True)  # torch.compile turns it off for the process


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(20261)


@pytest.fixture(scope="session")
def budget() -> AlphaBudget:
    """All random checks of one run together fail a correct build with probability 1e-4."""
    return _BUDGET


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Run an example's main in this process; the folder that it filled."""
    monkeypatch.syspath_prepend(str(EXAMPLES))

    def run(name: str, *options: str, quick: Sequence[str] = ("--quick",)) -> Path:
        spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.main([*quick, "--out", str(tmp_path / name), *options])
        return tmp_path / name

    return run
