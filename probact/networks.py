"""The front door: the head of a network, and the activations it computes.

Symbols: x (N, D) features; labels (N,) classes; weight (K, n), bias (K,) of the head.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from itertools import chain

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from probact.arrays import check_count, check_finite
from probact.capturing.batches import Batch, batches, num_batches
from probact.capturing.features import Features, row_file
from probact.capturing.passes import undisturbed, unwrap, usable
from probact.capturing.taps import Pool, Tap, tapped
from probact.heads import Head, find_head

__all__ = ["Features", "Head", "capture", "find_head"]


def capture(
    net: nn.Module,
    data: object,
    *,
    layer: str | None = None,
    pool: Pool | None = None,
    batch_size: int = 256,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    memmap: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> Features:
    """Activations of a network over data: `Features(x (N, D), labels (N,) or None)`.

    What: the input of the head (found as `find_head` does, the first rows as its example), or the
    output of the named `layer`; if that runs several times in a pass, of its last run. Maps (N, C,
    H, W) and (N, C, L) are averaged over space; tokens (N, T, D) and other forms need `pool`,
    which gets what the layer gave and returns (N, D).

    How: in eval mode without gradients; modes, buffers, parameters and torch's random generators
    are afterwards as before. Inputs go to the network's device and float dtype; `device` lends the
    network to another one meanwhile. `data`: a DataLoader, a Dataset, batches, an array (N, ...)
    or (x, labels); a batch is x, (x, labels) or a dict.

    Where: x is float32 or float64 (`dtype` to choose), where the data came from. `memmap` names a
    .npy file that is filled batch by batch, of any length, and replaced if it exists; x is then a
    copy-on-write view of it (labels stay in memory).

    Raises:
        LookupError: no such layer (close names are listed), no head, or the layer did not run.
        ValueError: NaN or infinity in data or features (the row is named), labels that are no
            integers or not one per row, features that are no (N, D), no data, data the network
            cannot take.
        TypeError: net is no module, or data of an unknown form.

    >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> features = capture(net, (torch.zeros(5, 4), torch.arange(5)))
    >>> features.x.shape, features.labels
    (torch.Size([5, 3]), tensor([0, 1, 2, 3, 4]))
    """
    check_count(batch_size, "batch_size")
    _check_options(net, layer, dtype)
    net, target = unwrap(net), None if device is None else usable(device)
    with ExitStack() as stack:
        stack.enter_context(undisturbed(net, target))
        store = None if memmap is None else stack.enter_context(row_file(memmap))
        stream = batches(data, net, batch_size)
        first = next(stream, None)
        if first is None:
            raise ValueError("data holds no rows")
        home = first.device if store is None else torch.device("cpu")
        tap = stack.enter_context(tapped(net, layer, pool, first, target))
        total = num_batches(data, batch_size)
        bar = tqdm(chain([first], stream), total=total, disable=None if progress else True)
        parts: list[Tensor] = []
        keep = parts.append if store is None else store.append
        labels = _pass_all(tap, bar, dtype, lambda x: keep(x.to(home)))
        y = torch.cat(labels).to(home) if labels else None
        if store is None:
            return Features(torch.cat(parts), y)
    assert memmap is not None
    return Features(torch.from_numpy(np.load(memmap, mmap_mode="c")), y)


def _check_options(net: nn.Module, layer: str | None, dtype: torch.dtype | None) -> None:
    if not isinstance(net, nn.Module):
        raise TypeError(f"net must be a torch module, got {type(net).__name__}")
    if dtype not in (None, torch.float32, torch.float64):
        raise ValueError(f"dtype must be torch.float32 or torch.float64, got {dtype}")
    if layer is not None and not (isinstance(layer, str) and layer):
        raise ValueError(f"layer must be the name of a module, got {layer!r}")


def _pass_all(
    tap: Tap, stream: Iterable[Batch], dtype: torch.dtype | None, keep: Callable[[Tensor], None]
) -> list[Tensor]:
    """Hand the features of every batch to `keep`; the labels of the batches."""
    labels: list[Tensor] = []
    kind: tuple[int, torch.dtype] | None = None
    row = 0
    for count, batch in enumerate(stream, start=1):
        x = tap(batch, row)
        if dtype is not None:
            x = x.to(dtype)
            check_finite(x, f"features, in {dtype},", offset=row)
        kind = kind or (x.shape[1], x.dtype)
        if kind != (x.shape[1], x.dtype):
            raise ValueError(
                f"features are {kind} before row {row}, {(x.shape[1], x.dtype)} there"
            )
        if batch.labels is not None:
            labels.append(batch.labels)
        if len(labels) not in (0, count):
            raise ValueError(f"some batches have labels and some have none (first: row {row})")
        keep(x)
        row += batch.rows
    return labels
