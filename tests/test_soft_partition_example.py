"""The example of soft partitions, quick: its numbers hang together, its distances are exact."""

import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from example_runs import EXAMPLES, assert_png, read
from torch import nn

from probact.nn.beta.softening import soften


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    spec = importlib.util.spec_from_file_location("soft", EXAMPLES / "soft_partition.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_soft_partition(run: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    out = run("soft_partition")
    assert_png(*(out / f"moons_{name}.png" for name in ("partition", "beta", "distance")))
    numbers = read(out / "numbers.json")["data"]["moons"]
    assert numbers["num_inputs"] == 300
    assert numbers["accuracy"] > 0.9
    rows = numbers["betas"]
    betas = [row["beta"] for row in rows]
    assert betas == sorted(betas)
    first = [row["entropy_per_unit"][0] for row in rows]
    assert first == sorted(first, reverse=True)  # the same scores, ever sharper
    assert all(0.0 < e < math.log(2.0) for row in rows for e in row["entropy_per_unit"])
    for row in rows:
        by_layer, either = (
            row["inputs_with_an_unsure_unit"][:2],
            row["inputs_with_an_unsure_unit"][2],
        )
        assert max(by_layer) <= either <= sum(by_layer) + 1e-9
        assert row["unsure_units"] <= either
        summed = 8 * sum(row["entropy_per_unit"])
        assert row["entropy_of_all_units"] == pytest.approx(summed, rel=1e-4)
    assert rows[-1]["same_answer"] > 0.98
    assert rows[-1]["rank_correlation_with_distance"] < -0.5
    assert "| beta" in capsys.readouterr().out


def test_distances_are_exact(example: ModuleType) -> None:
    """No unit switches within the distance in 400 directions; one does just beyond it in one."""
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(2, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2))
    net, x = net.double(), torch.randn(20, 2, dtype=torch.float64)
    code = lambda v: torch.cat(example.hard_pass(net, v).units, -1) > 0.0  # noqa: E731
    nearest = torch.cat(example.hard_pass(net, x).distances, 1).amin(1)
    angle = torch.linspace(0.0, 2.0 * math.pi, 401, dtype=torch.float64)[:-1]
    around = torch.stack([angle.cos(), angle.sin()], 1)
    for point, distance in zip(x, nearest, strict=True):
        inside = code(point + 0.999 * distance * around)
        assert (inside == code(point[None])).all()
        outside = code(point + 1.001 * distance * around)
        if not (outside != code(point[None])).any():  # between two of the directions
            fine = torch.linspace(0.0, 2.0 * math.pi, 200_001, dtype=torch.float64)
            ring = point + 1.001 * distance * torch.stack([fine.cos(), fine.sin()], 1)
            assert (code(ring) != code(point[None])).any()


def test_soft_pass_is_the_softened_network(example: ModuleType) -> None:
    """By the mixtures, by the swish of each layer, and by `soften`."""
    net = nn.Sequential(nn.Linear(2, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2))
    net, x = net.double(), torch.randn(20, 2, dtype=torch.float64)
    swish = lambda u: nn.functional.silu(4.0 * u) / 4.0  # noqa: E731, beta 0.8
    expected = net[4](swish(net[2](swish(net[0](x)))))
    logits = example.soft_pass(net, x, 0.8).logits
    torch.testing.assert_close(logits, expected)
    with torch.no_grad():
        torch.testing.assert_close(soften(net, 0.8)(x), logits)
