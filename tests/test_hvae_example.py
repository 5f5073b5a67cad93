"""The example of the hyperspherical VAEs, quick: its numbers obey what must hold of them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from example_runs import assert_png


def test_hvae_mnist(run: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    out = run("hvae_mnist", "--samples", "20")
    records = [json.loads(line) for line in (out / "runs.jsonl").read_text("utf-8").splitlines()]
    assert [r["model"] for r in records] == ["HVAE", "HVAE-C", "HVAE-L"]
    assert_png(*(out / f"{model}-3-0-quick.png" for model in ("HVAE-C", "HVAE-L")))
    for r in records:
        assert (r["dim"], r["sphere"]) == (3, "S^2")
        assert r["elbo"] == pytest.approx(r["reconstruction"] - r["kl"], abs=1e-3)
        assert r["elbo"] < r["log_likelihood"] < 0.0  # of means over the same images
        assert 1.0 <= r["median_effective_samples"] <= 20.0
        # a label is worth at most its entropy on average, up to the Monte Carlo error
        assert r.get("label_worth", 0.0) < np.log(10.0) + 0.1
        stored = np.load(out / f"{r['model']}-3-0-quick.npz", allow_pickle=False)
        assert stored["given"].mean() == pytest.approx(r["log_likelihood"], abs=1e-3)
        if r["model"] == "HVAE-L":
            worth = (stored["given"] - stored["marginal"]).mean()
            assert worth == pytest.approx(r["label_worth"], abs=1e-3)
    assert records[2]["bayes_accuracy"] > 0.2  # ten classes
    assert records[2]["classifier_accuracy"] > 0.5
    table = (out / "table.md").read_text("utf-8")
    assert capsys.readouterr().out.endswith(table)
    run("hvae_mnist", "--samples", "20")  # nothing is done twice
    assert len((out / "runs.jsonl").read_text("utf-8").splitlines()) == 3
    assert capsys.readouterr().out == table
