"""Refusals of arguments of `fit`, before any work."""

import os
from typing import Any

from pyro.infer import ELBO
from torch import Tensor
from torch.nn import Module
from torch.utils.data import DataLoader

from probact.arrays import check_count
from probact.inference.batches import as_args, check_batch_size
from probact.inference.training.objectives import has_objective

__all__ = ["check_arguments", "check_extras", "check_model"]


def check_arguments(
    model: Any, data: Any, epochs: Any, batch_size: Any, optimizer: Any, loss: Any
) -> None:
    """Refuse what is wrong by itself.

    Raises: ValueError naming the argument.
    >>> check_arguments(Module(), None, 0, None, None, None)
    Traceback (most recent call last):
    ValueError: epochs must be a positive integer, got 0
    """
    if not isinstance(model, Module):
        raise ValueError(f"model must be a PyroModule, got {type(model).__name__}")
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
        raise ValueError(f"epochs must be a positive integer, got {epochs!r}")
    if not isinstance(data, DataLoader):
        as_args(data)
    check_batch_size(data, batch_size)
    if optimizer is not None and not callable(optimizer):
        raise ValueError(
            "optimizer must be a function from parameters to a torch optimiser, such as"
            f" functools.partial(torch.optim.Adam, lr=1e-3); got {type(optimizer).__name__}"
        )
    if loss is not None and not isinstance(loss, ELBO):
        raise ValueError(f"loss must be a Pyro ELBO, got {type(loss).__name__}")


def check_model(model: Module, guide: Any, loss: Any) -> None:
    """Refuse a guide beside an objective, and attributes of the model that are no numbers.

    Raises: ValueError naming the argument or attribute.
    >>> check_model(Module(), None, None)
    """
    if loss is None and has_objective(model) and guide is not None:
        raise ValueError(
            "guide must be None for a model with an objective of its own, which knows its guide;"
            " pass loss=Trace_ELBO() to train another guide on the ELBO"
        )
    check_count(getattr(model, "warm_up", 0), "model.warm_up", smallest=0)
    rate = getattr(model, "learning_rate", 1.0)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < float("inf"):
        raise ValueError(f"model.learning_rate must be a positive number, got {rate!r}")


def check_extras(data: Any, schedule: Any, validation: Any, patience: Any, folder: Any) -> None:
    """Refuse a schedule, validation data, a patience or a checkpoint that cannot be used.

    Raises: ValueError naming the argument.
    >>> check_extras(None, None, None, 3, None)
    Traceback (most recent call last):
    ValueError: patience needs validation=, the data that tell what is better
    """
    if schedule is not None and not callable(schedule):
        raise ValueError(
            "schedule must be a function from an optimiser to a torch schedule, got"
            f" {type(schedule).__name__}"
        )
    if patience is not None:
        check_count(patience, "patience")
        if validation is None:
            raise ValueError("patience needs validation=, the data that tell what is better")
    if folder is not None and not isinstance(folder, str | os.PathLike):
        raise ValueError(f"checkpoint must be a folder or None, got {type(folder).__name__}")
    if validation is not None:
        _check_validation(data, validation)


def _check_validation(data: Any, validation: Any) -> None:
    """Refuse validation data without rows, or with rows unlike those of the data."""
    if isinstance(validation, DataLoader):
        return
    try:
        held_out = as_args(validation)
    except ValueError as error:
        raise ValueError(f"validation: {error}") from None
    tensors = [arg for arg in held_out if isinstance(arg, Tensor)]
    rows = [len(arg) if arg.ndim else 0 for arg in tensors]
    if len(set(rows)) > 1 or 0 in rows:
        raise ValueError(f"validation needs tensors with equally many rows, got rows {rows}")
    if isinstance(data, DataLoader):
        return
    wanted, got = _kinds(as_args(data)), _kinds(held_out)
    if wanted != got:
        raise ValueError(f"validation must hold the kinds of rows of data, {wanted}, got {got}")


def _kinds(args: tuple[Any, ...]) -> list[str]:
    """Dtype and shape of a row of every argument."""
    return [
        f"{str(arg.dtype).removeprefix('torch.')} {tuple(arg.shape[1:])}"
        if isinstance(arg, Tensor)
        else type(arg).__name__
        for arg in args
    ]
