"""Saved fits: what comes back, what a crash leaves, what is refused."""

import json
import sys
import types
from functools import partial

import numpy as np
import pytest
import torch
from pyro.infer.autoguide import AutoDelta, AutoMultivariateNormal, AutoNormal
from pyro_programs import Autoencoder, ClassRates, NormalMean

import probact.inference as pi
from probact.inference import fit_files

quick_fit = partial(pi.fit, epochs=3, device="cpu", progress=False)


@pytest.mark.parametrize("guide", [None, AutoDelta, AutoMultivariateNormal])
def test_a_saved_fit_opens_again(times, tmp_path, guide):
    fit = quick_fit(ClassRates(), times, guide=guide)
    for _ in range(2):  # the second time over the first
        fit.save(tmp_path / "fit")
    assert sorted(p.suffix for p in (tmp_path / "fit").iterdir()) == [".json", ".safetensors"]
    state = torch.random.get_rng_state()
    back = pi.load(tmp_path / "fit", model=ClassRates(), device="cpu")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert type(back.guide) is type(fit.guide)
    assert torch.equal(back.losses, fit.losses)
    for k, v in fit.guide.state_dict().items():
        assert torch.equal(back.guide.state_dict()[k], v)
    assert np.array_equal(back.to_arviz(5).posterior["rate"], fit.to_arviz(5).posterior["rate"])


def test_another_fit_replaces_a_saved_one(x, tmp_path):
    quick_fit(NormalMean(), x).save(tmp_path)
    second = quick_fit(NormalMean(), x, seed=1)
    second.save(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    assert torch.equal(pi.load(tmp_path, model=NormalMean()).losses, second.losses)


def test_a_model_of_probact_with_a_config_is_built_again(tmp_path, monkeypatch):
    module = types.ModuleType("probact.models.testing_autoencoder")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(Autoencoder, "__module__", module.__name__)
    module.Autoencoder = Autoencoder
    fit = quick_fit(Autoencoder(dim=4), torch.randn(8, 4))
    fit.save(tmp_path)
    back = pi.load(tmp_path, device="cpu")
    assert back.model.config == {"dim": 4}
    assert torch.equal(back.model.encoder.weight, fit.model.encoder.weight)
    assert np.array_equal(back.to_arviz(5).posterior["z"], fit.to_arviz(5).posterior["z"])


def test_a_foreign_class_or_guide_must_be_given(x, tmp_path):
    quick_fit(NormalMean(), x, guide=lambda m: AutoNormal(m, init_scale=0.5)).save(tmp_path)
    with pytest.raises(
        ValueError, match=r"model= is needed to load a fit of pyro_programs:Normal"
    ):
        pi.load(tmp_path)
    with pytest.raises(ValueError, match=r"needs a guide .custom.: pass guide= as to fit"):
        pi.load(tmp_path, model=NormalMean())
    with pytest.raises(ValueError, match="model must be a pyro_programs:NormalMean, got"):
        pi.load(tmp_path, model=ClassRates())
    assert pi.load(tmp_path, model=NormalMean(), guide=AutoNormal).recipe == "custom"
    with pytest.raises(ValueError, match="guide and the given one differ in parameters"):
        pi.load(tmp_path, model=NormalMean(), guide=AutoDelta)


def test_another_dtype_is_not_converted(tmp_path):
    quick_fit(Autoencoder(), torch.randn(8, 3)).save(tmp_path)
    with pytest.raises(
        ValueError, match=r"was saved as torch.float32 .*, the given one is torch.fl"
    ):
        pi.load(tmp_path, model=Autoencoder().double())
    with pytest.raises(ValueError, match=r"was saved as torch.float32 \(2, 3\)"):
        pi.load(tmp_path, model=Autoencoder(dim=4))


@pytest.fixture
def saved(x, tmp_path):
    """A saved fit and its config."""
    quick_fit(NormalMean(), x).save(tmp_path)
    return tmp_path, json.loads((tmp_path / "config.json").read_text())


def test_damaged_files_are_refused(saved):
    room, config = saved
    tensors = room / config["file"]
    data = bytearray(tensors.read_bytes())
    data[-1] ^= 1
    tensors.write_bytes(data)
    with pytest.raises(ValueError, match="is damaged: its checksum differs"):
        pi.load(room, model=NormalMean())
    tensors.unlink()
    with pytest.raises(ValueError, match="is not a file"):
        pi.load(room, model=NormalMean())


def test_a_fit_of_the_first_version_opens(saved):
    room, config = saved
    config["version"] = 1
    del config["best_epoch"]
    (room / "config.json").write_text(json.dumps(config))
    back = pi.load(room, model=NormalMean())
    assert (back.validation_losses, back.best_epoch) == (None, None)
    assert len(back.losses) == 3


TAMPERED = [
    ({"file": "../secret"}, "names no tensors file of probact"),
    ({"version": 3}, "has version 3, this probact reads 1 and 2"),
    ({"format": "other"}, "is not a fit of probact"),
    ({"version": True}, "has version True"),
    ({"best_epoch": 0}, "best_epoch does not match the tensors file"),
    ({"guide": "exit"}, "needs a guide .exit.: unknown"),
    ({"seed": "a"}, "seed must be a int"),
    ({"batch": [None, None]}, "batch does not match the tensors file"),
    ({"batch": ["x"]}, "batch does not match the tensors file"),
    ({"model": {}}, "model must hold a class and a config"),
    ({"model": {"class": "probact.inference.svi:fit", "config": {}}}, "is no model of probact"),
    ({"model": {"class": "os:system", "config": {"command": "true"}}}, "model= is needed"),
]


@pytest.mark.parametrize(("change", "message"), TAMPERED, ids=[str(c) for c, _ in TAMPERED])
def test_tampered_configs_are_refused(saved, change, message):
    room, config = saved
    (room / "config.json").write_text(json.dumps({**config, **change}))
    model = None if "model" in change else NormalMean()
    with pytest.raises(ValueError, match=message):
        pi.load(room, model=model)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"a": 1, "a": 2}', '{"a": NaN}', "[" * 100_000, " " * 2**20 + "{}"]
)
def test_odd_json_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json"):
        pi.load(tmp_path)


def test_links_and_foreign_directories_are_refused(saved, x, tmp_path_factory):
    room, _ = saved
    other = tmp_path_factory.mktemp("other")
    (other / "config.json").symlink_to(room / "config.json")
    with pytest.raises(ValueError, match="is not a file"):
        pi.load(other)
    (other / "config.json").unlink()
    (other / "config.json").write_text('{"mine": 1}')
    with pytest.raises(ValueError, match="is not a fit of probact"):
        quick_fit(NormalMean(), x).save(other)
    assert (other / "config.json").read_text() == '{"mine": 1}'


def test_what_json_cannot_hold_is_refused(tmp_path, x):
    model = NormalMean()
    model.config = {"size": object()}
    with pytest.raises(ValueError, match="do not fit into JSON"):
        quick_fit(model, x).save(tmp_path / "fit")
    assert not (tmp_path / "fit").exists()


def test_a_crash_while_saving_leaves_the_earlier_fit(saved, x, monkeypatch):
    room, config = saved
    write = fit_files.write_atomically

    def crash(target, fill):
        if target.name == "config.json":
            raise KeyboardInterrupt
        write(target, fill)

    monkeypatch.setattr(fit_files, "write_atomically", crash)
    with pytest.raises(KeyboardInterrupt):
        quick_fit(NormalMean(), x, seed=1).save(room)
    monkeypatch.undo()
    assert json.loads((room / "config.json").read_text()) == config
    kept = quick_fit(NormalMean(), x)
    assert torch.equal(pi.load(room, model=NormalMean()).losses, kept.losses)
