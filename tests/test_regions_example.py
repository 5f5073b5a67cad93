"""The example of linear regions, quick: its numbers are those that the mathematics asks for."""

from collections.abc import Callable
from pathlib import Path

import pytest
from example_runs import assert_png, read


def test_regions(run: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    out = run("regions")
    table = (out / "table.md").read_text("utf-8")
    assert capsys.readouterr().out.endswith(table)
    numbers = read(out / "numbers.json")
    assert numbers["accuracy"] > 0.8
    for lines in numbers["lines"].values():
        assert len(lines) == 20
        for num_regions, flips, distance, detour in lines:
            assert detour == 0.5 * (flips - distance) >= 0.0
            assert num_regions - 1 <= flips
    for found in numbers["maps"].values():
        assert found["rank"] <= found["first layer"] == 32
        assert found["residual of 20"]["orthogonal"] <= found["residual of 20"]["plain"] < 1.0
    unchanged = numbers["noise"]["unchanged"]
    assert unchanged == sorted(unchanged, reverse=True)
    assert numbers["plane"]["covered"] == pytest.approx(1.0, abs=1e-6)
    sizes = numbers["sizes"]
    for small, large in (("noise radius, max", "noise radius"), ("noise radius", "largest ball")):
        assert all(a <= b for a, b in zip(sizes[small], sizes[large], strict=True))
    assert f"in the plane of three images: {numbers['plane']['regions']}." in table
    names = ("lines", "spectra", "maps", "noise", "plane", "sizes")
    assert_png(*(out / f"{name}.png" for name in names))


def test_missing_data(
    run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for options in ((), ("--root", str(tmp_path))):
        with pytest.raises(SystemExit) as stop:
            run("regions", *options, quick=())
        assert stop.value.code == 2
        assert "--root" in (text := capsys.readouterr().err) or str(tmp_path) in text
