"""Rows of a wide matrix in few dimensions, by singular vectors.

Symbols: x (N, M) rows, such as the responses of N kernels to M images; d dimensions kept.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from probact.arrays import as_matrix, check_count

__all__ = ["Projection", "singular_projection"]


class Projection(NamedTuple):
    """x projected on its first d right singular vectors."""

    scores: Tensor  # (N, d) = x @ directions.T, the new coordinates of the rows
    directions: Tensor  # (d, M), orthonormal rows
    singular_values: Tensor  # (d,), decreasing
    share: float  # of the sum of squares of x that the scores keep


def singular_projection(x: Tensor, dim: int) -> Projection:
    """Project rows x (N, M) on the first `dim` right singular vectors of x, which is not centred.

    Jamroz et al. 2020, section 4. Signs are fixed: the entry of a direction that is largest in
    absolute value is positive. The decomposition takes O(N M min(N, M)) and runs in float64.

    Raises:
        TypeError: x is no array.
        ValueError: x is not a finite matrix, or `dim` is more than the numerical rank of x.

    >>> singular_projection(torch.tensor([[3.0, 0.0], [0.0, 1.0]]), dim=1).scores
    tensor([[3.],
            [0.]], dtype=torch.float64)
    """
    rows = as_matrix(x, "x").double()
    check_count(dim, "dim")
    _, values, right = torch.linalg.svd(rows, full_matrices=False)
    smallest = values[0] * max(rows.shape) * torch.finfo(torch.float64).eps
    rank = int((values > smallest).sum())
    if dim > rank:
        raise ValueError(f"dim must be at most the rank of x, which is {rank}, got {dim}")
    directions = right[:dim]
    peak = directions.gather(1, directions.abs().argmax(1, keepdim=True))  # (d, 1)
    directions = directions * peak.sign()
    share = float((values[:dim] ** 2).sum() / (values**2).sum())
    return Projection(rows @ directions.T, directions, values[:dim].clone(), share)
