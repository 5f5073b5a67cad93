"""A training in memory, or one that a folder takes through kills and interruptions."""

import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn import Module

from probact.files.run_errors import CorruptRun
from probact.inference.chains.interrupts import Interrupted, Interrupts, interrupts
from probact.inference.checkpoints.fingerprints import data_fingerprint
from probact.inference.training.failures import NonFiniteLoss
from probact.inference.training.fit_folder import FitFolder, open_fit
from probact.inference.training.loop import History, Training, train
from probact.inference.training.packing import pack, unpack
from probact.inference.training.random_states import random_states, set_random_states
from probact.inference.training.snapshots import module_tensors, put_back

__all__ = ["describe_training", "train_in_memory", "train_on_disk"]

MODULE = "module."  # prefix of the module's tensors in a state file


def train_in_memory(training: Training, progress: bool) -> History:
    """A training whose state is lost with the process.

    Raises: NonFiniteLoss.
    """
    started, history = time.perf_counter(), History()
    try:
        train(training, history, _nothing, progress)
    except NonFiniteLoss as error:
        error.args = (f"{error}; checkpoint= would have kept the state after the last epoch",)
        raise
    history.seconds = time.perf_counter() - started
    return history


def train_on_disk(
    training: Training, folder: Path, description: Mapping[str, Any], progress: bool
) -> History:
    """A training that is begun or goes on in `folder`, which `describe_training` describes.

    Raises: Interrupted after SIGINT or SIGTERM; NonFiniteLoss; and as `open_fit`.
    """
    with (
        interrupts([signal.SIGINT, signal.SIGTERM]) as caught,
        open_fit(folder, description) as kept,
    ):
        started, history = time.perf_counter(), History()

        def commit(history: History) -> None:
            history.seconds = before + time.perf_counter() - started
            _commit(kept, training, history)

        if kept.progress is not None:
            _restore(kept, training, history)
        before = history.seconds
        if kept.progress is None:
            commit(history)  # the start too: a run that goes on does not depend on the caller's

        def stop() -> None:
            _stop(caught, folder, training, history)

        try:
            train(training._replace(between=stop), history, commit, progress)
        except NonFiniteLoss as error:
            _tell(error, kept, len(history.losses))
            raise
        stop()
    return history


def describe_training(
    training: Training, model: Module, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """What a checkpoint must agree with.

    Raises: ValueError for an optimiser or a schedule whose state no checkpoint can keep.
    """
    tensors, schedule = module_tensors(training.objective.module), training.schedule
    plan = {name: getattr(training, name) for name in ("epochs", "patience", "warm_up")}
    names = {
        "optimizer": _name(training.optimiser),
        "schedule": None if schedule is None else _name(schedule),
    }
    states = {
        "optimizer": training.optimiser.state_dict()["param_groups"],
        "schedule": None if schedule is None else schedule.state_dict(),
    }
    for name, value in states.items():
        _packed(name, value, {})  # refuses now what no commit could keep
    told = [getattr(model, name, None) for name in ("config", "settings")]
    config, arguments, groups, state = data_fingerprint([*told, *states.values()])
    return {
        "model": {
            "name": _name(model),
            "config": config,
            "settings": arguments,
            "tensors": {
                name: f"{str(v.dtype).removeprefix('torch.')} {tuple(v.shape)}"
                for name, v in tensors.items()
            },
        },
        "settings": {**plan, **training.source.settings, **names, **settings},
        **training.source.describe(),
        "rates": {"optimizer": groups, "schedule": state},
    }


def _commit(kept: FitFolder, training: Training, history: History) -> None:
    """Write the state after the epochs of `history`."""
    tensors: dict[str, Tensor] = {}
    states = {
        "optimizer": training.optimiser.state_dict(),
        "schedule": training.schedule and training.schedule.state_dict(),
        "random": random_states(training.source.generators),
    }
    packed = {name: _packed(name, state, tensors) for name, state in states.items()}
    module = module_tensors(training.objective.module)
    content = {
        "epochs": len(history.losses),
        "steps": history.steps,
        "losses": history.losses,
        "validation_losses": history.validation_losses,
        "seconds": history.seconds,
        "packed": packed,
    }
    tensors |= {MODULE + name: value for name, value in module.items()}
    best = None if history.best_epoch is None else history.best_epoch + 1
    try:
        kept.commit(content, tensors, best)
    except OSError as error:
        text = f"{error.strerror}: {kept.path} keeps all earlier epochs; the same call goes on"
        raise OSError(error.errno, text) from error


def _packed(name: str, state: Any, tensors: dict[str, Tensor]) -> Any:
    """A state as JSON.

    Raises: ValueError saying whose state it is.
    """
    try:
        return pack(state, tensors)
    except ValueError as error:
        raise ValueError(f"the state of {name} does not fit: {error}") from None


def _restore(kept: FitFolder, training: Training, history: History) -> None:
    """Put everything where the last commit left it.

    Raises: CorruptRun when the files do not hold the state of this training.
    """
    progress, module = kept.progress, training.objective.module
    assert progress is not None
    tensors = kept.tensors(progress.state)
    best = kept.tensors(progress.best) if progress.best else None
    history.losses = list(progress.losses)
    history.validation_losses = list(progress.validation_losses)
    history.steps, history.seconds = progress.steps, progress.seconds
    try:
        states = {name: unpack(value, tensors) for name, value in progress.packed.items()}
        put_back(module, _module_part(tensors, module))
        training.optimiser.load_state_dict(states["optimizer"])
        if training.schedule is not None:
            training.schedule.load_state_dict(states["schedule"])
        set_random_states(states["random"], training.source.generators)
        history.best = _module_part(best, module) if best is not None else None
    except (ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
        raise CorruptRun(
            f"{kept.path / progress.state.file} does not hold the state of this training: {error}"
        ) from error


def _module_part(tensors: Mapping[str, Tensor], module: Module) -> dict[str, Tensor]:
    """The module's tensors of a state file, of its shapes.

    Raises: KeyError; ValueError.
    """
    part = {name: tensors[MODULE + name] for name in module_tensors(module)}
    for name, value in module_tensors(module).items():
        if part[name].shape != value.shape or part[name].dtype != value.dtype:
            raise ValueError(f"{name} has shape {tuple(part[name].shape)}")
    return part


def _stop(caught: Interrupts, folder: Path, training: Training, history: History) -> None:
    """End the training where a signal asked for it.

    Raises: Interrupted.
    """
    if caught.received is None:
        return
    name = signal.Signals(caught.received).name
    error = Interrupted(
        f"{name} after {len(history.losses)} of {training.epochs} epochs, which {str(folder)!r}"
        " keeps; the same call of fit goes on"
    )
    error.signal = caught.received
    raise error


def _tell(error: NonFiniteLoss, kept: FitFolder, epochs: int) -> None:
    """Add the place of the last good state and of the batch to the error."""
    text = f"{error}; {str(kept.path)!r} keeps the last good state, after {epochs} epochs"
    if error.batch:
        text += f", and the batch in {kept.keep_batch(error.batch).name}"
    error.args, error.checkpoint = (text,), kept.path


def _name(value: Any) -> str:
    """Where the class of a value is defined."""
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _nothing(history: History) -> None:
    """The commit of a training in memory."""
