"""The loop over epochs: steps, validation, the schedule of the rate, early stopping.

Symbols: an epoch i counts from 0; losses (epochs,) and validation losses (epochs,) in nats.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from numpy.random import SeedSequence
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from tqdm.auto import tqdm

from probact.inference.batches import num_rows
from probact.inference.randomness import seeded
from probact.inference.training.failures import NonFiniteLoss
from probact.inference.training.objectives import Objective
from probact.inference.training.snapshots import in_evaluation, put_back, snapshot
from probact.inference.training.source import Source
from probact.inference.training.stopping import best_epoch, is_over

__all__ = ["History", "Training", "quiet", "train"]

Batch = tuple[Any, ...]
_VALIDATION = (1,)  # key of the stream of all validations, beside the one of the training


def _pass() -> None:
    """Between two steps of a training that nothing ends."""


class Training(NamedTuple):
    """All that does not change in a fit."""

    objective: Objective
    optimiser: Optimizer
    schedule: LRScheduler | None
    source: Source
    epochs: int
    patience: int | None
    warm_up: int
    between: Callable[[], None] = _pass  # called after every step, to end the training by raising


@dataclass
class History:
    """What the epochs so far have left; best holds the tensors after the best of them."""

    losses: list[float] = field(default_factory=list)
    validation_losses: list[float] = field(default_factory=list)
    best: dict[str, Tensor] | None = None
    steps: int = 0
    seconds: float = 0.0

    @property
    def best_epoch(self) -> int | None:
        """The first epoch of the least validation loss."""
        return best_epoch(self.validation_losses)


def train(
    training: Training, history: History, commit: Callable[[History], None], progress: bool
) -> None:
    """Go on from `history` to the last epoch; the best tensors are in the module at the end.

    commit is called after every epoch.
    """
    done = len(history.losses)
    hidden = None if progress else True  # None: where stderr is no terminal
    line = tqdm(total=training.epochs, initial=done, desc="fit", disable=hidden)
    with line, quiet():
        while not _finished(training, history):
            loss = _epoch(training, history)
            _check_parameters(training, history)
            value = _validate(training, history)
            history.losses.append(loss)
            if value is not None:
                history.validation_losses.append(value)
                if history.best_epoch == len(history.losses) - 1:
                    history.best = snapshot(training.objective.module)
            _reschedule(training.schedule, loss if value is None else value)
            commit(history)
            shown = {"loss": loss} | ({} if value is None else {"validation": value})
            line.set_postfix({k: f"{v:.4g}" for k, v in shown.items()}, refresh=False)
            line.update()
    training.optimiser.zero_grad()
    if history.best is not None:
        put_back(training.objective.module, history.best)


def _finished(training: Training, history: History) -> bool:
    """Whether no epoch is to come."""
    plan = (training.epochs, training.patience, training.warm_up)
    return is_over(len(history.losses), history.validation_losses, *plan)


def _epoch(training: Training, history: History) -> float:
    """Weighted mean of the losses of one epoch's steps."""
    epoch, parameters = len(history.losses), training.objective.parameters
    total, weights = 0.0, 0
    for index, batch in enumerate(training.source.epoch()):
        where = {"epoch": epoch, "step": history.steps, "batch_index": index, "batch": batch}
        weight = training.objective.weight(batch)
        total += weight * _step(training, parameters, batch, where)
        weights += weight
        history.steps += 1
        training.between()
    if not weights:
        raise ValueError(f"data gave no batches in epoch {epoch}; it must be iterable again")
    return total / weights


def _step(
    training: Training, parameters: list[Parameter], batch: Batch, where: dict[str, Any]
) -> float:
    """One optimiser step; the loss before it."""
    training.optimiser.zero_grad()
    loss = _loss(training, batch, where["epoch"], where)
    if not loss.requires_grad:
        raise ValueError("the loss does not depend on any parameter that is trained")
    loss.backward()
    gradients = [p.grad for p in parameters if p.grad is not None]
    size = _magnitude(gradients)
    value, test = torch.stack([loss.detach(), size.to(loss.dtype)]).tolist()  # waits once
    if not math.isfinite(value):
        _fail(f"the loss is {value}", where)
    if not math.isfinite(test) and not _all_finite(gradients):
        _fail(f"the loss is {value} and its gradient is not finite", where)
    training.optimiser.step()
    return float(value)


def _loss(training: Training, batch: Batch, epoch: int | None, where: dict[str, Any]) -> Tensor:
    """The loss of a batch, in validation where epoch is None."""
    held_out, source = epoch is None, training.source
    what, data = ("validation loss", source.validation) if held_out else ("loss", source.data)
    try:
        return training.objective.loss(batch, epoch)
    except ValueError as error:
        text = f"the {what} cannot be computed {_place(where)}: {error}"
        if _all_finite(training.objective.parameters):
            raise ValueError(text + _remedy(batch, data)) from error
        raise NonFiniteLoss(text, **where) from error  # a law refused its parameters
    except Exception as error:
        error.add_note(f"in the {what} {_place(where)}")
        raise


def _remedy(batch: Batch, data: Any) -> str:
    """What helps where a loss refuses the one row that was left over of the data."""
    if num_rows(batch) != 1 or num_rows(data) == 1:
        return ""
    return "; this batch has one row: take another batch_size, or a DataLoader with drop_last=True"


def _magnitude(gradients: list[Tensor]) -> Tensor:
    """A number () that is not finite when an entry is not; sums are the cheapest on the CPU."""
    if gradients and gradients[0].is_cuda and not any(g.is_sparse for g in gradients):
        return torch.nn.utils.get_total_norm(gradients)
    return torch.stack([g.sum() for g in gradients]).sum()


def _all_finite(tensors: list[Any]) -> bool:
    """Exactly what `_magnitude` tells but for overflow."""
    values = (t.coalesce().values() if t.is_sparse else t for t in tensors)
    return all(bool(torch.isfinite(v).all()) for v in values)


def _check_parameters(training: Training, history: History) -> None:
    """Refuse to end an epoch with parameters that are not finite."""
    if not _all_finite(training.objective.parameters):
        where = {"epoch": len(history.losses), "step": history.steps - 1}
        _fail("the parameters are no longer finite", where)


def _validate(training: Training, history: History) -> float | None:
    """Row-weighted mean loss of the validation data, under the same random numbers each time."""
    if training.source.validation is None:
        return None
    total, weights, epoch = 0.0, 0, len(history.losses)
    stream = SeedSequence(training.source.seed, spawn_key=_VALIDATION)
    with seeded(stream), torch.no_grad(), in_evaluation(training.objective.module):
        for index, batch in enumerate(training.source.validation_epoch()):
            place = {"epoch": epoch, "step": history.steps - 1}
            where = {**place, "batch_index": index, "batch": batch}
            value = float(_loss(training, batch, None, where))
            if not math.isfinite(value):
                _fail(f"the validation loss is {value}", where)
            rows = num_rows(batch) or 1
            total, weights = total + rows * value, weights + rows
    if not weights:
        raise ValueError(f"validation gave no batches in epoch {epoch}; it must be iterable again")
    return total / weights


def _reschedule(schedule: LRScheduler | None, loss: float) -> None:
    """One step of the schedule of the rate."""
    if isinstance(schedule, ReduceLROnPlateau):
        schedule.step(loss)
    elif schedule is not None:
        schedule.step()


def _place(where: dict[str, Any]) -> str:
    """Where it happened, in words."""
    batch = f", batch {where['batch_index']}" if "batch_index" in where else ""
    return f"at epoch {where['epoch']}{batch} (step {where['step']})"


def _fail(what: str, where: dict[str, Any]) -> None:
    """Raises: NonFiniteLoss."""
    text = f"{what} {_place(where)}; check the data, or lower the learning rate"
    raise NonFiniteLoss(text, **where)


@contextmanager
def quiet() -> Iterator[None]:
    """Without Pyro's warning of a loss that is not finite: here that is an error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Encountered (NaN|[+-]?inf)")
        yield
