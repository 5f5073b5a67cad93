"""Weights that no continuous law made: features that no class uses, and values that repeat.

Symbols: weights W (K, n), one row per class, one column per feature.

A column that training has driven to nothing puts a spike at zero into every row. With 15 % of such
columns a fit's mode sits on the spike and its rate is a fifth too large.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from probact.analysis.laplace_fits.weight_rows import (
    as_weight_rows,
    check_sorted,
    row_blocks,
    sort_rows,
)
from probact.arrays import as_number, check_finite

__all__ = ["RepeatedValue", "dead_features", "most_repeated_value"]


class RepeatedValue(NamedTuple):
    """The value that occurs most often in each row, the smallest of them if several do."""

    value: Tensor  # (K,) float64
    num_equal: Tensor  # (K,) int64; 1: all weights differ
    share: Tensor  # (K,) num_equal / n


def most_repeated_value(weights: Any) -> RepeatedValue:
    """Exactly equal weights of every row (K, n): pruned to zero, or rounded to a coarse grid.

    Rows with a large share are no sample of a density, and a fit puts its mode there.

    Raises:
        TypeError, ValueError: as `fit_asymmetric_laplace`, but one column is enough.

    >>> most_repeated_value(torch.tensor([[0.0, 0.5, 0.0, -0.0]])).share
    tensor([0.7500], dtype=torch.float64)
    """
    rows = as_weight_rows(weights, smallest=1)
    values, counts = [], []
    for block in row_blocks(rows):
        x = sort_rows(block)
        check_sorted(x, rows)
        position = torch.arange(x.shape[1], device=x.device).expand(x.shape)
        starts = torch.ones_like(x, dtype=torch.bool)
        starts[:, 1:] = x[:, 1:] != x[:, :-1]
        run = position - torch.where(starts, position, 0).cummax(-1).values  # 0, 1, 2, ... a run
        longest, at = run.max(-1)
        counts.append(longest + 1)
        values.append(x.gather(-1, at.unsqueeze(-1)).squeeze(-1).double())
    count = torch.cat(counts)
    return RepeatedValue(torch.cat(values), count, count.double() / rows.shape[1])


def dead_features(weights: Any, tolerance: float = 1e-3) -> Tensor:
    """(n,) bool: columns of weights (K, n) that are next to nothing in all classes.

    Their norm is below `tolerance` of the median norm of the columns that are not exactly zero.
    Fit `weights[:, ~dead_features(weights)]`: what is left out is then for all to see. If most
    features are dead but not exactly zero, the median is that of a dead one and none is found.

    Raises:
        TypeError, ValueError: as `fit_asymmetric_laplace`, but one column is enough; tolerance is
            not a positive number.

    >>> dead_features(torch.tensor([[1.0, 1e-9, -2.0], [0.5, 0.0, 1.0]]))
    tensor([False,  True, False])
    """
    tolerance = as_number(tolerance, "tolerance")
    rows = as_weight_rows(weights, smallest=1)
    check_finite(rows, "weights")
    peak = rows.abs().amax().double()
    if not bool(peak > 0.0):
        return torch.ones(rows.shape[1], dtype=torch.bool, device=rows.device)
    norm = torch.linalg.vector_norm(rows.double() / peak, dim=0)  # (n,), no square overflows
    alive = norm > 0.0
    dead: Tensor = norm < tolerance * norm[alive].median()
    return dead
