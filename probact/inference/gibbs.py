"""What a Gibbs kernel of ours is, and how kernels are put together.

A kernel is stateless: `step` is a function of the state and of a generator alone, and all that the
next step needs is in what `save` returns. So a chain can be stopped anywhere and taken up again
with the same bits.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr
from torch import Generator, Tensor

__all__ = ["GibbsKernel", "Sweep"]


class GibbsKernel(ABC):
    """A Markov kernel that leaves the posterior of a model given data invariant.

    States are NamedTuples of the kernel's family; kernels of one family share them (`Sweep`).
    """

    @abstractmethod
    def init(self, model: Any, data: Any, generator: Generator) -> Any:
        """A first state. Raises: ValueError for data or a model that the kernel cannot sample."""

    @abstractmethod
    def step(self, state: Any, generator: Generator) -> Any:
        """The next state; `state` itself is not changed."""

    @abstractmethod
    def log_joint(self, state: Any) -> Tensor:
        """Log joint density of the state and the data, nats: the `log_prob_sum` of the model."""

    @abstractmethod
    def record(self, state: Any) -> dict[str, Tensor]:
        """What a draw keeps: sites of fixed shape, whatever numbers the labels have."""

    @abstractmethod
    def save(self, state: Any) -> dict[str, Tensor]:
        """All of the state that `restore` cannot compute from the model and the data."""

    @abstractmethod
    def restore(self, model: Any, data: Any, saved: Mapping[str, Tensor]) -> Any:
        """The state that was saved, with the same bits. Raises: ValueError where it cannot be."""

    def starts(self, model: Any, data: Any, generator: Generator) -> dict[str, Any]:
        """First states by name; `sample` runs each for a while and keeps the likeliest."""
        return {"init": self.init(model, data, generator)}

    def statistics(self, state: Any) -> dict[str, float]:
        """Numbers about the last step by ArviZ name; lp is the log joint density (nats)."""
        return {"lp": float(self.log_joint(state))}

    def export(
        self, model: Any, data: Any, draws: Mapping[str, Any], attributes: Mapping[str, Any]
    ) -> dict[str, xr.Dataset]:
        """Further groups of the posterior from all draws (chain, draw, ...) of `record`."""
        return {}


class Sweep(GibbsKernel):
    """Kernels of one family, one after the other: invariant since each of them is.

    The first one starts the chain.

    Raises: ValueError for an empty list or for something else than kernels.
    """

    def __init__(self, kernels: Sequence[GibbsKernel]) -> None:
        known = isinstance(kernels, Sequence) and len(kernels) > 0
        if not known or not all(isinstance(kernel, GibbsKernel) for kernel in kernels):
            raise ValueError(f"kernels must be a list of Gibbs kernels, got {kernels!r}")
        self.kernels = tuple(kernels)
        self._first = self.kernels[0]

    def init(self, model: Any, data: Any, generator: Generator) -> Any:
        return self._first.init(model, data, generator)

    def starts(self, model: Any, data: Any, generator: Generator) -> dict[str, Any]:
        return self._first.starts(model, data, generator)

    def step(self, state: Any, generator: Generator) -> Any:
        for kernel in self.kernels:
            state = kernel.step(state, generator)
        return state

    def log_joint(self, state: Any) -> Tensor:
        return self._first.log_joint(state)

    def record(self, state: Any) -> dict[str, Tensor]:
        return self._first.record(state)

    def statistics(self, state: Any) -> dict[str, float]:
        return self._first.statistics(state)

    def save(self, state: Any) -> dict[str, Tensor]:
        return self._first.save(state)

    def restore(self, model: Any, data: Any, saved: Mapping[str, Tensor]) -> Any:
        return self._first.restore(model, data, saved)

    def export(
        self, model: Any, data: Any, draws: Mapping[str, Any], attributes: Mapping[str, Any]
    ) -> dict[str, xr.Dataset]:
        return self._first.export(model, data, draws, attributes)
