r"""Does the asymmetric Laplace law hold for each row of weights? Tests with estimated parameters.

Symbols: K rows of n weights; R replicates; kappa_hat (K,) the fitted asymmetry.

With m, s and kappa estimated from the same weights the statistics are smaller than their textbook
laws say (the 95 % point of sqrt(n) KS is 0.83 at kappa = 1, not 1.36), so the null law is
simulated: draw from the fit, refit, measure. It depends on n and kappa alone. With many classes it
is simulated at a few quantiles of the fitted log kappa, from the smallest to the largest and from
the same random numbers, and p-values are interpolated in log kappa between them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Generator, Tensor

from probact.analysis.laplace_fits.ald_fit import ALDFit
from probact.analysis.laplace_fits.bootstrap import standard_draws
from probact.analysis.laplace_fits.fit_distance import FitDistance, fit_distance
from probact.analysis.laplace_fits.mle import fit_asymmetric_laplace
from probact.analysis.laplace_fits.weight_rows import as_weight_rows, row_blocks, sort_rows
from probact.arrays import as_number, check_count, check_seed

__all__ = ["GoodnessOfFit", "distance_quantile", "goodness_of_fit"]


@dataclass(frozen=True, eq=False)
class GoodnessOfFit:
    """Distances (K,) of the weights to their fits, and p-values of the test of each.

    Degenerate rows, and sides of the mode with fewer than 3 weights, have NaN in both.
    """

    distance: FitDistance
    pvalue: FitDistance

    def rejected(self, level: float = 0.05, statistic: str = "ad") -> Tensor:
        """(K,) bool: the law is refused at a false discovery rate of `level` over all classes.

        By Benjamini & Hochberg (1995), over the rows that have a p-value. The smallest p-value is
        1 / (R + 1): few rejections among K classes need R of the order of K / level.

        Raises:
            TypeError, ValueError: level is not in (0, 1), or there is no such statistic.
        """
        level = as_number(level, "level")
        if level >= 1.0:
            raise ValueError(f"level must lie in (0, 1), got {level}")
        if statistic not in FitDistance._fields:
            raise ValueError(f"statistic must be one of {FitDistance._fields}, got {statistic!r}")
        pvalue: Tensor = getattr(self.pvalue, statistic)
        refused = torch.zeros_like(pvalue, dtype=torch.bool)
        known = ~pvalue.isnan()
        if bool(known.any()):
            adjusted = stats.false_discovery_control(pvalue[known].numpy(force=True))
            refused[known] = torch.from_numpy(adjusted <= level).to(pvalue.device)
        return refused

    def to_frame(self) -> pd.DataFrame:
        """A row per class: the four distances and their p-values, `ks`, `ks_pvalue` and so on."""
        columns = {}
        for name in FitDistance._fields:
            columns[name] = getattr(self.distance, name).numpy(force=True)
            columns[f"{name}_pvalue"] = getattr(self.pvalue, name).numpy(force=True)
        index = pd.RangeIndex(len(self.distance.ks), name="class")
        return pd.DataFrame(columns, index=index)


def goodness_of_fit(
    weights: Any, *, replicates: int = 999, nodes: int = 5, seed: int = 0
) -> GoodnessOfFit:
    """Test every row of weights (K, n) against the asymmetric Laplace law.

    The cost is nodes * replicates refits of n weights, whatever K, or K * replicates where there
    are fewer rows than nodes. Rows share the simulated null, so that their p-values are exact one
    by one but not independent of each other given it.

    Raises:
        TypeError, ValueError: as `fit_asymmetric_laplace`; fewer than 19 replicates or 2 nodes, or
            a bad seed.

    >>> x = torch.randn(3, 500, generator=Generator().manual_seed(0))
    >>> goodness_of_fit(x, replicates=99).rejected().tolist()
    [True, True, True]
    """
    check_count(replicates, "replicates", 19)
    check_count(nodes, "nodes", 2)
    check_seed(seed)
    rows = as_weight_rows(weights)
    fit = fit_asymmetric_laplace(rows)
    distance = _distances(rows, fit)
    log_kappa = fit.asymmetry.log()
    grid = _grid(log_kappa[~fit.degenerate], nodes)
    if not len(grid):
        unknown = FitDistance(*(torch.full_like(d, torch.nan) for d in distance))
        return GoodnessOfFit(distance, unknown)
    nulls = [_null(at, rows.shape[1], replicates, int(seed)) for at in grid]
    pvalues = (
        _interpolated(log_kappa, grid, observed, torch.stack(null))
        for observed, *null in zip(distance, *nulls, strict=True)
    )
    return GoodnessOfFit(distance, FitDistance(*pvalues))


def distance_quantile(
    fit: ALDFit, prob: float = 0.95, *, replicates: int = 999, seed: int = 0
) -> FitDistance:
    """What the distances of each row stay below with probability `prob` if the law holds.

    The `ks` of it is the half width of a band around the fitted distribution function that the
    empirical one stays in everywhere at once, with all three parameters estimated. Costs a fit of
    `replicates` rows for every row: for some rows of a fit, `fit[870:871]`.

    Raises:
        TypeError, ValueError: a degenerate row, prob outside (0, 1), or as `goodness_of_fit`.

    >>> x = torch.randn(1, 500, generator=Generator().manual_seed(0))
    >>> distance_quantile(fit_asymmetric_laplace(x), replicates=99).ks < 1.36 / 500**0.5
    tensor([True])
    """
    prob = as_number(prob, "prob")
    if prob >= 1.0:
        raise ValueError(f"prob must lie in (0, 1), got {prob}")
    check_count(replicates, "replicates", 19)
    check_seed(seed)
    fit.require_laws("distance_quantile")
    columns = []
    for at in fit.asymmetry.log():
        null = _null(at, fit.num_weights, replicates, int(seed))
        columns.append([distance.nanquantile(prob) for distance in null])
    return FitDistance(*(torch.stack(column) for column in zip(*columns, strict=True)))


def _distances(rows: Tensor, fit: ALDFit) -> FitDistance:
    parts, start = [], 0
    for block in row_blocks(rows):
        stop = start + len(block)
        parts.append(fit_distance(sort_rows(block).double(), fit[start:stop]))
        start = stop
    return FitDistance(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _grid(log_kappa: Tensor, nodes: int) -> Tensor:
    """The fitted values themselves if they are few, else `nodes` of their quantiles."""
    own: Tensor = log_kappa.unique()  # ascending
    if len(own) <= nodes:
        return own
    share = torch.linspace(0.0, 1.0, nodes, dtype=torch.float64)
    return torch.from_numpy(np.quantile(own.numpy(force=True), share)).to(own.device)


def _null(log_kappa: Tensor, num: int, replicates: int, seed: int) -> FitDistance:
    """The distances (R,) of draws to their own fits."""
    generator = Generator(log_kappa.device).manual_seed(seed)
    parts = []
    for block in standard_draws(log_kappa.exp(), num, replicates, generator):
        parts.append(_distances(block, fit_asymmetric_laplace(block)))
    return FitDistance(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _interpolated(log_kappa: Tensor, grid: Tensor, observed: Tensor, null: Tensor) -> Tensor:
    """p-values (K,) of `observed` from null samples (G, R) at the grid's G values of log kappa."""
    above = (null[:, :, None] >= observed).sum(1)  # (G, K)
    at_nodes = (1.0 + above) / (1.0 + null.shape[1])
    right = torch.searchsorted(grid, log_kappa.nan_to_num()).clamp(0, len(grid) - 1)
    left = (right - 1).clamp_min(0)
    width = (grid[right] - grid[left]).clamp_min(torch.finfo(grid.dtype).tiny)
    share = ((log_kappa - grid[left]) / width).clamp(0.0, 1.0)
    row = torch.arange(len(observed), device=observed.device)
    pvalue = (1.0 - share) * at_nodes[left, row] + share * at_nodes[right, row]
    return torch.where(observed.isnan(), torch.nan, pvalue)
