"""The examples, quick: they run without files, and their numbers obey what must hold of them."""

import importlib.util
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from example_runs import ROOT, assert_png, read


def test_penultimate_mnist(run: Callable[..., Path]) -> None:
    out = run("penultimate_mnist")
    assert_png(out / "activations_on_the_circle.png", out / "training_stages.png")
    before, middle, after = read(out / "numbers.json")["stages"]
    assert [before["epoch"], middle["epoch"], after["epoch"]] == [0, 8, 24]
    # ten balanced classes: an untrained network knows none of them, two units suffice for most
    assert before["accuracy"] < 0.3
    assert after["accuracy"] > 0.7
    assert before["kappa"] < middle["kappa"]  # training gathers the directions
    for stage in (before, middle, after):
        assert -1.0 <= stage["mean_cosine"] <= 1.0
        assert 0.0 <= stage["ks_distance"] <= 1.0


def test_normalised_accuracy(run: Callable[..., Path]) -> None:
    out = run("normalised_accuracy")
    assert_png(out / "normalised_accuracy.png")
    networks = read(out / "numbers.json")["networks"]
    with_bias = [name for name, row in networks.items() if row["has_bias"]]
    assert len(with_bias) == 1
    for name, row in networks.items():
        after = row["after"]
        assert row["accuracy"] > 0.9  # digits are easy
        p, n = row["accuracy"], row["num_images"]
        assert row["standard_error"] == pytest.approx((p * (1 - p) / n) ** 0.5, rel=1e-4)
        for change in after.values():
            difference = change["accuracy"] - row["accuracy"]
            assert change["change"] == pytest.approx(difference, abs=1e-5)  # six digits each
            moved = abs(change["change"])  # d in {-1, 0, 1}: var d <= E|d|, and E|d| <= 1
            assert moved - moved**2 <= (change["standard_error"] ** 2 * n) * 1.01 + 1e-9
        if name not in with_bias:  # argmax does not see a positive factor of its row
            assert after["a"]["change"] == after["no b"]["change"] == 0.0
            assert after["w"] == after["a and w"] == after["w, no b"]


def test_class_relations(run: Callable[..., Path]) -> None:
    out = run("class_relations", "--draws", "200")
    assert_png(out / "relations_same_kappa.png", out / "relations_same_cosine.png")
    numbers = read(out / "numbers.json")
    same_kappa, same_cosine = numbers["readings"].values()
    assert {head["kappa"] for head in same_kappa.values()} == {85.0}
    for head in same_cosine.values():
        assert head["mean_cosine"] == pytest.approx(0.5, abs=1e-6)
    for head in (*same_kappa.values(), *same_cosine.values()):
        assert 0.1 < head["mean_own_prob"] < 1.0  # draws of a class are labelled so most often
        assert 0.0 < head["mean_row_entropy"] <= np.log(10.0) + 1e-6
    spread = [head["mean_cosine"] for head in same_kappa.values()]
    assert spread == sorted(spread, reverse=True)  # A_d(85) falls with d, and heads go up in d
    for pairs in numbers["correlations"].values():
        assert len(pairs) == 3
        assert all(-1.0 <= value <= 1.0 for value in pairs.values())


def test_law_table(run: Callable[..., Path]) -> None:
    out = run("law_table")
    table = read(out / "law_table.json")
    assert [entry["dim"] for entry in table.values()] == [2, 32]
    assert_png(out / "laws_0.png", out / "laws_1.png")
    for entry in table.values():
        assert_laws(entry["laws"], entry["dim"])
        assert_laws(entry["laws_centred"], entry["dim"])
        # an activation's share along a vector that all classes have in common is taken out
        assert entry["readings_centred"]["mean_length"] < 0.3


def assert_laws(laws: dict[str, list[float]], dim: int) -> None:
    log_area = np.log(2.0) + dim / 2 * np.log(np.pi) - math.lgamma(dim / 2)
    assert laws["uniform"][0] == pytest.approx(-log_area, rel=1e-5)  # six digits are stored
    assert laws["uniform"][1] == pytest.approx(0.0, abs=1e-9)
    assert laws["tied vMF"][2:] == [0.0, 0.0]
    for mean, error, gain, gain_error in laws.values():
        assert gain == pytest.approx(mean - laws["tied vMF"][0], rel=1e-4, abs=0.01)
        assert min(error, gain_error) >= 0.0
    # activations of a class lie on the side of its weight in a network that classifies
    assert laws["tied vMF"][0] > laws["uniform"][0]


def test_stored_law_table() -> None:
    table = read(ROOT / "probact" / "chapters" / "law_table.json")
    assert len(table) == 6
    for entry in table.values():
        assert_laws(entry["laws"], entry["dim"])
        assert_laws(entry["laws_centred"], entry["dim"])


def test_page_on_laws_shows_the_stored_table() -> None:
    table = read(ROOT / "probact" / "chapters" / "law_table.json")
    page = (ROOT / "docs" / "laws.md").read_text(encoding="utf-8")
    tables = [block for block in page.split("\n\n") if block.startswith("| law ")]
    kinds = [("laws", 0), ("laws", 2), ("laws_centred", 0), ("laws_centred", 2)]
    for block, (key, first) in zip(tables, kinds, strict=True):
        header, _, *rows = (re.split(r"(?<!\\)\|", line)[1:-1] for line in block.splitlines())
        assert [cell.strip() for cell in header[1:]] == list(table)
        for name, *cells in rows:
            law = name.strip().replace("\\|", "|")
            for entry, cell in zip(table.values(), cells, strict=True):
                shown = cell.strip()
                if law not in entry[key]:
                    assert shown == "left out"
                    continue
                stored = entry[key][law][first : first + 2]
                assert [float(n) for n in shown.split(" ± ")] == pytest.approx(stored, abs=0.0051)


def assert_spread(numbers: dict[str, float]) -> None:
    assert numbers["min"] <= numbers["mean"] <= numbers["max"]


def test_dpgmm_cnn(run: Callable[..., Path]) -> None:
    out = run("dpgmm_cnn", "--networks", "2")
    assert_png(out / "relative_entropy.png", out / "total_correlation.png")
    numbers = read(out / "numbers.json")
    (rows,) = numbers["architectures"].values()
    assert list(rows) == ["true labels", "dropout", "permuted labels", "augmentation"]
    for layers in rows.values():
        assert [n["num_kernels"] for n in layers] == [
            8,
            8,
            16,
            16,
            16,
        ]  # two networks of 4 4 8 8 8
        for n in layers:
            assert 0.0 < n["share"] <= 1.0
            for reading in ("relative_entropy", "total_correlation", "num_components"):
                assert_spread(n[reading])
            assert n["relative_entropy"]["max"] > 0.0
    # labels that say nothing cannot be told from unseen images
    assert rows["true labels"][0]["unseen"] > 0.3
    assert rows["permuted labels"][0]["unseen"] < 0.3
    files = sorted((out / "networks").iterdir())
    assert len(files) == 8
    times = [path.stat().st_mtime_ns for path in files]
    run("dpgmm_cnn", "--networks", "2")  # nothing is done twice
    assert read(out / "numbers.json") == numbers
    assert [path.stat().st_mtime_ns for path in files] == times
    with pytest.raises(SystemExit, match="of another setting"):
        run("dpgmm_cnn", "--networks", "2", "--seed", "1")


def test_page_on_representations_shows_the_stored_numbers() -> None:
    stored = read(ROOT / "docs" / "representations.json")
    page = (ROOT / "docs" / "representations.md").read_text(encoding="utf-8")

    def cells(head: str) -> list[list[str]]:
        (block,) = (b for b in page.split("\n\n") if b.startswith(f"| {head} "))
        return [[c.strip() for c in line.split("|")[1:-1]] for line in block.splitlines()]

    def words(numbers: dict[str, float]) -> str:
        return f"{numbers['mean']:.2f} ({numbers['min']:.2f} to {numbers['max']:.2f})"

    for architecture, treatments in stored.items():
        header, _, *rows = cells(f"{architecture}, layer")
        shown = {name: [row[3 + i] for row in rows] for i, name in enumerate(header[3:])}
        kept = {t: [words(n["relative_entropy"]) for n in r] for t, r in treatments.items()}
        assert shown == kept


def test_dpgmm_features(run: Callable[..., Path]) -> None:
    out = run("dpgmm_features")
    assert_png(out / "clusters_0.png")
    assert_png(out / "samples_0.png")
    (numbers,) = read(out / "numbers.json")["sources"].values()
    assert sum(numbers["sizes"]) == numbers["num_images"] == 448
    counts = np.array(numbers["classes"]["table"])
    assert counts.sum(1).tolist() == numbers["sizes"]
    # features of a classifier know its classes better than labels drawn at random
    assert numbers["classes"]["adjusted_rand_index"] > 0.2
    assert_spread(numbers["relative_entropy"])
    density = {name: mean for name, (mean, _) in numbers["log_density"].items()}
    assert density["DP-GMM"] > density["Gaussian"]  # ten classes are not one Gaussian


def test_dpgmm_latents(run: Callable[..., Path], tmp_path: Path) -> None:
    out = run("dpgmm_latents", "--new", "70")
    assert_png(out / "codes.png")
    numbers = read(out / "numbers.json")
    assert numbers["dim"] == 12
    density = {name: mean for name, (mean, _) in numbers["log_density"].items()}
    assert density["mixture"] > density["Gaussian"] > density["prior"]
    assert density["mixture"] > density["product of its marginals"]
    fresh = np.load(out / "new_codes.npz")
    assert fresh["codes"].shape == (70, 12)
    assert np.isfinite(fresh["log_density"]).all()


def test_dpgmm_latents_of_a_file(
    run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "codes.npz", mean=rng.standard_normal((90, 2)), spread=np.ones(3))
    options = ["--codes", str(tmp_path / "codes.npz"), "--new", "5", "--draws", "30"]
    out = run("dpgmm_latents", *options, "--name", "mean", quick=())
    assert np.load(out / "new_codes.npz")["codes"].shape == (5, 2)
    for extra, words in (([], "choose one"), (["--name", "spread"], "codes must be"),
                         (["--name", "means"], "no tensor 'means'")):  # fmt: skip
        with pytest.raises(SystemExit, match=words):
            run("dpgmm_latents", *options, *extra, quick=())
    with pytest.raises(SystemExit) as exit_:
        run("dpgmm_latents", quick=())
    assert exit_.value.code == 2
    assert "pass --codes" in capsys.readouterr().err


@pytest.mark.parametrize("root", [[], ["--root", "nowhere"]])
def test_dpgmm_cnn_without_data(
    run: Callable[..., Path], root: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        run("dpgmm_cnn", *root, quick=())
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--root" in line or "no image archive nowhere" in line


@pytest.mark.parametrize(
    "name",
    [
        "class_relations",
        "dpgmm_features",
        "law_table",
        "normalised_accuracy",
        "penultimate_mnist",
        "vae_latents",
    ],
)
def test_missing_data(
    name: str, run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for options in ([], ["--root", str(tmp_path / "nowhere")]):
        with pytest.raises(SystemExit) as exit_:
            run(name, *options, quick=())
        assert exit_.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert ("--root" in line) or ("nowhere lacks" in line)
    assert not (tmp_path / name).exists()  # refused before any work


def test_pretrained_resnet_shortcut(run: Callable[..., Path]) -> None:
    pretrained = importlib.import_module("pretrained")
    net = pretrained.CifarResNet(20).eval()
    # the published count of ResNet-20 with parameter-free shortcuts: 0.27 million (He et al. 2016)
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(0.27e6, rel=0.02)
    block = net.layer2[0]
    for parameter in block.parameters():
        torch.nn.init.zeros_(parameter)  # only the shortcut is left
    x = torch.rand(2, 16, 8, 8)
    y = block(x)  # (2, 32, 4, 4)
    assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert not y[:, :8].any()
    assert not y[:, 24:].any()


def test_complexity_variants(run: Callable[..., Path]) -> None:
    variants = read(run("complexity_variants") / "numbers.json")["variants"]
    exact, drawn = variants["exact"], variants["plain draws"]
    for reading in ("relative_entropy", "total_correlation"):
        assert exact[reading]["sd"] < 0.02
        assert exact[reading]["sd"] < 0.2 * drawn[reading]["sd"]
    # L_ii <= sqrt(S_ii): narrower marginals only raise the total correlation
    narrow = variants["Cholesky marginals"]["total_correlation"]["mean"]
    assert narrow > exact["total_correlation"]["mean"] + 0.2
    # the component not seen yet is far wider than the data
    counted = variants["weights n + alpha"]["relative_entropy"]["mean"]
    assert counted < exact["relative_entropy"]["mean"] - 0.2
