"""Data on its way into a Pyro program: positional arguments, whole or in batches."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader

from probact.arrays import as_tensor

__all__ = ["as_args", "as_data", "batches", "check_batch_size", "num_rows", "to_device"]


def as_args(data: Any) -> tuple[Any, ...]:
    """Arguments of `model(*args)`: none for None, one for a tensor, all fields of a (named) tuple.

    Raises: ValueError for another type, or for rows with NaN.
    >>> len(as_args((torch.zeros(3), torch.ones(3))))
    2
    """
    if data is None:
        return ()
    data = as_data(data)
    if not isinstance(data, Tensor | tuple):
        kind = type(data).__name__
        raise ValueError(
            f"data must be None, a tensor, an array or a tuple of tensors, got {kind}"
        )
    args = _tuple(data)
    for i, arg in enumerate(args):
        _check_no_nan("data" if isinstance(data, Tensor) else f"data[{i}]", arg)
    return args


def as_data(data: Any, name: str = "data") -> Any:
    """A NumPy array as a tensor, in a (named) tuple too; anything else as it is.

    Raises: ValueError for an array that no tensor can hold.
    >>> as_data(np.zeros(2)).dtype, as_data((np.zeros(2), None))[0].dtype
    (torch.float64, torch.float64)
    """
    if isinstance(data, np.ndarray):
        return as_tensor(data, name)
    if not isinstance(data, tuple) or not any(isinstance(arg, np.ndarray) for arg in data):
        return data
    args = [
        as_tensor(arg, f"{name}[{i}]") if isinstance(arg, np.ndarray) else arg
        for i, arg in enumerate(data)
    ]
    return data._make(args) if hasattr(data, "_make") else tuple(args)


def _tuple(data: Tensor | tuple[Any, ...] | None) -> tuple[Any, ...]:
    """The arguments in data that was checked before."""
    if data is None:
        return ()
    return (data,) if isinstance(data, Tensor) else tuple(data)


def _check_no_nan(name: str, arg: Any) -> None:
    """Refuse a float tensor (N, ...) with NaN, naming its first bad row."""
    if not isinstance(arg, Tensor) or not arg.is_floating_point() or not arg.numel():
        return
    bad = arg.detach().reshape(len(arg) if arg.ndim else 1, -1).isnan().any(1).nonzero()
    if len(bad):
        raise ValueError(f"{name} has {len(bad)} rows with NaN (first: row {int(bad[0])})")


def num_rows(data: Any) -> int | None:
    """Rows N of the whole (checked) data set; None where it has no length.

    >>> num_rows(torch.zeros(5, 2))
    5
    """
    if isinstance(data, DataLoader):
        return len(data.dataset) if hasattr(data.dataset, "__len__") else None
    tensors = [arg for arg in _tuple(data) if isinstance(arg, Tensor) and arg.ndim]
    return len(tensors[0]) if tensors else None


def check_batch_size(data: Any, batch_size: int | None) -> None:
    """Refuse a batch size below 1, beside a DataLoader, or over tensors of unequal length.

    Raises: ValueError naming batch_size.
    >>> check_batch_size(torch.zeros(5, 2), 2)
    """
    if batch_size is None:
        return
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size must be a positive integer or None, got {batch_size!r}")
    if isinstance(data, DataLoader):
        raise ValueError("batch_size must be None beside a DataLoader, which has its own")
    rows = [len(arg) if arg.ndim else 0 for arg in _tuple(data) if isinstance(arg, Tensor)]
    if not rows or len(set(rows)) > 1:
        raise ValueError(f"batch_size needs tensors with equally many rows, got rows {rows}")


def to_device(args: tuple[Any, ...], device: torch.device) -> tuple[Any, ...]:
    """The arguments with every tensor moved to `device`.

    >>> to_device((torch.zeros(2), None), torch.device("cpu"))
    (tensor([0., 0.]), None)
    """
    return tuple(arg.to(device) if isinstance(arg, Tensor) else arg for arg in args)


def batches(
    data: Any, batch_size: int | None, generator: Generator, device: torch.device
) -> Iterator[tuple[Any, ...]]:
    """One epoch: the whole data, or its rows shuffled in batches, or the loader's batches.

    data is a loader or was checked by `as_args`. The last batch holds the rows that are left over.
    Raises: ValueError for a loader whose batches are neither tensors nor tuples, or hold NaN.
    >>> [len(x) for (x,) in batches(torch.zeros(5), 2, Generator(), torch.device("cpu"))]
    [2, 2, 1]
    """
    if isinstance(data, DataLoader):
        for item in data:
            yield to_device(as_args(tuple(item) if isinstance(item, list) else item), device)
        return
    args = _tuple(data)
    if batch_size is None:
        yield to_device(args, device)
        return
    order = torch.randperm(num_rows(data) or 0, generator=generator)  # (N,)
    tensors = [arg for arg in args if isinstance(arg, Tensor)]
    for rows in order.to(tensors[0].device).split(batch_size):
        part = tuple(_rows(a, rows) if isinstance(a, Tensor) else a for a in args)
        yield to_device(part, device)


def _rows(x: Tensor, rows: Tensor) -> Tensor:
    """Rows of x, which is faster than indexing with brackets."""
    return x.index_select(0, rows if rows.device == x.device else rows.to(x.device))
