"""The example of the models of patterns, quick: its numbers obey what must hold of them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from example_runs import assert_png, read


def test_pattern_models(run: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    out = run("pattern_models")
    numbers = read(out / "numbers.json")
    table = (out / "table.md").read_text("utf-8")
    assert capsys.readouterr().out == table + "\n"
    assert_png(out / "counts.png", out / "checks.png", out / "images.png")
    kept, units = numbers["units"]
    assert 2 < kept <= units == 16
    one = numbers["independent"]
    c = one["correlation"]
    assert one["variance"] == pytest.approx(c / (1.0 - c), rel=1e-4)
    held = numbers["held_out"]
    for place in (0, 1):  # one class is the independent law with another prior
        alone, single = (held["rows"][name][place][0] for name in ("independent", "1 classes"))
        assert alone == pytest.approx(single, abs=0.2)
        assert held["rows"]["4 classes"][place][0] > alone - 0.1
    assert held["rows"]["Ising"][0] is None
    assert f"{held['rows']['Ising'][1][0]:.2f}" in table
    checks = numbers["checks"]
    assert set(checks) == {"independent", "normal signs", "Ising", "4 classes"}
    ratio = checks["independent"]["variance_ratio"]
    assert ratio["mean"] == pytest.approx(1.0, abs=0.05)
    assert ratio["observed"] > 1.3
    assert ratio["p_value"] == pytest.approx(2 / 21, rel=1e-4)  # beyond all 20
    assert checks["normal signs"]["mean_distance"]["p_value"] > 0.05  # fits pairs
    for row in numbers["classes"].values():
        assert 0.0 < row["purity"] <= 1.0
    assert set(numbers["images"]) == {"held-out images", *checks}
    for nearest, missed, _, share in numbers["images"].values():
        assert missed <= nearest + 1e-6  # the search starts there
        assert 0.0 <= share <= 1.0


def test_missing_data(run: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run("pattern_models", "--data", "mnist", quick=())
    assert stop.value.code == 2
    assert "--root" in capsys.readouterr().err
