"""Parameters of a max-affine layer at the border: slopes A (K, R, D), offsets B (K, R), noise."""

from typing import Any

import torch
from torch import Tensor

from probact.distributions.sphere_parameters import as_real_tensor, first_index

__all__ = ["as_max_affine", "as_noise", "as_slopes", "require_finite"]


def as_slopes(slopes: Any) -> Tensor:
    """Finite A (K, R, D) with its gradient; arrays and lists become float64.

    Raises: TypeError for other types; ValueError for another shape, NaN or infinity.
    >>> as_slopes([[[1.0, 2.0]]]).shape
    torch.Size([1, 1, 2])
    """
    value = as_real_tensor(slopes, "slopes")
    if value.ndim != 3 or 0 in value.shape:
        raise ValueError(
            "slopes must be (K, R, D), units, regions and dimensions, none of them 0, got shape"
            f" {tuple(value.shape)}"
        )
    require_finite(value, "slopes")
    return value


def as_max_affine(slopes: Any, table: Any, name: str = "offsets") -> tuple[Tensor, Tensor]:
    """A (K, R, D) and a table (K, R) of that name, such as B, of one floating type.

    Raises: TypeError or ValueError, as `as_slopes`.
    >>> as_max_affine([[[1.0, 2.0]]], [[0.0]])[1].shape
    torch.Size([1, 1])
    """
    first = as_slopes(slopes)
    second = as_real_tensor(table, name, like=first)
    if second.shape != first.shape[:2]:
        raise ValueError(
            f"{name} must be (K, R) = {tuple(first.shape[:2])} as the slopes, got shape"
            f" {tuple(second.shape)}"
        )
    require_finite(second, name)
    dtype = torch.promote_types(first.dtype, second.dtype)
    return first.to(dtype), second.to(dtype)


def as_noise(noise: Any, slopes: Tensor, *, per_unit: bool = False) -> Tensor:
    """Variance s2 > 0, () or one a unit (K,), of the type and device of slopes (K, R, D).

    Its gradient is kept.
    Raises: TypeError for what is no number; ValueError for another shape or a value <= 0.
    >>> as_noise(2, torch.zeros(1, 2, 3))
    tensor(2.)
    """
    value = as_real_tensor(noise, "noise", like=slopes)
    expected = f"() or ({len(slopes)},), one a unit" if per_unit else "one number"
    if value.shape not in ((), *([slopes.shape[:1]] if per_unit else [])):
        raise ValueError(f"noise must be {expected}, got shape {tuple(value.shape)}")
    held = value.to(slopes.dtype)
    smallest = torch.finfo(slopes.dtype).tiny  # below it 1 / s2 may be infinite
    wrong = ~((held >= smallest) & held.isfinite())
    if bool(wrong.any()):
        got = float(value.detach()[wrong][0])
        range_ = f", beyond the range of {slopes.dtype}" if 0.0 < got < torch.inf else ""
        raise ValueError(
            f"noise is a variance: it must be finite and above 0, got {got!r}{range_}"
        )
    return held


def require_finite(value: Tensor, name: str) -> None:
    """Refuse NaN and infinities, naming the first.

    Raises: ValueError.
    >>> require_finite(torch.zeros(2), "offsets")
    """
    wrong = ~torch.isfinite(value.detach())
    if bool(wrong.any()):
        at = first_index(wrong)
        raise ValueError(f"{name} must be finite, got {value[at].item()!r} at index {at}")
