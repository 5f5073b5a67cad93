"""What every law on the unit sphere S^(d-1) does the same way: sampling and expansion."""

from abc import abstractmethod
from typing import Any, Self

import torch
from pyro.distributions import TorchDistribution
from torch import Generator, Size, Tensor
from torch.distributions import Distribution, constraints

from probact.distributions.sphere_parameters import (
    as_generator,
    as_sphere_parameters,
    unit_vector,
)

__all__ = ["AxialLaw", "SphereLaw"]


class SphereLaw(TorchDistribution):
    """Abstract: a law of unit vectors in R^d; a subclass says how it draws and its log density."""

    support = unit_vector

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the parameters live."""

    @abstractmethod
    def _draw(self, sample_shape: Size, generator: Generator | None) -> Tensor:
        """Draws (*sample_shape, *batch_shape, d)."""

    @property
    def dim(self) -> int:
        """Ambient dimension d."""
        return int(self._event_shape[0])

    def rsample(self, sample_shape: Any = (), *, generator: Generator | None = None) -> Tensor:
        """Draws (*sample_shape, *batch_shape, d), differentiable in the parameters."""
        if not self.has_rsample:
            raise NotImplementedError(f"{type(self).__name__} has no reparameterised draws")
        return self._draw(Size(sample_shape), generator)

    def sample(
        self,
        sample_shape: Any = (),
        *,
        generator: Generator | None = None,
        seed: int | None = None,
    ) -> Tensor:
        """Draws (*sample_shape, *batch_shape, d) without gradients, from a generator or a seed."""
        stream = as_generator(generator, seed, self.device)
        with torch.no_grad():
            return self._draw(Size(sample_shape), stream)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """The same law in a larger batch, its parameters expanded without a copy."""
        new: Self = self._get_checked_instance(type(self), _instance)
        batch_shape = Size(batch_shape)
        for name, constraint in self.arg_constraints.items():
            tail = self._event_shape if constraint.event_dim else ()
            setattr(new, name, getattr(self, name).expand(Size([*batch_shape, *tail])))
        Distribution.__init__(new, batch_shape, self._event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new


class AxialLaw(SphereLaw):
    """Abstract: a law that is symmetric about a direction `loc`, spread by a `concentration`."""

    arg_constraints = {"loc": unit_vector, "concentration": constraints.nonnegative}

    loc: Tensor
    concentration: Tensor

    def __init__(self, loc: Any, concentration: Any, *, validate_args: bool | None = None) -> None:
        loc, concentration = as_sphere_parameters(loc, concentration, validate_args)
        batch_shape = torch.broadcast_shapes(loc.shape[:-1], concentration.shape)
        self.loc, self.concentration = loc, concentration  # unexpanded: a shared kappa stays one
        super().__init__(batch_shape, loc.shape[-1:], validate_args=False)  # checked above
        default = Distribution._validate_args
        self._validate_args = default if validate_args is None else validate_args

    @classmethod
    def infer_shapes(cls, loc: Any, concentration: Any) -> tuple[Size, Size]:
        """Batch and event shape for parameters of these shapes."""
        return torch.broadcast_shapes(loc[:-1], concentration), Size(loc[-1:])

    @property
    def device(self) -> torch.device:
        return self.loc.device
