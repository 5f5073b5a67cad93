"""What every law of one number does the same way: parameters, expansion and seeded draws."""

from typing import Any, Self

import torch
from pyro.distributions import TorchDistribution
from torch import Generator, Size, Tensor
from torch.distributions import Distribution, constraints

from probact.distributions.sphere_parameters import as_generator, as_real_tensor, first_index

__all__ = ["BatchedLaw", "as_parameters"]


class BatchedLaw(TorchDistribution):
    """Abstract: a law of one number whose parameters are those of `arg_constraints`.

    They share type, broadcast to batch_shape, and are read by name. A subclass has `rsample` with
    a `generator`, or a `_draw` of its own.
    """

    def _set_parameters(self, given: dict[str, Any], validate_args: bool | None) -> None:
        """Take over the parameters.

        Raises:
            TypeError: a parameter is not real floating data.
            ValueError: a parameter outside its constraint, or shapes that do not broadcast.
        """
        tensors = torch.broadcast_tensors(*as_parameters(given))
        for name, tensor in zip(given, tensors, strict=True):
            setattr(self, name, tensor)
        validate = Distribution._validate_args if validate_args is None else validate_args
        Distribution.__init__(self, tensors[0].shape, validate_args=False)
        self._validate_args = validate
        if validate:
            self._check_parameters()

    def _check_parameters(self) -> None:
        """Refuse parameters outside their constraints, naming the first one."""
        for name, constraint in self.arg_constraints.items():
            value: Tensor = getattr(self, name).detach()
            wrong = ~(torch.isfinite(value) & constraint.check(value))
            if wrong.any():
                at = first_index(wrong)
                got = value[at].item()
                raise ValueError(f"{name} must be {_rule(constraint)}, got {got!r} at {at}")

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """The same law in a larger batch, its parameters expanded without a copy."""
        new: Self = self._get_checked_instance(type(self), _instance)
        for name in self.arg_constraints:
            setattr(new, name, getattr(self, name).expand(Size(batch_shape)))
        Distribution.__init__(new, Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def sample(
        self,
        sample_shape: Any = (),
        *,
        generator: Generator | None = None,
        seed: int | None = None,
    ) -> Tensor:
        """Draws (*sample_shape, *batch_shape) without gradients, from a generator or a seed."""
        first: Tensor = getattr(self, next(iter(self.arg_constraints)))
        stream = as_generator(generator, seed, first.device)
        with torch.no_grad():
            return self._draw(sample_shape, stream)

    def _draw(self, sample_shape: Any, generator: Generator | None) -> Tensor:
        """Draws of `sample`."""
        draws: Tensor = self.rsample(sample_shape, generator=generator)
        return draws


def as_parameters(given: dict[str, Any]) -> list[Tensor]:
    """All as tensors of one type; plain numbers take that of the first tensor, or the default.

    Raises:
        TypeError: a parameter is not real floating data.
        ValueError: shapes that do not broadcast.

    >>> as_parameters({"loc": torch.zeros(2, dtype=torch.float64), "scale": 1.0})[1]
    tensor(1., dtype=torch.float64)
    """
    tensors = [value for value in given.values() if isinstance(value, Tensor)]
    like = next((value for value in tensors if value.is_floating_point()), None)
    if like is None and all(isinstance(value, int | float) for value in given.values()):
        like = torch.empty(())
    tensors = [as_real_tensor(value, name, like) for name, value in given.items()]
    dtype = tensors[0].dtype
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    try:
        torch.broadcast_shapes(*(tensor.shape for tensor in tensors))
    except RuntimeError:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors)
        raise ValueError(f"{', '.join(given)} of shapes {shapes} do not broadcast") from None
    return [tensor.to(dtype) for tensor in tensors]


def _rule(constraint: Any) -> str:
    if constraint is constraints.positive:
        return "finite and > 0"
    if constraint is constraints.unit_interval:
        return "in [0, 1]"
    return "finite"
