"""The example of the soft activations, quick: figures, learned betas, and their table."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from example_runs import assert_png, read


def test_beta_vq(run: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    out = run("beta_vq")
    assert_png(out / "activations.png", out / "learned_beta.png")
    records = read(out / "runs.json")["records"]
    assert [r["model"] for r in records] == 2 * [
        "relu",
        "silu",
        "beta 0.2",
        "beta 0.5",
        "beta 0.9",
    ]
    for r in records:
        assert 0.3 < r["accuracy"] <= 1.0  # ten classes
        assert math.isfinite(r["loss"])
        if not r["model"].startswith("beta"):
            assert r["beta"] == {}
            continue
        kinds = [name.split()[1] for name in r["beta"]]
        assert kinds == ["ReLU", "ReLU", "MaxPool2d", "ReLU", "ReLU", "MaxPool2d"]
        start = float(r["model"].split()[1])
        assert all(0.0 < b < 1.0 and b != pytest.approx(start) for b in r["beta"].values())
    text = capsys.readouterr().out
    assert text == (out / "table.md").read_text("utf-8")
    assert "from beta 0.9" in text
