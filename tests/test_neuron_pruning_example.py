"""The example of neurons kept and removed, quick: its numbers follow from its networks."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from example_runs import assert_png, read
from safetensors.torch import load_file


def test_neuron_pruning(run: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    out = run("neuron_pruning")
    table = (out / "table.md").read_text("utf-8")
    assert capsys.readouterr().out.endswith(table)
    runs = read(out / "numbers.json")["runs"]
    assert len(runs) == 2
    cells = [{tuple(cell[:3]): cell[3] for cell in one} for one in runs]
    assert min(one["full", "", ""] for one in cells) > 0.8
    for number in range(2):
        state = load_file(out / f"digits_{number}.safetensors")
        features = load_file(out / f"digits_{number}_features.safetensors")
        weight, bias = state["head.weight"], state["head.bias"]

        def accuracy(
            theta: torch.Tensor, bias: torch.Tensor = bias, held: dict = features
        ) -> float:
            scores = held["test"] @ theta.T + bias
            return float((scores.argmax(1) == held["test_labels"]).double().mean())

        one = cells[number]
        assert one["full", "", ""] == pytest.approx(accuracy(weight), rel=1e-5)
        positive = torch.where(weight > 0.0, weight, 0.0)
        assert one["keep", "+", "node"] == pytest.approx(accuracy(positive), rel=1e-5)
        assert one["neurons", "+", ""] == pytest.approx(float((weight > 0).sum() / 10), rel=1e-5)
        threshold = weight.abs().flatten().kthvalue(int(0.8 * weight.numel())).values
        pruned = torch.where(weight.abs() > threshold, weight, 0.0)
        assert one["prune", "magnitude", "0.8"] == pytest.approx(accuracy(pruned), rel=1e-5)
        assert one["prune", "literal", "0.5"] < one["prune", "magnitude", "0.5"]
    full = [one["full", "", ""] for one in cells]
    error = np.std(full, ddof=1) / np.sqrt(2)
    assert f"All weights: {np.mean(full):.3f} ± {error:.3f}; 2 networks" in table
    assert re.search(r"\| `\+\+ and --` +\| \d+ ", table)
    assert_png(out / "pruning.png", out / "split_tree.png")
    run("neuron_pruning")  # the networks are kept
    assert "epoch" not in capsys.readouterr().out
    with pytest.raises(SystemExit, match="another setting"):
        run("neuron_pruning", "--data", "digits", quick=())


def test_missing_data(
    run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for options in ((), ("--root", str(tmp_path))):
        with pytest.raises(SystemExit) as stop:
            run("neuron_pruning", *options, quick=())
        assert stop.value.code == 2
        assert "--root" in (text := capsys.readouterr().err) or str(tmp_path) in text
