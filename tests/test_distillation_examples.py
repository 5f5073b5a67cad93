"""The examples of distillation, quick: their numbers obey what must hold of them."""

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from example_runs import EXAMPLES, ROOT, assert_png, read


def test_distil(run: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    methods = ["label", "KD", "CKD", "sharpened CKD"]
    options = ["--seeds", "2", "--epochs", "2", "--images", "100", "--draws", "200"]
    options += ["--shifts", "none", "photometric:0.8", "--methods", *methods]
    out = run("distil", *options)
    assert_png(out / "accuracies.png")
    numbers = read(out / "numbers.json")
    for seed in numbers["seeds"]:
        teacher = seed["teacher"]
        assert teacher["kappa"] == 85.0
        assert teacher["own_prob"] < teacher["own_prob_sharpened"]
        assert teacher["own_prob_sharpened"] == pytest.approx(0.91, abs=1e-3)  # 0.9 + 0.1 / 10
        for row in seed["students"]["none"].values():
            assert row["accuracy"] == row["unshifted"]
    assert list(numbers["accuracy"]) == methods
    first, second = (
        100.0
        * (s["students"]["none"]["CKD"]["accuracy"] - s["students"]["none"]["label"]["accuracy"])
        for s in numbers["seeds"]
    )
    gain = numbers["minus label"]["CKD"]["none"]
    assert gain["mean"] == pytest.approx((first + second) / 2, abs=1e-3)
    assert gain["error"] == pytest.approx(abs(first - second) / 2, abs=1e-3)
    times = {path: path.stat().st_mtime_ns for path in (out / "runs").iterdir()}
    assert len(times) == 2 + 2 * 2 * len(methods)
    run("distil", *options)  # nothing is done twice
    assert {path: path.stat().st_mtime_ns for path in (out / "runs").iterdir()} == times
    assert read(out / "numbers.json") == numbers
    with pytest.raises(SystemExit, match="of another setting"):
        run("distil", *options, "--concentration", "cosine:0.5")
    shown = capsys.readouterr().out
    assert "Printed in the paper" in shown
    assert "mean cosine" in shown


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--quick", "--shifts", "rotate:3"], "none, photometric:S or downsample:F, not rotate:3"),
        (["--quick", "--shifts", "downsample:1.5"], r"fraction must be in (0, 1], got 1.5"),
        (["--quick", "--seeds", "0"], "--seeds must be an integer of at least 1"),
        (["--root", "nowhere", "--data", "cifar100"], "CIFAR-100 is not in nowhere"),
        (["--data", "cifar100"], "pass --root"),
    ],
)
def test_distil_refuses(
    options: list[str], words: str, run: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        run("distil", *options, quick=())
    assert exit_.value.code == 2
    assert words in capsys.readouterr().err


def test_the_full_protocol_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    """One short epoch of the wide ResNets, on digits."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    distil = importlib.import_module("distil")
    options = ["--quick", "--full", "--device", "cpu", "--seed", "0"]
    parser = distil.options()
    for name in ("--quick", "--root", "--seed"):
        parser.add_argument(name, **({"action": "store_true"} if name == "--quick" else {}))
    plan = distil.planned(parser.parse_args(options))
    depths = [sum(isinstance(m, torch.nn.Conv2d) for m in make().modules()) for make in plan.nets]
    assert depths == [40, 16]
    assert plan.epochs == (240, 240)
    short = plan._replace(num_images=(64, 64), epochs=(1, 1), nets=(plan.nets[1],) * 2)
    net = distil.trained(short, 1, 0, "photometric:0.5")
    assert 0.0 <= distil.score(short, net, "none") <= 1.0


def test_distil_at_a_cosine(run: Callable[..., Path]) -> None:
    few = ["--seeds", "1", "--epochs", "1", "--images", "64", "--draws", "100", "--methods", "CKD"]
    out = run("distil", *few, "--shifts", "none", "--concentration", "cosine:0.5")
    (seed,) = read(out / "numbers.json")["seeds"]
    assert seed["teacher"]["mean_cosine"] == pytest.approx(0.5, abs=1e-6)


def test_distil_mnist_2d(run: Callable[..., Path]) -> None:
    out = run("distil_mnist_2d", "--seeds", "1", "--epochs", "2")
    assert_png(out / "circles.png")
    numbers = read(out / "numbers.json")
    assert numbers["table"]["teacher"]["shared_neighbours"]["mean"] == 1.0
    (seed,) = numbers["seeds"]
    assert list(seed) == ["teacher", "label", "KD", "CKD", "sharpened CKD"]
    for row in seed.values():
        assert row["shared_neighbours"] in [k / 10 for k in range(11)]
        assert -1.0 <= row["cosine_correlation"] <= 1.0 + 1e-6


def test_cyclic_neighbours(run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    module = importlib.import_module("distil_mnist_2d")
    angles = torch.tensor([0.1, 3.0, -2.0, 1.5, -0.5])  # around: 2 4 0 3 1
    weight = torch.stack([angles.cos(), angles.sin()], 1)
    expected = {frozenset(p) for p in ((2, 4), (4, 0), (0, 3), (3, 1), (1, 2))}
    assert module.neighbours(weight) == module.neighbours(weight * 3.0) == expected
    mirrored = weight * torch.tensor([1.0, -1.0])
    assert module.neighbours(mirrored) == expected  # an order has no sense of rotation
    assert module.cosine_correlation(weight, mirrored) == pytest.approx(1.0)


def test_distil_relations(run: Callable[..., Path]) -> None:
    out = run("distil_relations", "--draws", "500", "--epochs", "3")
    assert_png(out / "relations_same_kappa.png", out / "relations_same_cosine.png")
    numbers = read(out / "numbers.json")
    for setting in numbers["settings"].values():
        values = [pair["correlation"] for pair in setting["pairs"].values()]
        assert len(values) == 3
        assert setting["smallest"] == min(values) <= setting["mean"] <= max(values)
        for pair in setting["pairs"].values():
            assert 1 / 1001 - 1e-6 <= pair["pvalue"] <= 1.0


def test_missing_mnist(run: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        run("distil_mnist_2d", "--root", "nowhere", quick=())
    assert exit_.value.code == 2
    assert "nowhere lacks MNIST" in capsys.readouterr().err


def test_page_on_distillation_shows_the_stored_numbers() -> None:
    stored = read(ROOT / "docs" / "distillation.json")
    page = (ROOT / "docs" / "distillation.md").read_text(encoding="utf-8")
    blocks = [block.splitlines() for block in page.split("\n\n") if block.startswith("| ")]
    cells = [[[c.strip() for c in line.split("|")[1:-1]] for line in block] for block in blocks]
    tables = {rows[0][0]: rows for rows in cells}

    def shown(title: str) -> dict[str, dict[str, str]]:
        header, _, *rows = tables[title]
        return {row[0]: dict(zip(header[1:], row[1:], strict=True)) for row in rows}

    def words(spread: dict[str, float], sign: str = "") -> str:
        return f"{spread['mean']:{sign}.2f} ± {spread['error']:.2f}"

    for name in ("fashion_mnist", "mnist"):
        for reading in ("accuracy", "minus label", "minus label smoothing"):
            sign = "+" if "minus" in reading else ""
            found = {m: {c: words(s, sign) for c, s in row.items()}
                     for m, row in stored[name][reading].items()}  # fmt: skip
            assert shown(f"{name}, {reading}") == found
    assert shown("network") == {
        name: {key: words(s) for key, s in row.items()}
        for name, row in stored["order"]["table"].items()
    }
    for name in ("fashion_mnist", "mnist"):
        pairs = stored[f"relations, {name}"]["settings"]["kappa = 85"]["pairs"]
        assert shown(f"{name}, teachers") == {
            pair: {"r": f"{row['correlation']:.2f}", "p": f"{row['pvalue']:.3f}",
                   "r of outputs": f"{row['outputs']:.2f}"}
            for pair, row in pairs.items()
        }  # fmt: skip
