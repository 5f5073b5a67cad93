"""The error of a training that met a loss, a gradient or a parameter that is not finite."""

from pathlib import Path
from typing import Any

__all__ = ["NonFiniteLoss"]


class NonFiniteLoss(ValueError):
    """Training stopped before a number that is not finite entered the parameters.

    epoch, batch_index and step (all from 0) say where, the step counted over all epochs; batch
    holds the arguments of the model there, () where no single batch is to blame; checkpoint is the
    folder with the last good state, None where there is none.

    >>> NonFiniteLoss("the loss is nan", epoch=2, step=7).epoch
    2
    """

    def __init__(
        self,
        message: str,
        *,
        epoch: int,
        step: int,
        batch_index: int | None = None,
        batch: tuple[Any, ...] = (),
        checkpoint: Path | None = None,
    ) -> None:
        super().__init__(message)
        self.epoch, self.step, self.batch_index = epoch, step, batch_index
        self.batch, self.checkpoint = batch, checkpoint
