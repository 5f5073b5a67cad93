"""The example of the orthogonal filters, quick: runs, tables, and what is not done twice."""

import json
import re
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest


def lines(out: Path) -> list[str]:
    return (out / "runs.jsonl").read_text("utf-8").splitlines()


def test_orthogonal_cnn(run: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    out = run("orthogonal_cnn", "--seeds", "1")
    records = [json.loads(line) for line in lines(out)]
    layers = [("relu", False), ("relu", True), ("learned swish", False)]
    methods = ("baseline", "penalty", "qr")
    found = [(r["activation"], r["batch_norm"], r["method"]) for r in records]
    assert found == [(*layer, method) for layer, method in product(layers, methods)]
    for r in records:
        assert r["score"] == pytest.approx(np.mean(r["accuracies"]))
        assert not r["diverged"]
        assert r["dataset"] == "digits"
        cosine = r["mean_squared_cosine"]
        assert cosine < 1e-12 if r["method"] == "qr" else cosine > 1e-4
    assert max(r["score"] for r in records) > 0.3  # ten classes
    table = (out / "table.md").read_text("utf-8")
    assert capsys.readouterr().out.endswith(table)
    by_name = {(r["activation"], r["batch_norm"], r["method"]): 100 * r["score"] for r in records}
    gap = by_name["relu", True, "qr"] - by_name["relu", True, "penalty"]
    row = next(x for x in reversed(table.splitlines()) if re.match(r"\| relu +\| yes", x))
    assert f"| {gap:+.2f} (1 run)" in row
    cut = lines(out)
    (out / "runs.jsonl").write_text("\n".join(cut[:4] + cut[5:]) + "\n", encoding="utf-8")
    run("orthogonal_cnn", "--seeds", "1")  # only what is missing, and that to the same numbers
    again = lines(out)
    assert again[:8] == cut[:4] + cut[5:]
    assert len(again) == 9
    repeated = json.loads(again[8])
    assert repeated["accuracies"] == records[4]["accuracies"]
    assert capsys.readouterr().out.endswith(table)


def test_printed_numbers_and_errors(run: Callable[..., Path]) -> None:
    import orthogonal_tables  # of the examples' folder, which `run` put on the path

    records = [
        {"method": m, "activation": "relu", "batch_norm": False, "rate": 5e-4, "seed": s,
         "score": 0.5 + 0.01 * s + (0.02 * (s == 2) if m == "qr" else 0.0),
         "mean_squared_cosine": 0.1, "diverged": s == 0 and m == "qr"}
        for m in ("baseline", "qr") for s in range(3)
    ]  # fmt: skip
    text = orthogonal_tables.tables(records, "cifar10")
    assert "80.2 ± 0.2" in text
    assert "51.00 ± 0.58" in text  # 50, 51, 52: standard deviation 1, over the root of 3
    assert "+0.67 ± 0.67" in text  # 0, 0, 2
    assert "1 runs ended in a loss that is not finite" in text
    assert "80.2" not in orthogonal_tables.tables(records, "mnist")


def test_missing_data(
    run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for dataset in ("cifar10", "mnist"):
        with pytest.raises(SystemExit) as stop:
            run("orthogonal_cnn", "--root", str(tmp_path), "--dataset", dataset, quick=())
        assert stop.value.code == 2
        assert str(tmp_path) in capsys.readouterr().err
