"""The example of Gaussian VAEs, quick, and the page that shows its full run."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from example_runs import EXAMPLES, ROOT, assert_png, read
from torch import Tensor

from probact.models import GaussianVAE

SIDE, NUM_TRAIN, NUM_UNSEEN, COUNT = 8, 150, 301, 100


def assert_spread(numbers: dict[str, float]) -> None:
    assert numbers["min"] <= numbers["mean"] <= numbers["max"]


def test_vae_latents(run: Callable[..., Path]) -> None:
    out = run("vae_latents")
    numbers = read(out / "numbers.json")
    assert_png(out / "complexity.png", out / "samples_kl_beta100_seed0.png")
    assert numbers["images"] == {"trained": 899, "fitted": 449, "scored": 449}
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


class Pixels:
    """A judge whose features are pixels, and that keeps the images it was shown."""

    def __init__(self) -> None:
        self.shown: list[Tensor] = []

    def features(self, images: Tensor) -> Tensor:
        self.shown.append(images)
        return images.double().flatten(1)[:, :6]


class Measured:
    """What one untrained network gives with these unseen images; no example is run for it."""

    def __init__(self, example: Any, unseen: Tensor, out: Path) -> None:
        networks = importlib.import_module("vae_networks")
        judge, train = Pixels(), images(NUM_TRAIN, seed=0)
        plan = networks.Experiment(
            train, unseen, judge, betas=(1.0,), seeds=(0,), latent_dim=3, encoder="conv-small",
            epochs=1, batch_size=64, device="cpu",
        )  # fmt: skip
        torch.manual_seed(0)
        vae = GaussianVAE(3, image_shape=(1, SIDE, SIDE), encoder="conv-small").eval()
        run = example.Run(draws=4, tune=4, chains=1, kept=2, num_samples=200, moves=1)
        self.measure = example.Measurer(plan, run, COUNT, out)
        before = len(judge.shown)
        self.numbers = self.measure(networks.Setting("kl", 1.0, 0), vae)
        self.reference, *drawn = judge.shown[before:]
        self.drawn = dict(zip(self.numbers["quality"], drawn, strict=True))


def images(num_images: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((num_images, 1, SIDE, SIDE), generator=generator)


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module("vae_latents")


def test_halves_of_the_unseen_images_are_disjoint_and_fixed(example: Any) -> None:
    fitting, scoring = example.split(NUM_UNSEEN)
    assert (len(fitting), len(scoring)) == (150, 151)
    assert torch.equal(torch.cat([fitting, scoring]).sort().values, torch.arange(NUM_UNSEEN))
    assert torch.equal(example.split(NUM_UNSEEN)[0], fitting)
    assert fitting.max() > 250  # at random, not by position
    assert scoring.min() < 50


def test_no_sampler_has_seen_what_it_is_scored_by(example: Any, tmp_path: Path) -> None:
    unseen = images(NUM_UNSEEN, seed=1)
    fitting, scoring = example.split(NUM_UNSEEN)
    new = images(NUM_UNSEEN, seed=2).sqrt()  # brighter
    first, other_scoring, other_fitting = (
        Measured(example, x, tmp_path)
        for x in (unseen, unseen.index_copy(0, scoring, new[scoring]),
                  unseen.index_copy(0, fitting, new[fitting]))
    )  # fmt: skip
    assert list(first.drawn) == ["decoded codes", *example.LAWS.values()]
    for title, x in first.drawn.items():
        assert len(x) == COUNT
        assert torch.equal(other_scoring.drawn[title], x)
        assert torch.equal(other_fitting.drawn[title], x) == (title == "prior")
        q, p = (m.numbers["quality"][title] for m in (first, other_scoring))
        for distance in ("frechet", "frechet_to_decoded_codes"):
            assert q[distance] != p[distance]
    for reading in ("relative_entropy", "total_correlation", "linear_relative_entropy"):
        assert other_scoring.numbers[reading] == first.numbers[reading]
        assert other_fitting.numbers[reading] != first.numbers[reading]
    assert torch.equal(other_fitting.reference, first.reference)
    assert not torch.equal(other_scoring.reference, first.reference)


def test_copies_of_either_set_of_seen_images_are_found(example: Any, tmp_path: Path) -> None:
    unseen = images(NUM_UNSEEN, seed=1)
    fitting, scoring = example.split(NUM_UNSEEN)
    measure = Measured(example, unseen, tmp_path).measure
    x = Pixels()
    reference = x.features(unseen[scoring])
    for seen in (images(NUM_TRAIN, seed=0), unseen[fitting]):
        found = measure.quality(x.features(seen[:COUNT]), reference)
        assert found["near_share"] == 1.0
        assert found["copies_z"] < -10.0
    fresh = measure.quality(x.features(images(COUNT, seed=3)), reference)
    assert fresh["near_p_value"] > 1e-4
    assert abs(fresh["copies_z"]) < 4.0


def test_page_on_latents_shows_the_stored_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    vae_claims = importlib.import_module("vae_claims")
    stored = read(ROOT / "docs" / "latents.json")
    page = (ROOT / "docs" / "latents.md").read_text(encoding="utf-8")
    for table in vae_claims.tables(stored["networks"]):
        assert table in page
    assert len(stored["networks"]) == 20
    assert stored["images"] == {"trained": 5000, "fitted": 2500, "scored": 2500}
    claims = vae_claims.claims(stored["networks"], stored["floors"])
    held = {name: sum(row["holds"] for row in c["networks"]) for name, c in claims.items()}
    assert held == {  # what the page says in words
        "collapse": 4, "structure": 2, "marginals": 7, "mixture": 8,
        "mixture over one Gaussian": 0, "marginals, to decoded codes": 14,
        "mixture, to decoded codes": 10, "mixture over one Gaussian, to decoded codes": 0,
    }  # fmt: skip
