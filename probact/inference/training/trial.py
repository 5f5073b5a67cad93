"""One call of the loss before anything is written, so that what it refuses leaves no trace."""

from contextlib import closing
from typing import Any

import torch
from numpy.random import SeedSequence

from probact.inference.randomness import seeded
from probact.inference.training.loop import quiet
from probact.inference.training.objectives import Objective
from probact.inference.training.snapshots import buffers_kept, in_evaluation
from probact.inference.training.source import Source

__all__ = ["try_losses"]

_TRIAL = (2,)  # key of the stream, beside those of the training and of its validations


def try_losses(objective: Objective, first: tuple[Any, ...], source: Source) -> None:
    """Call the loss on the first batch and on the first one of the validation data.

    In evaluation mode; modes, buffers and random streams come back. With gradients for the first,
    which an objective may take inside. An ELBO has had its call when its parameters were made.

    Raises: what the model raises, its ValueError for validation data marked as such.
    """
    stream, module = SeedSequence(source.seed, spawn_key=_TRIAL), objective.module
    with seeded(stream), quiet(), in_evaluation(module), buffers_kept(module):
        if objective.per_row:
            objective.loss(first, None)
        if source.validation is not None:
            _try_validation(objective, source)


def _try_validation(objective: Objective, source: Source) -> None:
    with closing(source.validation_epoch()) as epoch:
        batch = next(epoch, None)
    if batch is None:
        raise ValueError("validation has no batches")
    try:
        with torch.no_grad():
            objective.loss(batch, None)
    except ValueError as error:
        raise ValueError(f"validation: {error}") from error
    except Exception as error:
        error.add_note("in the validation loss, before the first epoch")
        raise
