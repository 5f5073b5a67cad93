"""What a fit minimises: a Pyro ELBO of model and guide, or the model's own `objective`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from pyro.infer import ELBO
from torch import Tensor
from torch.nn import Module, Parameter

from probact.inference.batches import num_rows

__all__ = ["Objective", "has_objective", "own_objective", "pyro_objective"]


class Objective(NamedTuple):
    """module holds all parameters; loss(batch, epoch) is in nats, epoch None in evaluation.

    per_row says that a loss is the mean over the rows of its batch, which weighs it in an epoch.
    """

    module: Module
    loss: Callable[[tuple[Any, ...], int | None], Tensor]
    per_row: bool

    @property
    def parameters(self) -> list[Parameter]:
        """What is trained."""
        return [p for p in self.module.parameters() if p.requires_grad]

    def weight(self, batch: tuple[Any, ...]) -> int:
        """Weight of a batch in the mean over the batches of an epoch."""
        return (num_rows(batch) or 1) if self.per_row else 1


def has_objective(model: Module) -> bool:
    """Whether the model brings a loss of its own.

    >>> has_objective(Module())
    False
    """
    return callable(getattr(model, "objective", None))


def own_objective(model: Any) -> Objective:
    """The model's `objective(*batch, epoch=)`, mean over the rows of a batch.

    >>> own_objective(Module()).per_row
    True
    """

    def loss(batch: tuple[Any, ...], epoch: int | None) -> Tensor:
        value = model.objective(*batch, epoch=epoch)
        if not isinstance(value, Tensor) or value.ndim:
            kind = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"model.objective must return a tensor of shape (), got {kind}")
        return value

    return Objective(model, loss, per_row=True)


def pyro_objective(elbo: ELBO, model: Module, guide: Callable[..., Any]) -> Objective:
    """The negative ELBO of model and guide.

    >>> from pyro.infer import Trace_ELBO
    >>> pyro_objective(Trace_ELBO(), Module(), Module()).per_row
    False
    """
    bound = elbo(model, guide)

    def loss(batch: tuple[Any, ...], epoch: int | None) -> Tensor:
        with torch.enable_grad():  # TraceEnum_ELBO refuses a value without a gradient
            value: Tensor = bound(*batch)
        return value if torch.is_grad_enabled() else value.detach()

    return Objective(bound, loss, per_row=False)
