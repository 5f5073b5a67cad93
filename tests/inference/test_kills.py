"""Runs that are killed, at bytes of their writes and at random times, go on with the same bits."""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from conjugate import NormalGibbs, run, run_until_byte, run_until_signal, same_draws

from probact.files.run_errors import RunLocked

pytestmark = pytest.mark.filterwarnings("ignore::probact.inference.SamplingWarning")
OFTEN = {"commit_every": 1, "save_warmup": True}


@pytest.fixture(scope="module")
def whole():
    return run(save_warmup=True)


def in_child(target, *arguments):
    """A process that runs target(*arguments), from a server that has imported what it needs."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["probact.inference", "conjugate"])
    process = context.Process(target=target, args=arguments)
    process.start()
    return process


def written_bytes(folder: Path, monkeypatch) -> int:
    """All bytes that the run of the kill tests writes."""
    total, write = [0], os.write

    def counting(descriptor, data):
        total[0] += len(data)
        return write(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", counting)
        run(checkpoint=folder, **OFTEN)
    return total[0]


def kill_within_writes(tmp_path, monkeypatch, whole, kills: int) -> None:
    total = written_bytes(tmp_path / "count", monkeypatch)
    for i, byte in enumerate(np.random.default_rng(kills).integers(1, total, kills)):
        folder = tmp_path / str(i)
        process = in_child(run_until_byte, str(folder), int(byte), OFTEN)
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        assert same_draws(run(checkpoint=folder, **OFTEN), whole)


def test_kill_9_within_a_write(tmp_path, monkeypatch, whole):
    kill_within_writes(tmp_path, monkeypatch, whole, 5)


@pytest.mark.slow
def test_kill_9_within_a_write_often(tmp_path, monkeypatch, whole):
    kill_within_writes(tmp_path, monkeypatch, whole, 100)


def signal_at_random_times(tmp_path, number: int, count: int) -> set[int]:
    """Exit codes of runs hit at random times; each goes on with the bits of one that was not."""
    options = {**OFTEN, "draws": 200}
    whole, codes = run(**{**options, "commit_every": 1000}), set()
    slow = {**options, "kernel": NormalGibbs(pause=0.001)}
    rng = np.random.default_rng(number)
    for i in range(count):
        folder = tmp_path / str(i)
        for _ in range(3):  # hit it again as it goes on
            process = in_child(run_until_signal, str(folder), slow)
            process.join(float(rng.uniform(0.05, 0.6)))
            with suppress(ProcessLookupError):  # where the run has ended
                os.kill(process.pid, number)
            process.join(60)
            codes.add(process.exitcode)
        assert same_draws(run(checkpoint=folder, **options), whole)
    return codes


@pytest.mark.slow
def test_kill_9_at_random_times(tmp_path):
    assert signal_at_random_times(tmp_path, signal.SIGKILL, 34) <= {-signal.SIGKILL, 0}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_at_random_times(tmp_path, number):
    codes = signal_at_random_times(tmp_path, number, 4)
    assert 128 + number in codes


def await_commit(folder):
    """Wait until a chain has committed."""
    while not list(folder.glob("chain-*/manifest-1.json")):
        time.sleep(0.01)


def test_a_writer_elsewhere_is_named_and_followed_when_it_is_dead(tmp_path):
    options = {**OFTEN, "draws": 2000, "kernel": NormalGibbs(pause=0.01)}
    process = in_child(run_until_signal, str(tmp_path), options)
    await_commit(tmp_path)
    with pytest.raises(RunLocked, match=f"written by process {process.pid}"):
        run(checkpoint=tmp_path, **options)
    process.kill()
    process.join()
    with pytest.raises(ValueError, match="was made with draws=2000"):  # so it is free again
        run(checkpoint=tmp_path, **OFTEN)


SCRIPT = """
import sys
sys.path.insert(0, {here!r})
import conjugate

if __name__ == "__main__":
    conjugate.run(
        checkpoint={folder!r}, kernel=conjugate.NormalGibbs(pause=0.01), processes=2, draws=200,
        commit_every=5,
    )
"""


@pytest.mark.slow
def test_children_end_with_their_killed_parent(tmp_path):
    script, folder = tmp_path / "script.py", tmp_path / "run"
    here = str(Path(__file__).parent)
    script.write_text(textwrap.dedent(SCRIPT).format(here=here, folder=str(folder)))
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE)
    await_commit(folder)
    time.sleep(0.5)
    parent.kill()
    parent.communicate(timeout=20)  # returns when the last child has let go of its stdout
    assert same_draws(run(checkpoint=folder, draws=200), run(draws=200))
