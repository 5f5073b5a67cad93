"""The example on what split neurons see, quick: figures, and numbers that must hold."""

from collections.abc import Callable
from pathlib import Path

import pytest
from example_runs import assert_png, read


def test_neuron_split(run: Callable[..., Path]) -> None:
    out = run("neuron_split", "--images", "12", "--steps", "16")
    assert_png(out / "maps_0.png", out / "curves_0.png")
    (numbers,) = read(out / "numbers.json")["sources"].values()
    assert numbers["num_images"] == 12
    assert numbers["map"] == [4, 4]
    assert numbers["maps"] == ["all", "++", "+++", "-", "--", "---", "random"]
    sizes = {name: counts[1] for name, counts in numbers["neurons"].items()}
    assert sizes["all"] == 128 > sizes["-"] > sizes["--"] > sizes["---"] > 0
    readings = numbers["readings"]
    assert list(readings) == [
        "deletion", "insertion", "rival's deletion", "drop", "increase", "likeness"
    ]  # fmt: skip
    for name, each in readings.items():
        for mean, low, high in each["value"]:
            assert low <= mean <= high
            assert (-1.0 if name == "likeness" else 0.0) <= mean <= 1.0 + 1e-9
        # a map against itself
        assert each["minus all"][0] == each["minus random"][-1] == [0.0, 0.0, 0.0]
        for kind, base in (("minus all", 0), ("minus random", -1)):
            for i, (mean, low, high) in enumerate(each[kind]):
                difference = each["value"][i][0] - each["value"][base][0]
                assert mean == pytest.approx(difference, abs=1e-5)
                assert low <= mean <= high
    assert readings["likeness"]["value"][0] == [1.0, 1.0, 1.0]
    # what carries the score shows it: deletion by its map beats chance on average
    assert readings["deletion"]["minus random"][0][2] < 0.0


def test_missing_data_is_refused(
    run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for options in ([], ["--root", str(tmp_path / "nowhere")]):
        with pytest.raises(SystemExit) as exit_:
            run("neuron_split", *options, quick=())
        assert exit_.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "--root" in line or "nowhere lacks" in line
