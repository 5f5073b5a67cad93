"""The example of the factorial layer, quick: its numbers obey what must hold of them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from example_runs import assert_png, read


def test_factorial_layer(run: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    out = run("factorial_layer")
    numbers = read(out / "numbers.json")
    assert_png(out / "factorial_layer.png")
    assert "| ESS a sweep |" in capsys.readouterr().out
    for row in numbers["random"]:
        gap, units, codes = (row[name] for name in ("gap", "units_wrong", "codes_wrong"))
        assert gap["mean field"][0] <= gap["layer"][0] + 1e-9
        assert units["marginal"][0] <= units["layer"][0] + 0.02  # optimal, up to the draws
        assert codes["joint"][0] <= codes["layer"][0] + 0.02
        if row["share"] == 0.0:  # orthogonal rows: all are the same
            assert gap["layer"][0] == pytest.approx(0.0, abs=1e-9)
            assert units["layer"][0] == units["joint"][0] == units["marginal"][0]
    sizes = {6: [], 10: []}
    for row in numbers["random"]:
        sizes[row["units"]].append(row["gap"]["layer"][0])
    assert all(gaps == sorted(gaps) for gaps in sizes.values())
    plain, orthogonal = numbers["trained"]
    assert plain["gap"]["layer"] > 1e-3
    assert orthogonal["gap"]["layer"] == pytest.approx(0.0, abs=1e-6)
    assert orthogonal["codes_other"] == 0.0
    for row in numbers["mixing"]:
        blocks = row["groups"] if row["colours"] == "auto" else row["units"]
        assert row["blocks"] == blocks
        if row["groups"] == 1:  # independent draws
            assert row["ess_per_sweep"] == pytest.approx(1.0, abs=0.15)
