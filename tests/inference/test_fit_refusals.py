"""Checkpoints of other fits, foreign folders, damaged files, and what `probact info` says."""

import os
import shutil
import signal
import time
from functools import partial

import pytest
import torch
from objective_models import (
    FULL,
    Codes,
    Line,
    Regression,
    Stopping,
    X,
    Y,
    fit_full,
    fit_until_signal,
    in_child,
    momentum,
)
from safetensors.torch import load_file
from torch.optim.lr_scheduler import (
    LambdaLR,
)

import probact.inference as pi
from probact.cli import main
from probact.files.run_errors import CorruptRun, RunLocked
from probact.inference.training.fit_config import compare

CHANGES = [
    ({"epochs": 8}, "epochs=9, got 8"),
    ({"batch_size": 5}, "batch_size=6, got 5"),
    ({"seed": 4}, "seed=3, got 4"),
    ({"patience": None}, "patience=4, got None"),
    ({"validation": (X, Y)}, r"validation\[0\].shape\[0\]=7, got 20"),
    ({"schedule": None}, "schedule='torch.optim.lr_scheduler.MultiStepLR', got"),
    ({"schedule": partial(LambdaLR, lr_lambda=lambda epoch: 1.0)}, "schedule="),
    ({"optimizer": momentum}, "optimizer='torch.optim.adam.Adam', got 'torch.optim.sgd.SGD'"),
    ({"model": Regression(hidden=9)}, r"model.tensors.net.0.weight='float32 \(8, 3\)', got"),
    ({"model": Line()}, "model.name='objective_models.Regression', got"),
]  # fmt: skip


def test_another_fit_is_refused(tmp_path):
    fit_full(checkpoint=tmp_path)
    for change, message in CHANGES:
        with pytest.raises(ValueError, match=f"was made with {message}"):
            fit_full(**{"checkpoint": tmp_path, **change})
    slow = Regression()
    slow.learning_rate = 0.5
    with pytest.raises(ValueError, match=r"rates.optimizer\[0\].lr='0.02', got '0.5'"):
        fit_full(slow, checkpoint=tmp_path)
    with pytest.raises(ValueError, match=r"was made with data\[1\].sha256="):
        pi.fit(Regression(), (X, Y + 1), **FULL, checkpoint=tmp_path)


class Described(Regression):
    """Two constants beside its network, one in a part of it."""

    def __init__(self, beta, rate=0.5):
        super().__init__()
        self.settings = {"beta": beta, "encoder": {"name": "Linear", "rate": rate}}


def test_other_settings_are_refused(tmp_path):
    fit_full(Described(1.0), checkpoint=tmp_path)
    for model, message in (
        (Described(2.0), r"model.settings.beta='1.0', got '2.0'"),
        (Described(1.0, 0.1), r"model.settings.encoder.rate='0.5', got '0.1'"),
    ):
        with pytest.raises(ValueError, match=f"was made with {message}; name another folder"):
            fit_full(model, checkpoint=tmp_path)
    assert len(fit_full(Described(1.0), checkpoint=tmp_path).losses) > 6


def test_a_folder_without_settings_goes_on_where_the_config_tells_them(tmp_path):
    def asked():
        return {"model": {"config": {"dim": 3}, "settings": {"dim": 3}}}

    compare(tmp_path, {"model": {"config": {"dim": 3}}, "versions": {}}, asked())
    with pytest.raises(ValueError, match=r"was made with model.config.dim=2, got 3"):
        compare(tmp_path, {"model": {"config": {"dim": 2}}, "versions": {}}, asked())
    own = asked() | {"model": {"config": None, "settings": {"dim": 3}}}
    with pytest.raises(ValueError, match=r"was made with model.settings=None, got {'dim': 3}"):
        compare(tmp_path, {"model": {"config": None}, "versions": {}}, own)


class Picky(Regression):
    """Refuses numbers beyond 2."""

    def objective(self, x, y, epoch=None):
        if x.abs().max() > 2:
            raise ValueError(f"x must lie in [-2, 2], got {float(x.max())}")
        return super().objective(x, y, epoch)


def test_data_that_the_model_refuses_leave_no_folder(tmp_path):
    folder, plan = tmp_path / "fit", {k: v for k, v in FULL.items() if k != "validation"}
    held_out = FULL["validation"]
    with pytest.raises(ValueError, match=r"^x must lie in \[-2, 2\], got"):
        pi.fit(Picky(), (255 * X, Y), validation=held_out, checkpoint=folder, **plan)
    with pytest.raises(ValueError, match=r"^validation: x must lie in \[-2, 2\], got"):
        pi.fit(Picky(), (X, Y), validation=(255 * X, Y), checkpoint=folder, **plan)
    assert not folder.exists()
    kept = pi.fit(Picky(), (X, Y), validation=held_out, checkpoint=folder, **plan)
    assert torch.equal(kept.losses, fit_full().losses)


def test_other_folders_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="holds other files"):
        fit_full(checkpoint=tmp_path)
    with pytest.raises(ValueError, match="is a file"):
        fit_full(checkpoint=tmp_path / "file")
    pi.fit(Codes(), (X, X[:, 0]), epochs=1, device="cpu", progress=False).save(tmp_path / "saved")
    with pytest.raises(ValueError, match="holds other files"):
        fit_full(checkpoint=tmp_path / "saved")


def test_an_optimiser_that_cannot_be_kept_is_refused(tmp_path):
    def schedule(optimiser):
        built = LambdaLR(optimiser, lambda epoch: 1.0)
        built.odd = len
        return built

    for kind in (schedule, partial(LambdaLR, lr_lambda=float)):
        with pytest.raises(ValueError, match="the state of schedule does not fit: a checkpoint"):
            fit_full(schedule=kind, checkpoint=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_second_writer_is_refused(tmp_path):
    process = in_child(fit_until_signal, str(tmp_path), 0.2)
    while not (tmp_path / "progress.json").exists():
        time.sleep(0.01)
    with pytest.raises(RunLocked, match=f"written by process {process.pid}"):
        fit_full(checkpoint=tmp_path)
    assert main(["info", str(tmp_path)]) == 5
    process.kill()
    process.join()


@pytest.mark.parametrize("name", ["config.json", "progress.json", "state-*"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "link"])
def test_damage_is_told(tmp_path, name, damage, capsys):
    with pytest.raises(KeyboardInterrupt):
        fit_full(Stopping(20), checkpoint=tmp_path)
    (path, *_) = sorted(tmp_path.glob(name))
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 4
        path.write_bytes(data)
    elif damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        moved = path.rename(tmp_path.parent / "elsewhere")
        if damage == "link":
            path.symlink_to(moved)
    with pytest.raises(CorruptRun, match=r"damaged|missing|no plain file"):
        fit_full(Stopping(0), checkpoint=tmp_path)
    assert main(["info", str(tmp_path)]) == 4
    assert str(tmp_path) in capsys.readouterr().err


def test_states_of_another_network_are_told(tmp_path):
    fit_full(checkpoint=tmp_path / "one")
    fit_full(Regression(hidden=9), checkpoint=tmp_path / "other")
    shutil.copy(tmp_path / "other" / "progress.json", tmp_path / "one")
    with pytest.raises(CorruptRun, match="belongs to another training"):
        fit_full(checkpoint=tmp_path / "one")


def test_the_batch_that_is_not_finite_is_kept(tmp_path):
    class Failing(Regression):
        steps = 0

        def objective(self, x, y, epoch=None):
            self.steps += epoch is not None
            loss = super().objective(x, y, epoch)
            return loss if self.steps < 7 else loss * float("nan")

    with pytest.raises(pi.NonFiniteLoss) as caught:
        fit_full(Failing(), checkpoint=tmp_path)
    error = caught.value
    assert (error.epoch, error.batch_index, error.step) == (1, 2, 6)
    assert error.checkpoint == tmp_path
    assert f"{str(tmp_path)!r} keeps the last good state, after 1 epochs" in str(error)
    kept = load_file(tmp_path / "non-finite-batch.safetensors")
    assert all(torch.equal(kept[str(i)], part) for i, part in enumerate(error.batch))
    Failing.objective = Regression.objective
    assert len(fit_full(Failing(), checkpoint=tmp_path).losses) > 6


def test_info_says_how_far_it_got(tmp_path, capsys):
    class Signalled(Regression):
        steps = 0

        def objective(self, x, y, epoch=None):
            self.steps += 1
            if self.steps == 16:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().objective(x, y, epoch)

    with pytest.raises(pi.Interrupted, match=r"SIGTERM after 2 of 9 epochs, which .* keeps"):
        fit_full(Signalled(), checkpoint=tmp_path)
    assert main(["info", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    for words in ("Signalled, begun", "epochs 9", "2 of 9 epochs", "best epoch",
                  "same call of probact.fit"):  # fmt: skip
        assert words in told
    fit_full(checkpoint=tmp_path / "done")
    main(["info", str(tmp_path / "done")])
    told = capsys.readouterr().out
    assert "same call" not in told
