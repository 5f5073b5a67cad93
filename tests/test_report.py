"""The main job from the command line: one run of the demo, and what reads it again."""

import json
import math
import re
import shutil

import arviz as az
import numpy as np
import pytest

from probact.cli import main
from probact.inference import from_netcdf


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    assert main(["demo", "--out", str(folder), "--seed", "1"]) == 0
    return folder


def test_page_is_self_contained(run):
    page = (run / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") >= 7
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "<script" not in page


def test_figures_are_written_twice(run):
    names = {path.stem for path in (run / "figures").glob("*.png")}
    assert names == {path.stem for path in (run / "figures").glob("*.svg")}
    assert {"activations_on_the_circle", "cosines", "law_comparison", "samples"} <= names


def test_numbers_hang_together(run):
    numbers = json.loads((run / "numbers.json").read_text())["Penultimate activations"]
    for net in ("D=2", "D=32"):
        assert numbers["accuracy"][net] > 0.8  # ten classes; both nets learn
        scores = numbers["held_out"][net]
        assert scores["tied vMF"]["gain"] == 0.0
        # uniform on the sphere: minus the log of its area, without error
        assert scores["uniform"]["standard_error"] < 1e-12
        assert scores["tied vMF"]["mean"] > scores["uniform"]["mean"]
    assert scores["uniform"]["mean"] == pytest.approx(8.890446, abs=1e-6)


def test_numbers_of_the_clusters(run):
    numbers = json.loads((run / "numbers.json").read_text())["Clusters of activations"]
    leaves, front = [], [numbers]
    while front:
        value = front.pop()
        front += value.values() if isinstance(value, dict) else []
        leaves += [] if isinstance(value, dict) else [value]
    assert len(leaves) >= 20
    assert all(leaf is not None and math.isfinite(leaf) for leaf in leaves)
    assert 1 < numbers["num_components_mean"] < numbers["points"]
    assert numbers["alpha_mean"] > 0
    assert 0 < numbers["rand_index_with_classes"] <= 1
    for name in ("relative_entropy", "total_correlation"):
        reading = numbers[name]
        assert reading["minimum"] <= reading["mean"] <= reading["maximum"]
        assert reading["mean"] > 0
    scores = numbers["held_out"]
    assert scores["Dirichlet-process mixture"]["mean"] > scores["one Gaussian"]["mean"]


def test_partitions_open_with_arviz(run):
    numbers = json.loads((run / "numbers.json").read_text())["Clusters of activations"]
    mixture = from_netcdf(run / "mixture.nc")
    z = mixture.posterior["z"]
    assert z.dims == ("chain", "draw", "obs")
    assert z.sizes["obs"] == numbers["points"]
    clusters = mixture.posterior["num_components"]
    np.testing.assert_array_equal(z.max("obs") + 1, clusters)
    assert float(clusters.mean()) == pytest.approx(numbers["num_components_mean"])
    assert mixture.observed_data["x"].shape == (numbers["points"], numbers["axes"])
    with np.load(run / "samples.npz", allow_pickle=False) as arrays:
        partition, drawn = arrays["mixture_partition"], arrays["mixture_samples"]
    assert partition.shape == (numbers["points"],)
    assert partition.max() + 1 == numbers["clusters_of_the_point_estimate"]
    assert np.isfinite(drawn).all()


def test_words_on_the_clusters(run):
    chapters = json.loads((run / "run.json").read_text())["chapters"]
    (chapter,) = (c for c in chapters if c["title"] == "Clusters of activations")
    words = " ".join(block["words"] for block in chapter["blocks"] if block["kind"] == "text")
    assert re.search(r"The draws have \d+ to \d+ clusters", words)
    assert "nan" not in words
    assert "Clusters of activations" in (run / "report.html").read_text(encoding="utf-8")


def test_images_from_codes(run):
    numbers = json.loads((run / "numbers.json").read_text())["Images from codes on a sphere"]
    own = numbers["marginal"]["value"]
    # the label is worth between nothing and its entropy, on average over p(x, y) of the model
    assert own <= numbers["given_label"]["value"] <= own + math.log(10.0)
    pixels = 64 * math.log(2.0)
    assert -pixels < own < 0.0  # better than a coin a pixel
    gain = own - numbers["uniform"]["value"]
    assert numbers["gain"]["value"] == pytest.approx(gain)
    assert numbers["gain"]["standard_error"] < numbers["marginal"]["standard_error"]  # paired
    assert numbers["integration_error"] < 0.1 * numbers["marginal"]["standard_error"]
    assert 0.5 < numbers["bayes_accuracy"] <= 1.0  # ten classes
    assert 0.2 < numbers["sampled_class"] <= 1.0
    floor, *samples = numbers["qualities"].values()
    for quality in samples:
        assert quality["frechet"] > floor["frechet"]
        assert 0.0 <= quality["recall"] <= floor["recall"]
    with np.load(run / "samples.npz", allow_pickle=False) as arrays:
        images = arrays["sampled_images"]
    assert images.shape == (10, 8, 1, 8, 8)
    assert 0.0 <= images.min() < images.max() <= 1.0
    assert len(np.unique(images.reshape(80, -1), axis=0)) == 80
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Errors are those of the choice of images" in page
    assert {"sampled_images", "geodesics"} <= {p.stem for p in (run / "figures").glob("*.png")}


def test_regions_and_softened_networks(run):
    numbers = json.loads((run / "numbers.json").read_text())["Regions and how sure they are"]
    assert len(numbers["layers"]) == 4
    for layer in numbers["layers"].values():
        assert 0.0 < layer["sharp_entropy"] < layer["entropy"] < math.log(2.0)
        assert 0.0 < layer["prior_entropy"] < math.log(2.0)
        assert layer["smallest_gauge"] > 0.0  # of a ReLU
        assert 0.0 < layer["active"] < 1.0
        assert 0 <= layer["dead"] < layer["units"]
    betas = numbers["betas"]
    penultimate = json.loads((run / "numbers.json").read_text())["Penultimate activations"]
    for name, net in numbers["softened"].items():
        assert net["hard"] == pytest.approx(penultimate["accuracy"][name.replace(" ", "")])
        assert len(net["accuracy"]) == len(betas)
        assert net["same_class"][-1] > 0.98  # beta = .99
        assert net["same_class"][0] < net["same_class"][-1]
        for own, same in zip(net["accuracy"], net["same_class"], strict=True):
            assert abs(own - net["hard"]) <= 1.0 - same + 1e-12
    with np.load(run / "samples.npz", allow_pickle=False) as arrays:
        assert arrays["region_entropy_1"].shape == (6, 8, 8)
    pictures = {path.stem for path in (run / "figures").glob("*.png")}
    assert {"region_prior", "region_entropy", "softened_accuracy"} <= pictures


def test_weights_of_the_head(run):
    numbers = json.loads((run / "numbers.json").read_text())["The head's weights"]
    assert (numbers["classes"], numbers["features"]) == (10, 256)
    assert numbers["accuracy"] > 0.9
    assert sum(numbers["best_family"].values()) == 10
    assert min(numbers["nats_behind"].values()) >= 0.0
    assert 0 <= numbers["rejected"] <= 10
    with np.load(run / "samples.npz", allow_pickle=False) as arrays:
        weight, maps = arrays["head_weight"], arrays["node_maps"]
    assert weight.shape == (10, 256)
    assert maps.shape == (6, len(numbers["nodes"]), 4, 4)
    assert numbers["nodes"][:2] == ["", "+"]
    np.testing.assert_allclose(maps.max((2, 3)), 1.0, atol=1e-5)
    whole, *parts = numbers["kept"]
    assert whole["smallest"] == 256
    for part in parts:
        assert part["accuracy"] <= whole["accuracy"] + 0.02  # a part cannot do much better
        assert part["smallest"] <= part["mean"] <= part["largest"] < 256
    posterior = from_netcdf(run / "weights.nc")
    for side in ("right", "left"):
        fitted = np.array(numbers[f"rate_{side}"])
        drawn = posterior.posterior[f"rate_{side}"].mean(("chain", "draw"))
        np.testing.assert_allclose(drawn, fitted, rtol=0.5)
    assert numbers["largest_r_hat"] < 1.2
    pictures = {path.stem for path in (run / "figures").glob("*.png")}
    assert {"head_weights", "head_rates", "node_maps"} <= pictures


def test_posterior_opens_with_arviz(run):
    posterior = from_netcdf(run / "posterior.nc")
    assert posterior.posterior["concentration"].dims == ("chain", "draw", "class")
    summary = az.summary(posterior, var_names=["concentration"])
    assert len(summary) == 10
    assert (summary["r_hat"] < 1.05).all()


def test_samples_are_on_the_sphere(run):
    with np.load(run / "samples.npz", allow_pickle=False) as arrays:
        drawn, relations = arrays["sampled_activations"], arrays["class_relations"]
    assert drawn.shape == (10, 100, 32)
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=-1), 1.0, atol=1e-6)
    np.testing.assert_allclose(relations.sum(1), 1.0, atol=1e-6)


def test_info_and_report_read_the_run(run, capsys):
    assert main(["info", str(run)]) == 0
    said = capsys.readouterr().out
    assert "digits, seed 1" in said
    assert "concentration[9]" in said
    (run / "report.html").unlink()
    assert main(["report", str(run)]) == 0
    assert (run / "report.html").is_file()


def test_check_names_versions(capsys):
    assert main(["check"]) == 0
    assert {"torch", "arviz", "cuda"} <= set(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["demo", "--dataset", "digit"], 3, "digits"),
        (["demo", "--dataset", "mnist"], 3, "root"),
        (["demo", "--dataset", "mnist", "--root", "no-such-folder"], 3, "no-such-folder"),
        (["demo", "--device", "abacus"], 3, "abacus"),
        (["demo", "--threads", "0"], 3, "--threads"),
        (["demo", "--seed", "-1"], 3, "seed"),
        (["demo", "--seed", "99999999999999999999999"], 3, "seed"),
        (["demo", "--out", "/dev/null/x"], 3, "/dev/null"),
        (["info", "no-such-run"], 3, "no-such-run"),
        (["report", "no-such-run"], 3, "no-such-run"),
    ],
)
def test_bad_input_is_one_line(arguments, code, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == code
    said = capsys.readouterr().err
    assert said.startswith("probact: ")
    assert words in said
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())  # nothing was written


def test_output_that_is_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "taken").write_text("")
    assert main(["demo", "--out", str(tmp_path / "taken")]) == 3
    assert "is a file" in capsys.readouterr().err


@pytest.mark.parametrize("text", ['{"dataset": ', "{}", "[1]"])
@pytest.mark.parametrize("command", ["info", "report"])
def test_damaged_run_has_its_own_code(command, text, tmp_path, capsys):
    (tmp_path / "run.json").write_text(text)
    assert main([command, str(tmp_path)]) == 4
    assert "damaged" in capsys.readouterr().err


def test_damaged_posterior_has_its_own_code(run, tmp_path, capsys):
    shutil.copy(run / "run.json", tmp_path)
    whole = (run / "posterior.nc").read_bytes()
    (tmp_path / "posterior.nc").write_bytes(whole[: len(whole) // 2])
    assert main(["info", str(tmp_path)]) == 4
    assert "posterior.nc is damaged" in capsys.readouterr().err


def test_usage_errors_exit_with_2():
    with pytest.raises(SystemExit, match="2"):
        main(["demo", "--no-such-option"])
