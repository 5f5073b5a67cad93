"""The example of the final layer's weights, quick: its numbers obey what must hold of them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from example_runs import assert_png, read
from safetensors.torch import save_file

from probact.distributions import AsymmetricLaplace

FEW_DRAWS = pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto")


def check(head: dict, classes: int) -> None:
    assert sum(head["wins"].values()) == classes
    assert sum(head["wins_without_skew_logistic"].values()) == classes
    assert "skew_logistic" not in head["wins_without_skew_logistic"]
    assert min(low for low, _, _ in head["nats_behind"].values()) >= 0.0
    assert max(head["rejected"].values()) <= classes
    assert head["kappa"]["low"] <= head["kappa"]["mean"] <= head["kappa"]["high"]
    for line in head["algorithm1"].values():
        assert 0.0 < line["r2_right"][0] <= 1.0


@FEW_DRAWS
def test_a_head_trained_on_the_spot(
    run: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    out = run("ald_heads")
    numbers = read(out / "numbers.json")
    (head,) = numbers["heads"]
    check(head, 10)
    assert head["features"] == 128
    assert "| skew logistic, AD" in capsys.readouterr().out
    assert_png(*out.glob("*.png"))
    assert len(list(out.glob("*.png"))) == 3
    for row in numbers["leave_one_out"]:
        behind = [family["behind"] for family in row["families"].values()]
        assert min(behind) == 0.0
        assert len(behind) == 6


@FEW_DRAWS
def test_heads_of_a_file_that_follow_the_law(run: Callable[..., Path], tmp_path: Path) -> None:
    """Heads drawn from the law itself: Algorithm 1 sees 6 log 2, not the rates."""
    law = AsymmetricLaplace(0.0, torch.tensor([0.01, 0.2, 1.0]), 0.8)
    tensors = {}
    for name in ("a", "b"):
        tensors[f"{name}.weight"] = law.sample((900,), seed=ord(name)).T.contiguous()
        tensors[f"{name}.bias"] = torch.zeros(3)
    save_file(tensors, tmp_path / "heads.safetensors")
    out = run("ald_heads", "--heads", str(tmp_path / "heads.safetensors"), "--classes", "2")
    numbers = read(out / "numbers.json")
    assert [head["name"] for head in numbers["heads"]] == ["a", "b"]
    for head in numbers["heads"]:
        check(head, 3)
        assert head["wins"]["asymmetric_laplace"] >= 2
        assert head["rejected"]["ad"] <= 1
        slope, spread = head["algorithm1"]["weights"]["slope_right"]
        assert slope == pytest.approx(4.159, abs=0.4)
        assert spread < 0.5
        survival = head["algorithm1"]["weights, log survival"]
        assert survival["slope_right"][0] == pytest.approx(1.0, abs=0.1)
    assert [row["class"] for row in numbers["leave_one_out"]] == [2, 2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--heads", "no-such-file.safetensors"), "no-such-file"),
        (("--model", "no_such_network"), "no_such_network"),
        (("--model", "resnet18"), "resnet18"),
        (("--classes", "10"), "--classes must be in 0 .. 9"),
    ],
)
def test_what_is_refused(
    run: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    options: tuple[str, ...],
    words: str,
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # where there are no weights
    with pytest.raises(SystemExit, match="2"):
        run("ald_heads", *options)
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
