"""What every law on the unit sphere S^(d-1) shares: its constraint and the border checks.

Axes: (..., d) unit vectors in R^d, d >= 2; concentrations of any shape that broadcasts with (...).
"""

from typing import Any

import numpy as np
import torch
from pyro.distributions import transforms
from torch import Generator, Tensor
from torch.distributions import Distribution, constraints, transform_to

__all__ = ["as_generator", "as_real_tensor", "as_sphere_parameters", "first_index", "unit_vector"]


class _UnitVector(constraints.Constraint):
    """Norm one up to the rounding of a normalisation: 1e-5 in float32, 1e-6 in float64.

    Wider than Pyro's `sphere` (10 ulp), which refuses vectors that were normalised in float32.
    """

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        tolerance = 1e-6 if value.dtype == torch.float64 else 1e-5
        norm: Tensor = torch.linalg.vector_norm(value, dim=-1)
        return (norm - 1.0).abs() <= tolerance


unit_vector = _UnitVector()


@transform_to.register(_UnitVector)
def _transform_to_unit_vector(constraint: _UnitVector) -> transforms.Transform:
    return transforms.Normalize()


def as_sphere_parameters(
    loc: Any, concentration: Any, validate: bool | None
) -> tuple[Tensor, Tensor]:
    """The two parameters as tensors (..., d) and (...) of one floating type and device.

    Raises:
        TypeError: a parameter is not numeric, or has another type than float32 or float64.
        ValueError: wrong shape, d < 2, not a unit vector, or a concentration that is negative or
            not finite; the message names the first offending index.
    """
    loc = as_real_tensor(loc, "loc")
    concentration = as_real_tensor(concentration, "concentration", like=loc)
    dtype = (
        torch.promote_types(loc.dtype, concentration.dtype) if concentration.ndim else loc.dtype
    )
    loc, concentration = loc.to(dtype), concentration.to(dtype)
    if loc.ndim < 1 or loc.shape[-1] < 2:
        raise ValueError(f"loc must be (..., d) with d >= 2, got shape {tuple(loc.shape)}")
    try:
        torch.broadcast_shapes(loc.shape[:-1], concentration.shape)
    except RuntimeError:
        raise ValueError(
            f"concentration of shape {tuple(concentration.shape)} does not broadcast with the "
            f"batch shape {tuple(loc.shape[:-1])} of loc"
        ) from None
    if Distribution._validate_args if validate is None else validate:
        _check_values(loc.detach(), concentration.detach())
    return loc, concentration


def as_generator(
    generator: Generator | None, seed: int | None, device: torch.device
) -> Generator | None:
    """The given generator, or a fresh one from the seed; None is torch's own stream.

    Raises:
        ValueError: both are given.
    """
    if seed is None:
        return generator
    if generator is not None:
        raise ValueError("give a generator or a seed, not both")
    return Generator(device).manual_seed(seed)


def first_index(wrong: Tensor) -> tuple[int, ...]:
    """Index of the first True entry, for messages."""
    return tuple(int(i) for i in wrong.nonzero()[0])


def _check_values(loc: Tensor, concentration: Tensor) -> None:
    wrong = ~unit_vector.check(loc)
    if wrong.any():
        at = first_index(wrong)
        norm = torch.linalg.vector_norm(loc[at]).item()
        raise ValueError(f"loc must be unit vectors, got one of norm {norm!r} at index {at}")
    wrong = ~((concentration >= 0) & (concentration < torch.inf))
    if wrong.any():
        at = first_index(wrong)
        got = concentration[at].item()
        raise ValueError(f"concentration must be finite and >= 0, got {got!r} at index {at}")


def as_real_tensor(value: Any, name: str, like: Tensor | None = None) -> Tensor:
    """Tensor, array, list or number as a float32 or float64 tensor on the device of `like`.

    Arrays become float64 unless they are float32; numbers and integers take the type of `like`.

    Raises:
        TypeError: not real numbers, a masked array, or a tensor of another floating type.
        ValueError: ragged lists, or a tensor of several numbers on another device than `like`.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must not be a masked array: its masked entries have no value")
    if not isinstance(value, (Tensor, np.ndarray, np.generic, int, float, list, tuple)):
        raise TypeError(f"{name} must be a tensor, array or number, got {type(value).__name__}")
    if isinstance(value, bool):
        raise TypeError(f"{name} must be a number, got the bool {value}")
    if not isinstance(value, Tensor):
        array = np.asarray(value)
        if array.dtype.kind not in "fiu":
            raise TypeError(f"{name} must be real numbers, got an array of type {array.dtype}")
        kind = torch.float32 if array.dtype == np.float32 else torch.float64
        if like is not None and array.ndim == 0:
            kind = like.dtype
        value = torch.tensor(array.astype(np.float64), dtype=kind)
        value = value if like is None else value.to(like.device)
    if not value.is_floating_point() and not value.is_complex() and value.dtype != torch.bool:
        value = value.to(torch.get_default_dtype() if like is None else like.dtype)
    if value.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{name} must be float32 or float64, got {value.dtype}")
    if like is not None and value.device != like.device:
        if value.ndim:
            raise ValueError(f"{name} is on {value.device}, the other argument on {like.device}")
        value = value.to(like.device)
    result: Tensor = value
    return result
