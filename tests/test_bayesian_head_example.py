"""The example of Bayesian last layers, quick: what must hold of its numbers, whatever they are."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from example_runs import EXAMPLES, assert_png, read

from probact.heads import Head
from probact.models import GaussianHead


@pytest.fixture
def predictors(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    spec = importlib.util.spec_from_file_location("predictors", EXAMPLES / "head_predictors.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "predictors", module)
    spec.loader.exec_module(module)
    return module


def test_bayesian_head(run: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    out = run("bayesian_head")
    assert_png(
        *(out / f"{n}.png" for n in ("reliability", "nll_against_images", "foreign_images"))
    )
    tasks = read(out / "numbers.json")["tasks"]
    assert list(tasks) == ["own task", "few images 10 a class"]
    for layers in tasks.values():
        assert len(layers) == 11
        trained = layers["trained head"]
        assert trained["nll - trained"] == [0.0, 0.0]
        # a temperature leaves the answers as they are
        assert layers["temperature"]["accuracy"] == trained["accuracy"]
        for name, entry in layers.items():
            assert 0.0 <= entry["accuracy"][0] <= 1.0
            assert 0.0 <= entry["brier"][0] <= 2.0
            gap = entry["nll"][0] - trained["nll"][0]
            assert entry["nll - trained"][0] == pytest.approx(gap, abs=1e-4)
            assert (entry["rhat"] is not None) == ("Gibbs" in name)
            for scores in entry["auroc"].values():
                assert all(0.0 <= value <= 1.0 for score in scores.values() for value in score)
        # the data are easy enough for a layer to know more than the class frequencies
        assert trained["accuracy"][0] > 0.4
        assert layers["Gaussian, Gibbs"]["nll"][0] < 1.6
    assert "old classes" in tasks["few images 10 a class"]["trained head"]["auroc"]
    assert "| difference" in capsys.readouterr().out
    times = {path: path.stat().st_mtime_ns for path in (out / "readings").iterdir()}
    run("bayesian_head")  # nothing is measured twice
    assert read(out / "numbers.json")["tasks"] == tasks
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_missing_root(run: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as exit_:
        run("bayesian_head", "--root", str(tmp_path), quick=())
    assert exit_.value.code == 2


def separated(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    stream = torch.Generator().manual_seed(0)
    y = torch.arange(n) % 3
    centres = torch.tensor([[2.0, 0.0], [0.0, 2.0], [-2.0, -2.0]]).double()
    return centres[y] + torch.randn(n, 2, dtype=torch.float64, generator=stream), y


def test_gibbs_of_the_gaussian_prior_agrees_with_many_rows(predictors: ModuleType) -> None:
    """With many rows the posterior is nearly normal, where Laplace's approximation holds."""
    x, y = separated(600)
    model = GaussianHead(2, 3, precision=2.0, bias_scale=1.0)
    budget = predictors.Budget(draws=200, tune=50, steps=0, chains=1, kept=200)
    drawn = predictors.gaussian_gibbs(x, y, model, budget, seed=0, learn=False)
    logits = torch.einsum("skp,np->snk", drawn["weight"], x) + drawn["bias"][:, None]
    sampled = torch.softmax(logits, -1).mean(0)
    exact = model.predictive(model.posterior(x, y), x)
    assert float((sampled - exact).abs().mean()) < 0.006  # 0.0027 with these 200 draws


def test_temperature_repairs_a_scaled_head(predictors: ModuleType) -> None:
    x, y = separated(1000)
    model = GaussianHead(2, 3, precision=1.0)
    mode = model.posterior(x, y)
    point = predictors._point(Head("h", 3.0 * mode.weight, 3.0 * mode.bias))
    found = predictors._temperature(point, x, y, 3, (x, y))
    assert found == pytest.approx(3.0, rel=0.15)
    told = predictors.read(predictors._point(Head("h", mode.weight, mode.bias)), x, y)
    assert told.rhat is None
    torch.testing.assert_close(told.probs.sum(1), torch.ones(1000, dtype=torch.float64))
