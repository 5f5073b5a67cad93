"""The example on class frequency, quick, and the table of its page against the stored numbers."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from example_runs import ROOT, assert_png, read

RESPONSES = ["log_rate_right", "log_rate_left", "log_lambda", "log_kappa", "log_norm"]


def test_quick_run(run: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    out = run("class_frequency", "--decays", "5e-3")
    assert_png(out / "class_frequency.png")
    numbers = read(out / "numbers.json")
    assert [s["weight_decay"] for s in numbers["settings"]] == [5e-3]
    for setting in numbers["settings"]:
        two = setting["two_stage"]
        assert list(two) == RESPONSES
        # in the tail of frequent classes weights grow, by either measure
        assert two["log_lambda"]["high"] < 0 < two["log_norm"]["low"]
        for name in RESPONSES[:4]:
            gibbs = setting["gibbs"][name]
            width = (two[name]["se"] ** 2 + gibbs["posterior_sd"] ** 2) ** 0.5
            assert abs(gibbs["slope"] - two[name]["slope"]) < 3 * width
        pair = [two[name]["slope"] for name in ("log_rate_right", "log_rate_left")]
        assert two["log_lambda"]["slope"] == pytest.approx(sum(pair) / 2, abs=0.02)
        assert len(setting["points"]["count"]) == 20
    text = capsys.readouterr().out
    assert text.count("log norm") == 1


def test_missing_data(run: Callable[..., Path], tmp_path: Path) -> None:
    for dataset in ("mnist", "cifar10"):
        with pytest.raises(SystemExit) as stop:
            run("class_frequency", "--root", str(tmp_path), "--dataset", dataset, quick=())
        assert stop.value.code == 2


def test_page_shows_the_stored_numbers() -> None:
    stored = read(ROOT / "docs" / "class_frequency.json")
    page = (ROOT / "docs" / "class_frequency.md").read_text(encoding="utf-8")
    for name, settings in stored.items():
        for setting in settings:
            head = re.escape(f"{name}, weight decay {setting['weight_decay']:g}")
            (block,) = re.findall(rf"^\| {head} .*?(?=\n\n)", page, re.DOTALL | re.MULTILINE)
            rows = [[c.strip() for c in line.split("|")[1:-1]] for line in block.splitlines()]
            assert len(rows) == 2 + len(RESPONSES)
            for response, (_, slope, r_squared, p, gibbs) in zip(RESPONSES, rows[2:], strict=True):
                two = setting["two_stage"][response]
                assert slope == f"{two['slope']:.3f} ± {two['se']:.3f}"
                assert r_squared == f"{two['r_squared']:.2f}"
                assert p == f"{two['p_value']:.4f}"
                other = setting["gibbs"].get(response)
                assert gibbs == (
                    "" if other is None else f"{other['slope']:.3f} ± {other['se']:.3f}"
                )
