"""All chains of a run, here or in processes, into memory or onto the disk.

A chain's bits depend on its own seed alone: not on the other chains, nor on where they run, nor on
when its rows are handed on.
"""

import signal
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.random import SeedSequence

from probact.inference.chains.gibbs_chain import Task, run_gibbs_chain
from probact.inference.chains.interrupts import Interrupted, Interrupts, interrupts
from probact.inference.chains.plan import Plan
from probact.inference.chains.processes import Job, run_in_processes
from probact.inference.chains.progress import progress_line
from probact.inference.chains.pyro_chain import run_pyro_chain
from probact.inference.chains.recording import Batch, Every, Outlet, Recorder, Stopped
from probact.inference.chains.store import Store
from probact.inference.checkpoints.chain_folder import ChainFolder
from probact.inference.checkpoints.run_directory import open_run
from probact.inference.diagnosis import announce
from probact.inference.gibbs import GibbsKernel
from probact.inference.parameters import empty_store

__all__ = ["Kept", "Manner", "run_in_memory", "run_on_disk"]

_FROM_A_CHILD = timedelta(seconds=0.5)  # between two batches that go to memory


class Manner(NamedTuple):
    """How a run is made; nothing of it changes the draws."""

    progress: bool
    processes: int
    commit_every: Every


class Kept(NamedTuple):
    """Rows (chain, draw, ...) by "draws/<site>" and "stats/<name>", and how chains started."""

    draws: dict[str, np.ndarray]
    warmup: dict[str, np.ndarray]
    starts: list[dict[str, Any]]
    interruption: str  # what is missing, in words; empty when nothing is


def run_in_memory(task: Task, seeds: Sequence[SeedSequence], manner: Manner) -> Kept:
    """The chains of all seeds; what is finished when SIGINT comes.

    Raises: KeyboardInterrupt when no draw is finished then.
    """
    stores = _stores(task.plan, len(seeds))
    starts: list[dict[str, Any]] = [{} for _ in seeds]

    def emit(batch: Batch) -> None:
        for part, table in batch.rows.items():
            stores[part].add(batch.chain, table)
        starts[batch.chain] = batch.start

    jobs: list[Job] = [(chain, (seed, None)) for chain, seed in enumerate(seeds)]
    every = _FROM_A_CHILD if manner.processes > 1 else 1
    with (
        interrupts([signal.SIGINT]) as caught,
        progress_line(len(seeds), task.plan.iterations, manner.progress) as tick,
    ):
        outlet = Outlet(emit, every, tick, caught.requested)
        stopped = _run(task, jobs, outlet, manner.processes, caught)
    draws, words = stores["draws"], ""
    if stopped:
        if not draws.chains:
            raise KeyboardInterrupt
        words = (
            f"interrupted: kept {len(draws.chains)} of {len(seeds)} chains"
            f" ({', '.join(map(str, draws.chains))}), each cut to the {draws.shortest} of"
            f" {task.plan.draws} draws that the shortest of them has"
        )
        announce(words)
    return _kept(stores, starts, words)


def run_on_disk(
    task: Task,
    seeds: Sequence[SeedSequence],
    manner: Manner,
    folder: Path,
    description: Mapping[str, Any],
) -> Kept:
    """The chains of all seeds, begun or taken up again in `folder`.

    Raises: Interrupted after SIGINT or SIGTERM; OSError when the disk is full; and as `open_run`.
    """
    again = f"go on with probact.inference.resume({str(folder)!r}, model, data)"
    with (
        interrupts([signal.SIGINT, signal.SIGTERM]) as caught,
        open_run(folder, description) as chains,
        progress_line(len(seeds), task.plan.iterations, manner.progress) as tick,
    ):

        def emit(batch: Batch) -> None:
            try:
                chains[batch.chain].commit(batch)
            except OSError as error:
                text = f"{error.strerror}: {folder} keeps all earlier commits; {again}"
                raise OSError(error.errno, text) from error

        jobs: list[Job] = [
            (i, (seed, chain.saved()))
            for i, (seed, chain) in enumerate(zip(seeds, chains, strict=True))
            if chain.position < task.plan.steps
        ]
        outlet = Outlet(emit, manner.commit_every, tick, caught.requested, states=True)
        _run(task, jobs, outlet, manner.processes, caught)
        if caught.received is not None:
            done = sum(task.plan.iteration(chain.position) for chain in chains)
            name = signal.Signals(caught.received).name
            error = Interrupted(
                f"{name} after {done} of {len(seeds) * task.plan.iterations} iterations; {again}"
            )
            error.signal = caught.received
            raise error
        return _read(chains, task.plan)


def _run(
    task: Task, jobs: Sequence[Job], outlet: Outlet, processes: int, caught: Interrupts
) -> bool:
    """Run the jobs; True when they were stopped before their end."""
    try:
        if processes > 1 and jobs:
            run_in_processes(run_chain, task, jobs, outlet, processes=processes, caught=caught)
        else:
            for job in jobs:
                run_chain(task, job, outlet)
    except Stopped:
        return True
    return False


def run_chain(task: Task, job: Job, outlet: Outlet) -> None:
    """One chain, from its seed or from where it was left.

    Raises: Stopped when it was asked to stop.
    """
    chain, (seed, saved) = job
    recorder = Recorder(chain, task.plan, outlet, saved.position if saved else 0)
    recorder.check()
    if isinstance(task.kernel, GibbsKernel):
        with torch.no_grad():
            run_gibbs_chain(task, seed, saved, recorder)
    else:
        with empty_store(), torch.enable_grad():
            run_pyro_chain(task, seed, recorder)


def _stores(plan: Plan, chains: int) -> dict[str, Store]:
    return {"warmup": Store(chains, plan.tune), "draws": Store(chains, plan.draws)}


def _read(chains: Sequence[ChainFolder], plan: Plan) -> Kept:
    """The rows of a finished run."""
    stores = _stores(plan, len(chains))
    for i, chain in enumerate(chains):
        chain.read_into(stores, i)
    return _kept(stores, [chain.start for chain in chains], "")


def _kept(stores: Mapping[str, Store], starts: Sequence[dict[str, Any]], words: str) -> Kept:
    chains = stores["draws"].chains
    warmup = stores["warmup"].trimmed(chains)
    return Kept(stores["draws"].trimmed(chains), warmup, [starts[c] for c in chains], words)
