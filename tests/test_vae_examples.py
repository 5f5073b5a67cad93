"""The example of Gaussian VAEs, quick, and the page that shows its full run."""

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest
from example_runs import EXAMPLES, ROOT, assert_png, read


def assert_spread(numbers: dict[str, float]) -> None:
    assert numbers["min"] <= numbers["mean"] <= numbers["max"]


def test_vae_latents(run: Callable[..., Path]) -> None:
    out = run("vae_latents")
    numbers = read(out / "numbers.json")
    assert_png(out / "complexity.png", out / "samples_kl_beta100_seed0.png")
    settings = [(n["regulariser"], n["beta"]) for n in numbers["networks"]]
    assert settings == [("kl", 0.1), ("mmd", 0.1), ("kl", 100.0), ("mmd", 100.0)]
    floor = numbers["floors"]["relative_entropy"]["mean"]
    for n in numbers["networks"]:
        for reading in ("relative_entropy", "total_correlation", "num_components"):
            assert_spread(n[reading])
        for quality in n["quality"].values():
            assert quality["frechet"][0] > 0.0
            assert 0.0 <= quality["precision"][0] <= 1.0
            assert 0.0 <= quality["near_share"] <= 1.0
        # the mixture sees what one Gaussian sees, the correlations
        assert 0.0 <= n["linear_relative_entropy"] < n["relative_entropy"]["max"] + 0.1
    by_kind = dict(zip(settings, numbers["networks"], strict=True))
    # 100 nats for a nat: a code is not worth its price, and the law of codes is the prior
    assert by_kind["kl", 100.0]["relative_entropy"]["mean"] < floor + 0.1
    assert by_kind["kl", 100.0]["divergence_of_a_code"] < 1.0
    assert by_kind["kl", 0.1]["squared_error"] < by_kind["kl", 100.0]["squared_error"]
    for claim in numbers["claims"].values():
        assert claim["holds"] == all(row["holds"] for row in claim["networks"])
    files = sorted((out / "networks").glob("*/fit/*"))
    times = [path.stat().st_mtime_ns for path in files]
    run("vae_latents")  # nothing is done twice
    assert read(out / "numbers.json") == numbers
    assert [path.stat().st_mtime_ns for path in files] == times
    note = out / "networks" / "kl_beta0.1_seed0" / "setting.json"
    note.write_text(note.read_text(encoding="utf-8").replace('"epochs": ', '"epochs": 1'))
    with pytest.raises(SystemExit, match="of another setting"):
        run("vae_latents")


def test_page_on_latents_shows_the_stored_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    vae_claims = importlib.import_module("vae_claims")
    stored = read(ROOT / "docs" / "latents.json")
    page = (ROOT / "docs" / "latents.md").read_text(encoding="utf-8")
    for table in vae_claims.tables(stored["networks"]):
        assert table in page
    assert len(stored["networks"]) == 20
    claims = vae_claims.claims(stored["networks"], stored["floors"])
    held = {name: sum(row["holds"] for row in c["networks"]) for name, c in claims.items()}
    assert held == {  # what the page says in words
        "collapse": 4, "structure": 2, "marginals": 7, "mixture": 8,
        "mixture over one Gaussian": 0, "marginals, to decoded codes": 14,
        "mixture, to decoded codes": 10, "mixture over one Gaussian, to decoded codes": 0,
    }  # fmt: skip
