"""Data of any usual form as a stream of batches for a network.

Forms: a `DataLoader` or any iterable of batches; a `Dataset`; an array or tensor (N, ...); a pair
(x, labels) of these. A batch is a tensor or array, a list or tuple (x,) or (x, labels), or a dict.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from probact.arrays import as_labels, as_tensor, check_finite

__all__ = ["Batch", "batches", "num_batches"]

LABEL_KEYS = ("labels", "label", "targets", "target", "y")
INPUT_KEYS = ("x", "input", "inputs", "image", "images", "img", "pixel_values", "features", "data")


class Batch(NamedTuple):
    """Inputs of one pass, `rows` of them, as they came; `labels` (rows,) int64 or None."""

    args: tuple[Tensor, ...]
    kwargs: dict[str, Tensor]
    labels: Tensor | None
    rows: int

    @property
    def device(self) -> torch.device:
        """Where the inputs came."""
        return next(iter((*self.args, *self.kwargs.values()))).device


def num_batches(data: object, batch_size: int) -> int | None:
    """Number of batches where the data knows its length; else None.

    >>> num_batches(torch.zeros(10, 2), batch_size=4)
    3
    """
    data = data[0] if isinstance(data, tuple) and data else data
    try:
        length = len(data)  # type: ignore[arg-type]
    except TypeError:
        return None
    whole = isinstance(data, Tensor | np.ndarray | Dataset)
    return -(-length // batch_size) if whole else length


def batches(data: object, net: nn.Module, batch_size: int) -> Iterator[Batch]:
    """Batches of the data in its order, checked: finite inputs, one integer label per row.

    Raises:
        TypeError: data of a form that is not listed above.
        ValueError: NaN or infinity in the inputs, labels that do not fit, a batch of another form.

    >>> x, y = torch.zeros(5, 2), torch.arange(5)
    >>> [batch.labels.tolist() for batch in batches((x, y), torch.nn.Identity(), batch_size=3)]
    [[0, 1, 2], [3, 4]]
    """
    row = 0
    for raw in _raw(data, batch_size):
        batch = _mapped(raw, net) if isinstance(raw, Mapping) else _listed(raw)
        for name, x in [*enumerate(batch.args), *batch.kwargs.items()]:
            if "mask" not in str(name):  # attention masks may hold -inf
                check_finite(x, "data", offset=row)
        row += batch.rows
        yield batch


def _raw(data: object, batch_size: int) -> Iterable[object]:
    """Batches as they come, none of them looked into."""
    if isinstance(data, Tensor) and data.layout != torch.strided:
        raise ValueError(f"data must be dense, got layout {data.layout}")
    if isinstance(data, Tensor | np.ndarray):
        return _sliced(data, None, batch_size)
    if isinstance(data, tuple):
        if len(data) != 2 or not isinstance(data[0], Tensor | np.ndarray):
            raise ValueError("a tuple of data must be (x, labels), arrays or tensors")
        x, labels = data
        return _sliced(
            x, None if labels is None else as_labels(labels, "labels", len(x)), batch_size
        )
    if isinstance(data, Dataset):
        return DataLoader(data, batch_size=batch_size)
    if isinstance(data, str | bytes | Mapping) or not isinstance(data, Iterable):
        kind = "None" if data is None else type(data).__name__
        raise TypeError(
            f"data must be a DataLoader, a Dataset, an array, (x, labels) or batches, got {kind}"
        )
    return data


def _sliced(
    x: Tensor | np.ndarray, labels: Tensor | None, batch_size: int
) -> Iterator[tuple[object, Tensor | None]]:
    if x.ndim < 2:
        raise ValueError(f"data must have rows, shape (N, ...), got shape {tuple(x.shape)}")
    for start in range(0, len(x), batch_size):
        rows = slice(start, start + batch_size)
        yield x[rows], None if labels is None else labels[rows]


def _listed(raw: object) -> Batch:
    """A batch x, (x,) or (x, labels)."""
    parts = raw if isinstance(raw, tuple | list) else (raw,)
    if len(parts) not in (1, 2):
        raise ValueError(f"a batch must be x or (x, labels), got {len(parts)} parts; use a dict")
    x = as_tensor(parts[0], "data")
    return _batch((x,), {}, parts[1] if len(parts) == 2 else None)


def _mapped(raw: Mapping[str, Any], net: nn.Module) -> Batch:
    """A batch of named parts: those that forward() names, else the one of a usual name."""
    keywords = _keywords(net)
    named = [key for key in LABEL_KEYS if key in raw]
    if len(named) > 1:
        raise ValueError(f"a batch has several labels: {named}")
    labels = raw[named[0]] if named else None
    given = {key: value for key, value in raw.items() if key not in LABEL_KEYS}
    taken = given if keywords is None else {k: v for k, v in given.items() if k in keywords}
    if taken:
        return _batch((), {k: as_tensor(v, f"data[{k!r}]") for k, v in taken.items()}, labels)
    inputs = [key for key in given if key in INPUT_KEYS]
    if len(inputs) != 1:
        names = ", ".join(sorted(keywords or ())) or "nothing"
        raise ValueError(
            f"cannot tell the input among the keys {list(raw)}; forward() takes {names}"
        )
    return _batch((as_tensor(given[inputs[0]], f"data[{inputs[0]!r}]"),), {}, labels)


def _batch(args: tuple[Tensor, ...], kwargs: dict[str, Tensor], labels: object) -> Batch:
    first = next(iter((*args, *kwargs.values())))
    if first.ndim < 2 or first.numel() == 0:
        raise ValueError(
            f"data must have rows and values, shape (N, ...), got shape {tuple(first.shape)}"
        )
    rows = len(first)
    if labels is None:
        return Batch(args, kwargs, None, rows)
    try:
        return Batch(args, kwargs, as_labels(labels, "labels", rows), rows)
    except ValueError as error:
        raise ValueError(f"{error}; for data without classes pass batches of x alone") from None


def _keywords(net: nn.Module) -> frozenset[str] | None:
    """Names that forward() takes; None if it takes any."""
    parameters = inspect.signature(net.forward).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return frozenset(p.name for p in parameters if p.kind is not p.VAR_POSITIONAL)
