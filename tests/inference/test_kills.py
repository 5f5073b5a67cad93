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
from typing import NamedTuple

import numpy as np
import pytest
from conjugate import NormalGibbs, run, run_until_byte, run_until_signal, same_draws, tell
from mixture_runs import run_mixture, run_mixture_until_signal

from probact.files.run_errors import RunLocked

pytestmark = pytest.mark.filterwarnings("ignore::probact.inference.SamplingWarning")
OFTEN = {"commit_every": 1, "save_warmup": True}


@pytest.fixture(scope="module")
def whole():
    return run(save_warmup=True)


def in_child(target, *arguments):
    """A process that runs target(*arguments), from a server that has imported what it needs."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["probact.inference", "conjugate", "mixture_runs"])
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
@pytest.mark.timeout(900)
def test_kill_9_within_a_write_often(tmp_path, monkeypatch, whole):
    kill_within_writes(tmp_path, monkeypatch, whole, 100)


class Hits(NamedTuple):
    """How often a signal came while a run was going on, and how often before its first commit."""

    all: int
    early: int


def hit_until(process, started, number: int, delay: float) -> bool:
    """Send the signal so long after the process began its work; whether it was at work still."""
    assert started.wait(60)
    process.join(delay)
    with suppress(ProcessLookupError):  # where the run has ended
        os.kill(process.pid, number)
    process.join(60)
    # SIGTERM ends a process that has not got as far as its handler
    assert process.exitcode in (0, -number if number != signal.SIGINT else 130, 128 + number)
    return process.exitcode != 0


def hit_at_random_times(tmp_path, number: int, wanted: int, target, go_on, longest) -> Hits:
    """Runs that are hit until `wanted` of the hits have come while one was going on.

    Each run is hit up to three times as it goes on. `target(folder)` is the function and arguments
    of a run that is hit, `go_on(folder)` takes it to its end and says whether its bits are right;
    `longest` are the longest waits, in seconds, before each of the three hits.
    """
    started = multiprocessing.get_context("forkserver").Event()
    rng, hits, early = np.random.default_rng(number), 0, 0
    for i in range(wanted):
        folder = tmp_path / str(i)
        for wait in longest:
            started.clear()
            process = in_child(tell, started, *target(str(folder)))
            if hit_until(process, started, number, float(rng.uniform(0, wait))):
                hits += 1
                early += not list(folder.glob("chain-*/manifest-*.json"))
        assert go_on(folder)
        if hits >= wanted:
            return Hits(hits, early)
    pytest.fail(f"only {hits} of {3 * wanted} signals came while a run was going on")


@pytest.fixture
def hit_normal_mean(tmp_path):
    """Hits of runs whose steps are slow."""
    options = {**OFTEN, "draws": 200}
    whole = run(**{**options, "commit_every": 1000})
    slow = {**options, "kernel": NormalGibbs(pause=0.001)}

    def hit(number: int, wanted: int) -> Hits:
        target = lambda folder: (run_until_signal, folder, slow)  # noqa: E731
        go_on = lambda folder: same_draws(run(checkpoint=folder, **options), whole)  # noqa: E731
        return hit_at_random_times(tmp_path, number, wanted, target, go_on, (0.6, 0.6, 0.6))

    return hit


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_kill_9_at_random_times(hit_normal_mean):
    assert hit_normal_mean(signal.SIGKILL, 100).all >= 100


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_at_random_times(hit_normal_mean, number):
    assert hit_normal_mean(number, 10).all >= 10


@pytest.fixture
def hit_mixture(tmp_path):
    """Hits of runs of the default kernel of a mixture, the race of its starts included."""
    run_mixture()  # with what is compiled at the first call
    start = time.perf_counter()
    whole = run_mixture()
    duration = time.perf_counter() - start
    waits = (0.2 * duration, 0.8 * duration, 0.8 * duration)  # the first race is a quarter of it

    def hit(number: int, wanted: int) -> Hits:
        target = lambda folder: (run_mixture_until_signal, folder, {"commit_every": 1})  # noqa: E731
        go_on = lambda folder: same_draws(run_mixture(checkpoint=folder), whole)  # noqa: E731
        return hit_at_random_times(tmp_path, number, wanted, target, go_on, waits)

    return hit


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kill_9_of_a_mixture(hit_mixture):
    hits = hit_mixture(signal.SIGKILL, 20)
    assert hits.all >= 20
    assert 3 <= hits.early < hits.all


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_to_a_mixture(hit_mixture, number):
    assert hit_mixture(number, 4).all >= 4


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
