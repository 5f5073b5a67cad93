"""Arrays at the border: what may come in, and the words of the refusal.

Symbols: x (N, D) rows; labels (N,) classes of the rows. Everything here checks and converts
without loss; nothing is filled in, clipped or dropped. Anything refused ends in a `TypeError` (not
an array at all) or a `ValueError` that names the argument and the first offending row.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "as_bits",
    "as_labels",
    "as_matrix",
    "as_number",
    "as_tensor",
    "check_count",
    "check_finite",
    "check_seed",
    "floats",
    "polar_rows",
]

floats = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_integers = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_wide_integers = (torch.uint16, torch.uint32, torch.uint64)


def as_tensor(value: object, name: str) -> Tensor:
    """Dense, detached tensor of real numbers of any shape; arrays and lists are copied.

    A tensor keeps its dtype, device and memory. NumPy arrays of any byte order, stride or
    alignment are read.

    Raises:
        TypeError: `value` is no tensor, array or list.
        ValueError: masked, sparse, quantised or complex values, text, objects, or a dtype torch
            lacks.

    >>> as_tensor(np.arange(3, dtype=">f8")[::-1], "x")
    tensor([2., 1., 0.], dtype=torch.float64)
    """
    if isinstance(value, Tensor):
        return _dense(value.detach(), name)
    return torch.from_numpy(_native(value, name))


def _dense(x: Tensor, name: str) -> Tensor:
    if x.is_quantized:
        raise ValueError(f"{name} is quantised; dequantise it first")
    if x.layout != torch.strided:
        raise ValueError(f"{name} must be a dense tensor, got layout {x.layout}")
    if x.is_meta:
        raise ValueError(f"{name} is on the meta device: it has a shape but no values")
    if x.dtype not in (*floats, *_integers, *_wide_integers, torch.bool):
        raise ValueError(f"{name} must hold real numbers, got dtype {x.dtype}")
    return x


def _native(value: object, name: str) -> np.ndarray:
    """A fresh C-ordered array in this machine's byte order."""
    if isinstance(value, np.ma.MaskedArray):
        raise ValueError(f"{name} is a masked array; fill or drop the masked entries first")
    known = isinstance(value, list | tuple) or hasattr(value, "__array__")
    if not known or isinstance(value, str | bytes):
        raise TypeError(f"{name} must be a tensor, an array or a list, got {_called(value)}")
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"{name} cannot be read as an array: {error}") from error
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        first = "" if array.size == 0 else f" (first entry, index {(0,) * array.ndim})"
        raise ValueError(f"{name} must hold real numbers, got dtype {array.dtype}{first}")
    return np.array(array, dtype=array.dtype.newbyteorder("="), order="C", copy=True)


def _called(value: object) -> str:
    return "None" if value is None else type(value).__name__


def check_finite(x: Tensor, name: str, offset: int = 0) -> None:
    """Refuse NaN and infinities in x (N, ...), whose first row has the number `offset`.

    >>> check_finite(torch.tensor([[0.0], [float("nan")]]), "x", offset=10)
    Traceback (most recent call last):
    ValueError: x has 1 row with NaN or infinity (first: row 11, index (0,))
    """
    if not x.is_floating_point() or bool(torch.isfinite(x).all()):
        return
    bad = ~torch.isfinite(x)
    rows = bad.reshape(bad.shape[0], -1).any(1)
    row = int(rows.nonzero()[0])
    index = tuple(int(i) for i in bad[row].nonzero()[0])
    count = int(rows.sum())
    raise ValueError(
        f"{name} has {count} row{'s' * (count > 1)} with NaN or infinity "
        f"(first: row {row + offset}, index {index})"
    )


def as_matrix(value: object, name: str) -> Tensor:
    """Finite float matrix in memory of its own; integers and booleans become float64.

    Raises:
        TypeError: `value` is no array.
        ValueError: not 2-D, no row or no column, NaN or infinity, not real.

    >>> as_matrix([[1, 2]], "weight")
    tensor([[1., 2.]], dtype=torch.float64)
    """
    x = as_tensor(value, name)
    if x.ndim != 2:
        raise ValueError(f"{name} must be a matrix (rows, columns), got shape {tuple(x.shape)}")
    if 0 in x.shape:
        raise ValueError(f"{name} must have rows and columns, got shape {tuple(x.shape)}")
    check_finite(x, name)
    return x.clone() if x.dtype in floats else x.double()


def as_bits(value: object, name: str) -> Tensor:
    """Zeros and ones (N, n) as uint8 in memory of their own, from booleans or numbers.

    Raises:
        TypeError: `value` is no array; of packed patterns pass `.bits()`.
        ValueError: not 2-D, no row or no column, or anything else than 0 and 1.

    >>> as_bits([[True, False]], "a")
    tensor([[1, 0]], dtype=torch.uint8)
    """
    if callable(getattr(value, "bits", None)):
        kind = type(value).__name__
        raise TypeError(f"{name} must be an array of 0 and 1, got {kind}: pass its .bits()")
    x = as_tensor(value, name)
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"{name} must be a matrix (rows, units), got shape {tuple(x.shape)}")
    wrong = (x != 0) & (x != 1)
    if bool(wrong.any()):
        at = tuple(int(i) for i in wrong.nonzero()[0])
        raise ValueError(f"{name} must hold 0 and 1 alone, got {x[at].item()!r} at index {at}")
    return x.to(torch.uint8, copy=True)


def as_labels(value: object, name: str, rows: int) -> Tensor:
    """Labels (rows,) as int64 in memory of their own.

    Raises:
        TypeError: `value` is no array.
        ValueError: not integers, not 1-D, not one per row, or beyond the range of int64.

    >>> as_labels([2, 0], "labels", rows=2)
    tensor([2, 0])
    """
    labels = as_tensor(value, name)
    if labels.dtype not in (*_integers, *_wide_integers):
        raise ValueError(f"{name} must be integers, got dtype {labels.dtype}")
    if labels.ndim != 1 or len(labels) != rows:
        raise ValueError(
            f"{name} must be one integer per row, shape ({rows},), got {tuple(labels.shape)}"
        )
    if labels.dtype == torch.uint64 and bool((labels.view(torch.int64) < 0).any()):
        raise ValueError(f"{name} has values beyond the range of int64")
    return labels.to(torch.int64, copy=True)


def polar_rows(x: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Directions (N, D) and lengths (N,) of finite rows x (N, D), at either end of the range.

    Raises:
        ValueError: a zero row, which has no direction; the first one is named.

    >>> polar_rows(torch.tensor([[3.0, 4.0]]), "x")
    (tensor([[0.6000, 0.8000]]), tensor([5.]))
    """
    largest = x.abs().amax(1, keepdim=True)
    zero = (largest == 0).flatten()
    if bool(zero.any()):
        count, row = int(zero.sum()), int(zero.nonzero()[0])
        raise ValueError(
            f"{name} has {count} zero row{'s' * (count > 1)}, no direction (first: row {row})"
        )
    scaled = x / largest  # whose squares neither overflow nor underflow
    length = torch.linalg.vector_norm(scaled, dim=1, keepdim=True)
    return scaled / length, (largest * length).flatten()


def check_count(value: int, name: str, smallest: int = 1) -> None:
    """Refuse what is not an integer of at least `smallest`.

    Raises:
        ValueError: names the argument, and says what came.

    >>> check_count(3, "draws")
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < smallest:
        raise ValueError(f"{name} must be an integer of at least {smallest}, got {value!r}")


def check_seed(seed: int) -> None:
    """Refuse what is not an integer in [0, 2^63), the range that a netCDF attribute holds.

    Raises: ValueError naming seed.
    >>> check_seed(0)
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise ValueError(f"seed must be an integer, got {seed!r}")
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed must lie in [0, 2**63), got {seed}")


def as_number(value: Any, name: str, above: float = 0.0, *, inclusive: bool = False) -> float:
    """A finite number above a bound, or on it if inclusive, from a number or a 0-d array.

    Raises:
        TypeError: not a number.
        ValueError: not finite, or not above the bound.

    >>> as_number(torch.tensor(2.0), "kappa", 0.0)
    2.0
    """
    if isinstance(value, str | bytes | bool) or value is None or np.ndim(value):
        raise TypeError(f"{name} must be a number, got {value!r}")
    try:
        number = float(value.detach() if isinstance(value, Tensor) else value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}") from None
    if not (above < number < math.inf or (inclusive and number == above)):
        least = "at least" if inclusive else "above"
        raise ValueError(f"{name} must be finite and {least} {above:g}, got {number!r}")
    return number
