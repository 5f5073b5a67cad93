"""The example of midpoints, quick: distances obey their identities, the files are there."""

from collections.abc import Callable
from pathlib import Path

import pytest
from example_runs import assert_png, read


def test_midpoints(run: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    out = run("midpoints", "--pairs", "6")
    table = (out / "table.md").read_text("utf-8")
    assert capsys.readouterr().out.endswith(table + "\n")
    assert_png(out / "midpoints.png")
    numbers = read(out / "numbers.json")
    searches = numbers["midpoints"]
    assert len(searches) == 6
    for name, row in searches.items():
        assert name in table
        columns = (row[k] for k in ("d", "d0", "d1", "wrong units", "between", "abs(d0 - d1)"))
        for d, d0, d1, wrong, between, gap in zip(*columns, strict=True):
            assert d0 + d1 == d + 2 * wrong
            assert between == float(wrong == 0)
            assert gap == abs(d0 - d1)
        assert row["d"] == searches["straight line"]["d"]
    wrong = {name: sum(row["wrong units"]) for name, row in searches.items()}
    assert wrong["agreed units"] == min(wrong.values())
    paths = numbers["paths"]
    assert len({row["distance"] for row in paths.values()}) == 1
    for row in paths.values():
        assert len(row["steps"]) == 4
        excess = sum(row["steps"]) - row["distance"]
        assert excess >= 0
        assert excess % 2 == 0


def test_missing_data(run: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run("midpoints", quick=())
    assert stop.value.code == 2
    assert "--root" in capsys.readouterr().err
