"""Patterns as the models of patterns take them."""

from typing import Any

from torch import Tensor

from probact.arrays import as_bits, check_count

__all__ = ["num_rows", "pattern_rows"]


def pattern_rows(a: Any, num_units: int) -> Tensor:
    """Patterns (N, num_units) as uint8.

    a: booleans or numbers 0 and 1; of packed patterns pass `packed.bits()`.

    Raises: ValueError or TypeError for anything but zeros and ones in so many columns.
    >>> pattern_rows([[True, False]], 2)
    tensor([[1, 0]], dtype=torch.uint8)
    """
    rows = as_bits(a, "a")
    if rows.shape[1] != num_units:
        raise ValueError(f"a must have {num_units} units, got {rows.shape[1]}")
    return rows


def num_rows(rows: Tensor | None, num_points: int | None) -> int:
    """N of a program that is given patterns, or the number of them to draw.

    Raises: ValueError for both or neither, or a number below one.
    >>> num_rows(None, 3)
    3
    """
    if rows is not None:
        if num_points is not None:
            raise ValueError("give a or num_points, not both")
        return len(rows)
    if num_points is None:
        raise ValueError("give patterns a, or num_points to draw them")
    check_count(num_points, "num_points")
    return num_points
