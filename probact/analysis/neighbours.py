"""Nearest rows by Euclidean distance, a block of rows at a time.

Symbols: x (N, D), y (M, D) rows; d_ij the distance between x_i and y_j.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from probact.arrays import as_matrix, as_tensor, check_finite

__all__ = ["as_rows", "nearest", "squared_distances"]

_BLOCK = 1 << 22  # distances held at once
_ROUNDING = 4e-15  # of |x|^2 + |y|^2: what a squared distance of float64 may be off by


def as_rows(value: Any, name: str, columns: int | None = None) -> Tensor:
    """Rows (N, D) in float64 of a matrix, or of images (N, ...) laid flat.

    Raises:
        TypeError: no array.
        ValueError: fewer than two axes, empty, not finite or beyond 1e150, or not `columns` wide.

    >>> as_rows(torch.zeros(5, 1, 8, 8), "images").shape
    torch.Size([5, 64])
    """
    x = as_tensor(value, name)
    if x.ndim > 2:
        check_finite(x, name)  # names the index in the image
        x = x.flatten(1)
    rows = as_matrix(x, name).double()
    if columns is not None and rows.shape[1] != columns:
        raise ValueError(f"{name} must have {columns} numbers a row, got {rows.shape[1]}")
    largest = float(rows.abs().max())
    if largest > 1e150:
        raise ValueError(f"{name} must be below 1e150 for its squares, got {largest:g}")
    return rows


def squared_distances(x: Tensor, y: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Blocks of rows of x: their place, d^2 (B, M), and how far each may be off (B, M).

    One matrix product a block: x and y should be centred, so that little cancels.

    >>> [(at, d)] = [(at, d) for at, d, _ in squared_distances(torch.eye(2), torch.eye(2))]
    >>> d
    tensor([[0., 2.],
            [2., 0.]])
    """
    y_norm = y.square().sum(1)
    size = max(1, _BLOCK // len(y))
    for start in range(0, len(x), size):
        rows = x[start : start + size]
        norms = rows.square().sum(1, keepdim=True) + y_norm  # (B, M)
        squared = torch.addmm(norms, rows, y.mT, alpha=-2.0).clamp_min(0.0)
        yield slice(start, start + len(rows)), squared, _ROUNDING * norms


def nearest(x: Tensor, y: Tensor, k: int, *, same: bool = False) -> tuple[Tensor, Tensor]:
    """Distances (N, k), ascending, of rows of x to their k nearest rows of y, and which (N, k).

    With `same` x is y, and a row is no neighbour of itself. Distances are those of the rows found,
    without cancellation: zero for equal rows.

    >>> distance, index = nearest(torch.tensor([[1.0]]), torch.tensor([[4.0], [0.0]]), 1)
    >>> distance, index
    (tensor([[1.]]), tensor([[1]]))
    """
    distances, indices = x.new_empty(len(x), k), torch.empty(len(x), k, dtype=torch.int64)
    indices = indices.to(x.device)
    for at, squared, _ in squared_distances(x, y):
        if same:
            own = torch.arange(len(squared), device=x.device)
            squared[own, own + at.start] = torch.inf
        found = squared.topk(k, largest=False).indices  # (B, k)
        for column in range(k):
            gap = x[at] - y[found[:, column]]
            distances[at, column] = torch.linalg.vector_norm(gap, dim=1)
        indices[at] = found
    distances, order = distances.sort(1)
    return distances, indices.gather(1, order)
