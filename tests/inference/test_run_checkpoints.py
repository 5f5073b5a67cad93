"""Checkpointed runs: resumed bits, refusals, locks, a full disk, and kills at any moment."""

import errno
import json
import os
import signal
import threading
from datetime import timedelta

import pytest
from conjugate import (
    SMALL,
    NormalGibbs,
    NormalModel,
    OneStart,
    X,
    run,
    same_draws,
)
from pyro_programs import NormalMean

import probact.inference as pi
from probact import cli
from probact.files.run_errors import CorruptRun, RunLocked
from probact.inference.atomic import write_bytes
from probact.inference.checkpoints.locks import only_writer

pytestmark = pytest.mark.filterwarnings("ignore::probact.inference.SamplingWarning")
OFTEN = {"commit_every": 1, "save_warmup": True}


def resume(folder, model=None, data=X, **options):
    kernel = options.pop("kernel", NormalGibbs())
    return pi.resume(folder, model or NormalModel(), data, kernel=kernel, progress=False)


@pytest.fixture(scope="module")
def whole():
    return run(save_warmup=True)


@pytest.mark.parametrize("every", [1, 3, timedelta(seconds=0), timedelta(hours=1)])
def test_a_checkpoint_changes_no_bit(tmp_path, whole, every):
    folder = tmp_path / "a" / "run"
    made = run(checkpoint=folder, save_warmup=True, commit_every=every)
    assert same_draws(made, whole)
    assert made.posterior.attrs["starts"] == whole.posterior.attrs["starts"]
    assert same_draws(resume(folder), whole)
    assert same_draws(run(checkpoint=folder, save_warmup=True), whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [1, 30, 42, 48, 51, 69, 90, 120, 138])
def test_a_signal_commits_and_the_run_goes_on_with_the_same_bits(tmp_path, whole, step, number):
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    kernel = NormalGibbs(signal_at={step: number})
    with pytest.raises(pi.Interrupted, match=r"go on with probact.inference.resume\('") as e:
        run(checkpoint=tmp_path, kernel=kernel, save_warmup=True)
    assert e.value.signal == number
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before
    assert same_draws(resume(tmp_path), whole)


def test_a_run_interrupted_after_every_third_step(tmp_path):
    times = 0
    while True:
        try:
            made = run(checkpoint=tmp_path, kernel=OneStart(signal_at={3: signal.SIGINT}))
            break
        except pi.Interrupted:
            times += 1
    assert times == 2 * 29 // 3
    assert same_draws(made, run(kernel=OneStart()))


def test_a_kernel_that_fails_leaves_its_commits(tmp_path, whole):
    with pytest.raises(RuntimeError, match="this step fails"):
        run(checkpoint=tmp_path, kernel=NormalGibbs(signal_at={60: 0}), **OFTEN)
    assert len(list(tmp_path.glob("chain-0/draws-*"))) == 7
    assert same_draws(resume(tmp_path), whole)


@pytest.mark.slow  # starts Python twice
def test_processes_write_the_same_run(tmp_path, whole):
    kernel = NormalGibbs(signal_at={50: signal.SIGINT})
    with pytest.raises(pi.Interrupted):
        run(checkpoint=tmp_path, kernel=kernel, save_warmup=True)
    made = run(checkpoint=tmp_path, processes=2, **OFTEN)
    assert same_draws(made, whole)


REFUSED = [
    ({"draws": 13}, "was made with draws=12, got 13"),
    ({"seed": 8}, "was made with seed=7, got 8"),
    ({"chains": 3}, "chains=2, got 3"),
    ({"thin": 1}, "thin=2"),
    ({"tune": 6}, "tune=5"),
    ({"save_warmup": True}, "save_warmup=False"),
    ({"kernel": NormalGibbs(scale=2.0)}, "made with another kernel"),
    ({"kernel": OneStart()}, "made with another kernel"),
]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    run(checkpoint=folder)
    return folder


@pytest.mark.parametrize(("change", "words"), REFUSED, ids=[w for _, w in REFUSED])
def test_other_settings(run_folder, change, words):
    with pytest.raises(ValueError, match=words):
        run(checkpoint=run_folder, **change)


def test_another_model_or_other_data(run_folder):
    with pytest.raises(ValueError, match="made with another model"):
        resume(run_folder, NormalModel(rate=2.5))
    for data in (X + 1e-12, X.float(), X[:11]):
        with pytest.raises(ValueError, match=r"made with another (data|model)"):
            resume(run_folder, data=data)
    assert same_draws(resume(run_folder, data=X.clone()), run())


def test_a_pyro_kernel(tmp_path, x):
    with pytest.raises(ValueError, match=r"checkpoint must be None for NUTS"):
        pi.sample(NormalMean(), x, checkpoint=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_folders_that_are_no_run(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        run(checkpoint=tmp_path / "file")
    with pytest.raises(ValueError, match="holds other files"):
        run(checkpoint=tmp_path / "other")
    with pytest.raises(ValueError, match="holds no run to resume"):
        resume(tmp_path / "other")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"processes": 0}, "processes"),
        ({"commit_every": 0}, "commit_every"),
        ({"commit_every": 1.5}, "commit_every"),
        ({"save_warmup": 1}, "save_warmup"),
    ],
)
def test_bad_options(change, words):
    with pytest.raises(ValueError, match=words):
        run(**change)


def test_versions_are_told(run_folder, monkeypatch):
    monkeypatch.setattr("probact.inference.checkpoints.run_directory.version", lambda name: "0.0")
    with pytest.warns(pi.SamplingWarning, match="the same law, but not the same bits"):
        resume(run_folder)


def test_a_second_writer_is_refused(tmp_path):
    locked = pytest.raises(RunLocked, match=f"written by process {os.getpid()}")
    with only_writer(tmp_path / "lock"), locked:
        run(checkpoint=tmp_path)
    run(checkpoint=tmp_path)
    assert (tmp_path / "lock").read_bytes() == b""


def test_a_lock_of_a_dead_process_is_taken_over(tmp_path):
    (tmp_path / "lock").write_text('{"pid": 999999999, "boot": "x"}')
    run(checkpoint=tmp_path)


@pytest.mark.parametrize(("boot", "free"), [(None, False), ("an earlier one", True)])
def test_without_locks_of_the_system_the_holder_decides(tmp_path, monkeypatch, boot, free):
    def no_locks(*arguments):
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr("probact.inference.checkpoints.locks.fcntl.flock", no_locks)
    from probact.inference.checkpoints import locks

    holder = {"pid": os.getppid(), "boot": locks._boot() if boot is None else boot}
    (tmp_path / "lock").write_text(json.dumps(holder))
    if free:
        with only_writer(tmp_path / "lock"):
            pass
    else:
        with pytest.raises(RunLocked), only_writer(tmp_path / "lock"):
            pass


def test_exit_codes_of_the_command_line(monkeypatch, capsys):
    interrupted = pi.Interrupted("SIGTERM after 3 iterations")
    interrupted.signal = signal.SIGTERM
    full = OSError(errno.ENOSPC, "No space left on device")
    for error, code in (
        (RunLocked("locked"), 5),
        (CorruptRun("damaged"), 4),
        (interrupted, 143),
        (KeyboardInterrupt(), 130),
        (full, 6),
    ):

        def fail(options, error=error):
            raise error

        monkeypatch.setattr(cli, "_check", fail)
        assert cli.main(["check"]) == code
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.filterwarnings("ignore::probact.inference.SamplingWarning")
def test_a_full_disk_leaves_the_last_commit(tmp_path, monkeypatch):
    """Every call of write, fsync and replace fails once; then the run goes on."""
    calls, fail_at = [0], [0]

    def failing(function):
        def call(*arguments):
            calls[0] += 1
            if calls[0] == fail_at[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
            return function(*arguments)

        return call

    for name in ("write", "fsync", "replace"):
        monkeypatch.setattr(os, name, failing(getattr(os, name)))
    options = {"draws": 2, "tune": 0, "chains": 1, "thin": 1, "commit_every": 1}
    whole = run(checkpoint=tmp_path / "whole", **options)
    total = calls[0]
    assert total > 20
    for k in range(1, total + 1):
        folder = tmp_path / str(k)
        calls[0], fail_at[0] = 0, k
        with pytest.raises(OSError, match="No space left") as e:
            run(checkpoint=folder, **options)
        assert e.value.errno == errno.ENOSPC
        fail_at[0] = 0
        assert same_draws(run(checkpoint=folder, **options), whole)
        assert not list(folder.rglob("*.part"))


def test_a_file_is_on_the_disk_before_it_is_in_place(tmp_path, monkeypatch):
    calls = []

    def noted(name, function):
        def call(*arguments):
            calls.append(name)
            return function(*arguments)

        return call

    for name in ("write", "fsync", "replace"):
        monkeypatch.setattr(os, name, noted(name, getattr(os, name)))
    write_bytes(tmp_path / "file", b"content")
    assert calls == ["write", "fsync", "replace", "fsync"]  # the last is of the folder


def test_memory_stays_bounded_by_a_batch(tmp_path, monkeypatch):
    """With a checkpoint no more rows wait than a commit takes."""
    from probact.inference.checkpoints.chain_folder import ChainFolder

    waiting, commit = [], ChainFolder.commit

    def watched(self, batch):
        waiting.append(len(batch.rows["draws"].get("draws/mu", ())))
        commit(self, batch)

    monkeypatch.setattr(ChainFolder, "commit", watched)
    run(checkpoint=tmp_path, commit_every=4)
    assert max(waiting) == 4
    assert sum(waiting) == SMALL["draws"] * SMALL["chains"]


def test_a_thread_that_is_not_the_main_one_samples_as_well(tmp_path, whole):
    made = []
    thread = threading.Thread(
        target=lambda: made.append(run(checkpoint=tmp_path, save_warmup=True))
    )
    thread.start()
    thread.join()
    assert same_draws(made[0], whole)


def test_info_tells_how_far_a_run_got(tmp_path, capsys):
    kernel = NormalGibbs(signal_at={60: signal.SIGINT})
    with pytest.raises(pi.Interrupted):
        run(checkpoint=tmp_path, kernel=kernel)
    assert cli.main(["info", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "NormalGibbs" in printed
    assert "resume(" in printed
    resume(tmp_path)
    assert cli.main(["info", str(tmp_path)]) == 0
    assert "resume(" not in capsys.readouterr().out
    with only_writer(tmp_path / "lock"):
        assert cli.main(["info", str(tmp_path)]) == 5
    (tmp_path / "config.json").write_text("{}")
    assert cli.main(["info", str(tmp_path)]) == 4
