"""What every law of one random vector does the same way: expansion and seeded draws."""

import math
from abc import abstractmethod
from typing import Any, ClassVar, Self

import torch
from pyro.distributions import TorchDistribution
from torch import Generator, Size, Tensor
from torch.distributions import Distribution, constraints

from probact.distributions.sphere_parameters import as_generator

__all__ = ["VectorLaw"]


class VectorLaw(TorchDistribution):
    """Abstract: a law on R^D whose parameters have no batch; larger batches are independent draws.

    A subclass names the attributes that it consists of in `parts`.
    """

    arg_constraints: dict[str, Any] = {}
    support = constraints.real_vector
    parts: ClassVar[tuple[str, ...]]

    @property
    @abstractmethod
    def _like(self) -> Tensor:
        """A parameter: draws have its dtype and device."""

    @abstractmethod
    def _draw(self, count: int, generator: Generator | None) -> Tensor:
        """Draws (count, D), count > 0."""

    @property
    def dim(self) -> int:
        """D."""
        return int(self._event_shape[0])

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """The same law, drawn from independently over a larger batch."""
        new: Self = self._get_checked_instance(type(self), _instance)
        for name in self.parts:
            setattr(new, name, getattr(self, name))
        Distribution.__init__(new, Size(batch_shape), self._event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def sample(
        self,
        sample_shape: Any = (),
        *,
        generator: Generator | None = None,
        seed: int | None = None,
    ) -> Tensor:
        """Draws (*sample_shape, *batch_shape, D), from a generator or a seed."""
        shape = self._extended_shape(Size(sample_shape))
        stream = as_generator(generator, seed, self._like.device)
        count = math.prod(shape[:-1])
        if count == 0:
            return self._like.new_empty(shape)
        with torch.no_grad():
            return self._draw(count, stream).reshape(shape)
