"""One chain of a Gibbs kernel, from its start or from where it was left."""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.random import SeedSequence
from torch import Generator, Tensor

from probact.inference.chains.plan import Plan
from probact.inference.chains.recording import Recorder, Saved
from probact.inference.gibbs import GibbsKernel

__all__ = ["Task", "first_state", "run_gibbs_chain"]

RACE = 20  # steps that each start is given before the likeliest is kept
GENERATOR, STATE = "generator", "state/"


class Task(NamedTuple):
    """What all chains of a run share; device is where the random numbers are made."""

    kernel: Any
    model: Any
    data: Any
    plan: Plan
    device: str


def run_gibbs_chain(
    task: Task, seed: SeedSequence, saved: Saved | None, recorder: Recorder
) -> None:
    """All steps that are still to be made; the same bits wherever the chain was left.

    Raises: Stopped when the recorder is asked to stop.
    """
    kernel, plan = task.kernel, task.plan
    generator = Generator(task.device)
    if saved is None:
        generator.manual_seed(int(seed.generate_state(1, np.uint64)[0]))
        state, recorder.start = first_state(
            kernel, task.model, task.data, generator, recorder.check
        )
    else:
        state = _restore(task, saved, generator)

    def words() -> dict[str, Any]:
        told = {**kernel.record(state), **kernel.statistics(state)}
        return {name: float(told[name]) for name in ("lp", "num_components") if name in told}

    def save() -> dict[str, np.ndarray]:
        return _save(kernel, state, generator)

    while recorder.position < plan.steps:
        state = kernel.step(state, generator)
        part = plan.kept_at(recorder.position + 1)
        if part is not None:
            recorder.keep(part, kernel.record(state), _numbers(kernel.statistics(state)))
        recorder.step(1, save, words)


def first_state(
    kernel: GibbsKernel,
    model: Any,
    data: Any,
    generator: Generator,
    check: Any = lambda: None,
) -> tuple[Any, dict[str, Any]]:
    """The likeliest of the kernel's starts after 20 steps each, and how the race went.

    A single start makes no steps. `check()` is called before each step and may raise.

    Raises: ValueError when no start has a finite log joint density.
    """
    starts = kernel.starts(model, data, generator)
    scores: dict[str, float] = {}
    for name in starts:
        for _ in range(RACE if len(starts) > 1 else 0):
            check()
            starts[name] = kernel.step(starts[name], generator)
        scores[name] = float(kernel.log_joint(starts[name]))
    finite = {name: score for name, score in scores.items() if math.isfinite(score)}
    if not finite:
        raise ValueError(f"no start has a finite log joint density: {scores}")
    winner = max(finite, key=finite.__getitem__)
    log_joints = {name: finite.get(name) for name in scores}  # None is JSON's word for -inf
    return starts[winner], {"winner": winner, "log_joint": log_joints}


def _numbers(stats: dict[str, float]) -> dict[str, float]:
    """Statistics in types that do not change from draw to draw."""
    return {name: v if isinstance(v, bool) else float(v) for name, v in stats.items()}


def _save(kernel: GibbsKernel, state: Any, generator: Generator) -> dict[str, np.ndarray]:
    """The state and its generator's as arrays."""
    tensors = {f"{STATE}{name}": x for name, x in kernel.save(state).items()}
    tensors[GENERATOR] = generator.get_state()
    return {name: np.array(x.detach().cpu().numpy()) for name, x in tensors.items()}


def _restore(task: Task, saved: Saved, generator: Generator) -> Any:
    """The state of `_save`; the generator goes on where it was."""
    tensors: dict[str, Tensor] = {k: torch.from_numpy(a.copy()) for k, a in saved.state.items()}
    generator.set_state(tensors.pop(GENERATOR))
    state = {name.removeprefix(STATE): x for name, x in tensors.items()}
    return task.kernel.restore(task.model, task.data, state)
