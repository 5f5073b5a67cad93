r"""Rows of weights, sorted once, and the sums that a mode needs of them in O(log n).

Symbols: x (K, n) a row's weights in ascending order, less their median; c_i the sum of the first
i. With i weights below the mode m,

    n B = sum (m - x)^+ = i m - c_i,     n A = sum (x - m)^+ = c_n - c_i - (n - i) m
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["SortedRows", "excesses", "sort_weights"]


class SortedRows(NamedTuple):
    """Rows of weights as the kernels want them, float64."""

    values: Tensor  # (K, n) ascending, less the centre
    sums: Tensor  # (K, n + 1) of the first 0, 1, ..., n values
    centre: Tensor  # (K,) the median, so that sums do not cancel

    @property
    def num_weights(self) -> int:
        """n."""
        return self.values.shape[1]


def sort_weights(weights: Tensor) -> SortedRows:
    """The rows of finite weights (K, n), on their device.

    >>> sort_weights(torch.tensor([[3.0, 1.0, 2.0]])).sums
    tensor([[ 0., -1., -1.,  0.]], dtype=torch.float64)
    """
    x = weights.double()
    if x.device.type == "cpu":  # values only: torch.sort also builds indices, 10 times slower
        x = torch.from_numpy(np.sort(x.contiguous().numpy(), axis=-1))
    else:
        x = x.sort(dim=-1).values
    centre = x[:, x.shape[1] // 2].clone()
    x = x - centre.unsqueeze(1)
    sums = torch.nn.functional.pad(x.cumsum(1), (1, 0))
    return SortedRows(x, sums, centre)


def excesses(rows: SortedRows, loc: Tensor) -> tuple[Tensor, Tensor]:
    """n A and n B (K,): the sums of the weights' distances above and below the modes loc (K,).

    >>> rows = sort_weights(torch.tensor([[3.0, 1.0, 2.0]]))
    >>> excesses(rows, torch.tensor([1.5], dtype=torch.float64))
    (tensor([2.], dtype=torch.float64), tensor([0.5000], dtype=torch.float64))
    """
    m = (loc - rows.centre).unsqueeze(1)  # (K, 1)
    below = torch.searchsorted(rows.values, m)
    partial, total = rows.sums.gather(1, below), rows.sums[:, -1:]
    left = below * m - partial
    right = (total - partial) - (rows.num_weights - below) * m
    return right.clamp(min=0.0).squeeze(1), left.clamp(min=0.0).squeeze(1)
