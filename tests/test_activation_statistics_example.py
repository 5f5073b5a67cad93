"""The example of activation statistics, quick: its numbers agree with each other."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from example_runs import assert_png, read


def test_activation_statistics(
    run: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    out = run("activation_statistics")
    table = (out / "table.md").read_text("utf-8")
    assert capsys.readouterr().out.strip() == table.strip()
    numbers = read(out / "numbers.json")
    for name in ("new", "trained"):
        found = numbers[name]
        assert found["rows"] == 400
        for row in found["layers"]:
            c = row["correlation"]
            assert row["predicted_variance"] == pytest.approx(
                math.asin(c) / (2 * math.pi), abs=1e-4
            )
            assert row["bits"] == 256
        assert found["constellations"]["score"] < found["constellations"]["matched"]
        subject = f"{name}.png"
        files = [out / f"{kind}_{subject}" for kind in ("probabilities", "distances", "attack")]
        assert_png(*files)
    new, trained = numbers["new"], numbers["trained"]
    assert trained["accuracy"] > 0.95 > 0.3 > new["accuracy"]
    for row in new["layers"]:  # the law holds for random weights
        assert row["variance"] == pytest.approx(row["predicted_variance"], abs=0.02)
    excess = [r["adversarial"][0] / r["random"][0] for r in trained["attack"]["layers"]]
    assert excess[0] < excess[1] < excess[2]
    assert new["sign_agreement"][0] == pytest.approx(0.794, abs=0.01)
    last = [r["variance"] for r in numbers["normalisation"] if r["layer"] == "19"]
    assert max(last) > 0.2  # none saturates


def test_missing_data(run: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run("activation_statistics", quick=())
    assert stop.value.code == 2
    assert "--root" in capsys.readouterr().err
