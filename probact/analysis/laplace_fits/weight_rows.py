"""Weights at the border: a matrix (K, n), one row per class, read without a copy where it can be.

Checked here: type and shape. Finite values are checked while rows are sorted, which costs nothing:
NaN and infinity end up at the ends of a row.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probact.arrays import as_tensor, check_finite, floats

__all__ = ["as_weight_rows", "check_sorted", "row_blocks", "sort_rows", "standardised_rows"]

_LARGEST = 1e300  # of a row's length times its largest entry, so that no sum overflows


def as_weight_rows(value: Any, name: str = "weights", smallest: int = 3) -> Tensor:
    """Weights (K, n) of any floating type, detached; tensors keep their memory.

    Raises:
        TypeError: no array.
        ValueError: not 2-D, no row, fewer than `smallest` columns, or not floating: integers are
            codes of a quantised layer, which have lost their scale.

    >>> as_weight_rows([[0.5, 1.0, 2.0]]).shape
    torch.Size([1, 3])
    """
    weights = as_tensor(value, name)
    if weights.dtype not in floats:
        raise ValueError(
            f"{name} must be floating point, got {weights.dtype}; dequantise integer codes first"
        )
    if weights.ndim != 2:
        shape = tuple(weights.shape)
        raise ValueError(f"{name} must be a matrix (classes, features), got shape {shape}")
    if weights.shape[0] < 1 or weights.shape[1] < smallest:
        raise ValueError(
            f"{name} must have at least 1 row and {smallest} columns, "
            f"got shape {tuple(weights.shape)}"
        )
    return weights


def row_blocks(weights: Tensor) -> Iterator[Tensor]:
    """Blocks of rows, small enough on the CPU that a few float64 copies stay in its cache."""
    entries = 2**17 if weights.device.type == "cpu" else 2**24
    yield from weights.split(max(1, entries // weights.shape[1]))


def sort_rows(block: Tensor) -> Tensor:
    """Rows (k, n) in ascending order, NaN last; half precision becomes float32, which is exact.

    >>> sort_rows(torch.tensor([[2.0, 1.0]]))
    tensor([[1., 2.]])
    """
    if block.dtype in (torch.float16, torch.bfloat16):
        block = block.float()
    if block.device.type == "cpu":  # values only: torch.sort also builds indices, 10 times slower
        return torch.from_numpy(np.sort(block.contiguous().numpy(), axis=-1))
    return block.sort(dim=-1).values


def check_sorted(ordered: Tensor, weights: Tensor, name: str = "weights") -> None:
    """Refuse sorted rows (k, n) that hold NaN, infinity or sums that overflow.

    Raises:
        ValueError: names the first such row of the whole matrix `weights`.

    >>> check_sorted(torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, 1.0]]))
    """
    ends = ordered[:, [0, -1]].double().abs()
    if bool((ends * ordered.shape[1] < _LARGEST).all()):
        return
    check_finite(weights, name)
    row = int((weights.double().abs().amax(1) * weights.shape[1] >= _LARGEST).nonzero()[0])
    raise ValueError(f"{name} is too large in row {row} for its sum; rescale it")


def standardised_rows(block: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rows (k, n) at median zero and mean absolute deviation one, median and deviation (k,) each,
    and which rows are constant.

    Constant rows become -1, 0 and 1 in turn, so that nothing fails on them.

    >>> standardised_rows(torch.tensor([[1.0, 2.0, 6.0]]))[0].squeeze()
    tensor([-0.6000,  0.0000,  2.4000], dtype=torch.float64)
    """
    x = block.double()
    median = x.median(-1).values
    x = x - median.unsqueeze(-1)
    spread = x.abs().mean(-1)
    constant = ~(spread > 1e-300)
    spread = spread.clamp_min(1e-300)
    filler = torch.arange(x.shape[1], dtype=x.dtype, device=x.device) % 3 - 1.0
    x = torch.where(constant.unsqueeze(-1), filler, x / spread.unsqueeze(-1))
    return x, median, spread, constant
