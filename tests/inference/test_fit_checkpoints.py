"""Fits that are killed or interrupted go on with the same bits; other fits are refused."""

import os
import signal
import time
from contextlib import suppress
from functools import partial

import numpy as np
import pytest
import torch
from objective_models import (
    Regression,
    Stopping,
    X,
    Y,
    fit_full,
    fit_until_byte,
    fit_until_signal,
    in_child,
    momentum,
    same_fit,
)
from pyro.infer.autoguide import AutoMultivariateNormal
from pyro_programs import NormalMean
from torch.optim import Adagrad
from torch.optim.lr_scheduler import (
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    LambdaLR,
    OneCycleLR,
    ReduceLROnPlateau,
)
from torch.utils.data import DataLoader, TensorDataset

import probact.inference as pi


@pytest.fixture(scope="module")
def whole():
    return fit_full()


def written_bytes(folder, monkeypatch):
    """All bytes that the full fit writes."""
    total, write = [0], os.write

    def counting(descriptor, data):
        total[0] += len(data)
        return write(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", counting)
        fit_full(checkpoint=folder)
    return total[0]


def kill_within_writes(tmp_path, monkeypatch, whole, kills):
    total = written_bytes(tmp_path / "count", monkeypatch)
    folders = [str(tmp_path / str(i)) for i in range(kills)]
    budgets = np.random.default_rng(kills).integers(1, total, kills).tolist()
    for folder, budget in zip(folders, budgets, strict=True):
        # from the server, which has not computed: a fork of a process that has may hang in OpenMP
        process = in_child(fit_until_byte, folder, budget)
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
    assert all(same_fit(fit_full(checkpoint=folder), whole) for folder in folders)


def test_kill_9_within_a_write(tmp_path, monkeypatch, whole):
    kill_within_writes(tmp_path, monkeypatch, whole, 5)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kill_9_within_a_write_often(tmp_path, monkeypatch, whole):
    kill_within_writes(tmp_path, monkeypatch, whole, 50)


def hit_at_random_times(tmp_path, whole, number, wanted):
    """Fits hit by a signal, up to three times each, until `wanted` were hit at work."""
    rng, hits = np.random.default_rng(number), 0
    for i in range(4 * wanted):
        folder = tmp_path / str(i)
        for _ in range(3):
            process = in_child(fit_until_signal, str(folder), 0.005)
            while process.is_alive() and not (folder / "config.json").exists():
                time.sleep(0.002)
            process.join(float(rng.uniform(0, 0.25)))
            with suppress(ProcessLookupError):
                os.kill(process.pid, number)
            process.join(60)
            assert process.exitcode in (0, 1, -number, 128 + number)
            hits += process.exitcode not in (0, 1)  # 1: before the fit began
        assert same_fit(fit_full(checkpoint=folder), whole)
        if hits >= wanted:
            return
    pytest.fail(f"only {hits} signals came in time")


def test_kill_9_at_random_times(tmp_path, whole):
    hit_at_random_times(tmp_path, whole, signal.SIGKILL, 2)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("number", "wanted"), [("SIGKILL", 50), ("SIGINT", 10), ("SIGTERM", 10)])
def test_signals_at_random_times(tmp_path, whole, number, wanted):
    hit_at_random_times(tmp_path, whole, getattr(signal, number), wanted)


@pytest.mark.parametrize("at", [1, 6, 11, 23])
def test_an_error_or_interrupt_keeps_the_last_epoch(tmp_path, whole, at):
    state = torch.random.get_rng_state()
    with pytest.raises(KeyboardInterrupt):
        fit_full(Stopping(at), checkpoint=tmp_path)
    assert torch.equal(state, torch.random.get_rng_state())
    with pytest.raises(OSError, match="gone"):
        fit_full(Stopping(5, OSError("gone")), checkpoint=tmp_path)
    assert same_fit(fit_full(Stopping(0), checkpoint=tmp_path), whole)


def test_the_bits_do_not_depend_on_the_checkpoint(tmp_path, whole):
    first = fit_full(checkpoint=tmp_path)
    assert same_fit(first, whole)
    assert 6 < len(whole.losses) <= 9
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.*")}
    model = Stopping(1)  # the loss of a finished fit is not asked for
    model.__class__ = type("Regression", (Stopping,), {"__module__": "objective_models"})
    again = fit_full(model, checkpoint=tmp_path)
    assert same_fit(again, whole)
    assert again.seconds == first.seconds
    assert all(torch.equal(a, b) for a, b in zip(again.batch, first.batch, strict=True))
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.*")}
    names = sorted(path.name for path in tmp_path.iterdir())
    assert [name for name in names if not name.startswith("state-")] == [
        "config.json",
        "lock",
        "progress.json",
    ]
    assert len(names) <= 5  # the last state and the best one
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 150_000


def test_a_best_epoch_before_the_last_comes_back(tmp_path):
    rising = partial(ExponentialLR, gamma=30.0)  # so that the fit gets worse
    straight = fit_full(schedule=rising)
    assert straight.best_epoch < len(straight.losses) - 1
    with pytest.raises(KeyboardInterrupt):
        fit_full(Stopping(6 * (straight.best_epoch + 2)), schedule=rising, checkpoint=tmp_path)
    for _ in range(2):
        assert same_fit(fit_full(Stopping(0), schedule=rising, checkpoint=tmp_path), straight)


def test_a_start_that_was_committed_does_not_depend_on_the_next_one(tmp_path, whole):
    with pytest.raises(KeyboardInterrupt):
        fit_full(Stopping(1), checkpoint=tmp_path)
    other = Stopping(0)
    with torch.no_grad():
        other.net[0].weight.zero_()
    assert same_fit(fit_full(other, checkpoint=tmp_path), whole)


def halfway(folder, model, data, error_at, **options):
    """A fit that is interrupted at a call of its objective or program, and finished."""
    calls, hook = [0], type(model).forward if isinstance(model, NormalMean) else model.objective

    def interrupted(*args, **named):
        calls[0] += 1
        if calls[0] == error_at:
            raise KeyboardInterrupt
        return hook(*args, **named)

    model.objective = interrupted
    with pytest.raises(KeyboardInterrupt):
        pi.fit(model, data, checkpoint=folder, device="cpu", progress=False, **options)
    model.objective = hook
    return pi.fit(model, data, checkpoint=folder, device="cpu", progress=False, **options)


SCHEDULES = {
    "plateau": partial(ReduceLROnPlateau, patience=0, factor=0.3),
    "one cycle": partial(OneCycleLR, max_lr=0.1, total_steps=20),
    "restarts": partial(CosineAnnealingWarmRestarts, T_0=2),
    "lambda": partial(LambdaLR, lr_lambda=lambda epoch: 0.8**epoch),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_and_optimisers_go_on(tmp_path, name):
    optimizer = momentum if name != "lambda" else Adagrad
    options = {"schedule": SCHEDULES[name], "optimizer": optimizer, "epochs": 6, "batch_size": 7}
    straight = pi.fit(Regression(), (X, Y), device="cpu", progress=False, **options)
    made = halfway(tmp_path, Regression(), (X, Y), 11, **options)
    assert torch.equal(made.losses, straight.losses)
    weights = (fit.model.net[0].weight for fit in (made, straight))
    assert torch.equal(*weights)


def test_a_loader_with_its_own_stream_goes_on(tmp_path):
    def loader(given):
        noise = torch.Generator().manual_seed(8) if given else None
        return DataLoader(TensorDataset(X, Y), batch_size=7, shuffle=True, generator=noise)

    for given in (True, False):
        straight = pi.fit(Regression(), loader(given), epochs=5, device="cpu", progress=False)
        folder = tmp_path / str(given)
        with pytest.raises(KeyboardInterrupt):
            pi.fit(
                Stopping(8), loader(given), epochs=5, device="cpu", checkpoint=folder,
                progress=False,
            )  # fmt: skip
        made = pi.fit(
            Stopping(0), loader(given), epochs=5, device="cpu", checkpoint=folder, progress=False
        )
        assert torch.equal(made.losses, straight.losses)


def test_an_elbo_goes_on(tmp_path, x):
    class Interrupted(NormalMean):
        left = 10**6

        def forward(self, x):
            Interrupted.left -= 1
            if Interrupted.left == 0:
                raise KeyboardInterrupt
            super().forward(x)

    run = partial(
        pi.fit, data=x, guide=AutoMultivariateNormal, epochs=8, batch_size=6, device="cpu",
        progress=False,
    )  # fmt: skip
    straight = run(Interrupted(size=20))
    Interrupted.left = 20
    with pytest.raises(KeyboardInterrupt):
        run(Interrupted(size=20), checkpoint=tmp_path)
    made = run(Interrupted(size=20), checkpoint=tmp_path)
    assert torch.equal(made.losses, straight.losses)
    for a, b in zip(
        made.guide.state_dict().values(), straight.guide.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b)


def test_a_full_disk_leaves_the_last_epoch(tmp_path, monkeypatch, whole):
    write, calls = os.write, [0]

    def full(descriptor, data):
        calls[0] += 1
        if calls[0] > 10:
            raise OSError(28, "No space left on device")
        return write(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match=r"No space left on device: .* keeps all earlier epochs"):
            fit_full(checkpoint=tmp_path)
    assert same_fit(fit_full(checkpoint=tmp_path), whole)
