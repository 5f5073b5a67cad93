"""Checks of the arrays given to a plot: they are drawn as they are or refused in words."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["class_indices", "class_labels", "finite_array", "increasing_array"]


def finite_array(name: str, value: ArrayLike, *shape: int | str) -> NDArray[np.float64]:
    """Real, finite float64 array of the given shape; a letter in the shape stands for any size.

    Raises: ValueError naming the argument, if it is masked, not real, of another shape, empty or
    not finite.

    >>> finite_array("weights", [[1, 2], [3, 4]], "C", 2).shape
    (2, 2)
    """
    if isinstance(value, np.ma.MaskedArray):
        raise ValueError(f"{name} is a masked array; pass the entries to draw as a plain array")
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists, tensors with gradients
        raise ValueError(f"{name} must be a plain array of numbers: {error}") from error
    if array.dtype.kind not in "buif":
        raise ValueError(f"{name} must hold real numbers, got dtype {array.dtype}")
    matches = array.ndim == len(shape) and all(
        isinstance(want, str) or want == size
        for want, size in zip(shape, array.shape, strict=True)
    )
    if not matches:
        wanted = ", ".join(str(size) for size in shape) + ("," if len(shape) == 1 else "")
        raise ValueError(f"{name} must be ({wanted}), got shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"{name} must not be empty, got shape {array.shape}")
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        first = tuple(int(i) for i in bad[0])
        raise ValueError(f"{name} has {len(bad)} entries that are not finite (first: {first})")
    return array.astype(np.float64)


def increasing_array(name: str, value: ArrayLike) -> NDArray[np.float64]:
    """Real, finite float64 array (G,) each of whose entries is above the one before.

    Raises: ValueError naming the argument, as `finite_array` and if it does not increase.

    >>> increasing_array("grid", [0, 1, 3])
    array([0., 1., 3.])
    """
    array = finite_array(name, value, "G")
    if (np.diff(array) <= 0.0).any():
        raise ValueError(f"{name} must increase")
    return array


def class_indices(
    name: str, value: ArrayLike, *, size: int | str, num_classes: int
) -> NDArray[np.int64]:
    """Class indices (size,) as int64, each in 0, ..., num_classes - 1.

    Raises: ValueError naming the argument and the first index outside that range.

    >>> class_indices("labels", [0, 2, 1], size="N", num_classes=3)
    array([0, 2, 1])
    """
    array = finite_array(name, value, size)
    outside = np.flatnonzero((array < 0) | (array >= num_classes) | (array != np.floor(array)))
    if len(outside):
        found, where = array[outside[0]], int(outside[0])
        raise ValueError(
            f"{name} must be whole numbers from 0 to {num_classes - 1}, got {found:g} at {where}"
        )
    return array.astype(np.int64)


def class_labels(class_names: Sequence[str] | None, num_classes: int) -> list[str]:
    """Names (C,) of the classes: those given, or "0", "1", ...

    Raises: ValueError if the number of names is not the number of classes.

    >>> class_labels(None, 3)
    ['0', '1', '2']
    """
    if class_names is None:
        return [str(index) for index in range(num_classes)]
    if len(class_names) != num_classes:
        raise ValueError(f"class_names must hold {num_classes} names, got {len(class_names)}")
    return [str(name) for name in class_names]
