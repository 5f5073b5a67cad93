r"""Where the tied von Mises-Fisher law of activations holds and where not, in numbers.

Symbols: x (N, D) raw activations, a = x / |x|; y (N,) labels; mu_i the direction of class i's row
of W (C, D); t = <mu_y, a> the cosine to the own class. Under the law a | y ~ vMF(mu_y, kappa) the
cosines follow one density, classes share kappa, class means point along mu_i, and |x| says nothing
about t.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from probact.arrays import as_labels, as_matrix, check_seed, polar_rows
from probact.distributions import VonMisesFisher

__all__ = ["DirectionalFit", "directional_fit"]

_CELLS = 20_000  # of the distribution function of the angle
_ZOOMS = 4  # each narrows the cells to where the density is; one step narrows 10,000-fold
_DROP = 45.0  # nats below the peak where the density counts as nothing


class DirectionalFit(NamedTuple):
    """Readings of N activations against vMF(mu_y, kappa) with one kappa."""

    mean_cosine: float  # of a to mu_y; A_D(kappa) at the best kappa
    ks_distance: float  # of the cosines to their law, in [0, 1]
    ks_pvalue: float  # of the Kolmogorov-Smirnov test, kappa taken as known
    mean_angle: tuple[float, ...]  # degrees between mu_i and class i's mean direction
    class_cosine: tuple[float, ...]  # mean cosine of each class: unequal means unequal spreads
    norm_correlation: float  # Spearman's, between |x| and t: 0 if the norm is no temperature
    non_negative: float  # share of activations with no negative coordinate
    model_non_negative: float  # the same share of the law's own draws at these labels


def directional_fit(
    x: Tensor, labels: Tensor, weight: Tensor, concentration: float, *, seed: int = 0
) -> DirectionalFit:
    """Compare raw activations x (N, D) with vMF(mu_y, concentration).

    Raises:
        TypeError, ValueError: values that are not finite, shapes that do not fit, a zero row,
            labels out of range, a class without activations, or a concentration that is negative.

    >>> law = VonMisesFisher(torch.eye(3)[0], 20.0)
    >>> x = law.sample((1000,), seed=0)
    >>> fit = directional_fit(x, torch.zeros(1000, dtype=torch.int64), torch.eye(3)[:1], 20.0)
    >>> round(fit.mean_cosine, 2), fit.ks_pvalue > 0.01
    (0.95, True)
    """
    x, weight, labels = _checked(x, weight, labels)
    (a, norm), (mu, _) = polar_rows(x, "x"), polar_rows(weight, "weight")
    check_seed(seed)
    law, counts = VonMisesFisher(mu, concentration), torch.bincount(labels, minlength=len(mu))
    if law.concentration.ndim:
        raise ValueError(f"concentration must be one number, got {concentration}")
    if (counts == 0).any():
        raise ValueError(f"class {int((counts == 0).nonzero()[0])} has no activation")
    cosine = (a * mu[labels]).sum(1).clamp(-1.0, 1.0)
    sums = torch.zeros_like(mu).index_add_(0, labels, a)
    mean_cosine = torch.cosine_similarity(sums, mu, dim=1).clamp(-1.0, 1.0)
    test = stats.kstest(cosine.numpy(force=True), lambda t: _cosine_cdf(law, t))
    draws = law.sample((max(1, 2000 // len(mu)),), seed=seed)  # (draws, C, D)
    own_share = (draws >= 0).all(-1).double().mean(0)  # (C,)
    return DirectionalFit(
        mean_cosine=float(cosine.mean()),
        ks_distance=float(test.statistic),
        ks_pvalue=float(test.pvalue),
        mean_angle=tuple((mean_cosine.acos() * 180.0 / math.pi).tolist()),
        class_cosine=tuple((torch.bincount(labels, cosine, len(mu)) / counts).tolist()),
        norm_correlation=_rank_correlation(norm, cosine),
        non_negative=float((a >= 0).all(1).double().mean()),
        model_non_negative=float((own_share * counts).sum() / len(x)),
    )


def _checked(x: Tensor, weight: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x (N, D) and weight (C, D) in float64, labels (N,) in int64, once they fit together."""
    x, weight = as_matrix(x, "x").double(), as_matrix(weight, "weight").double()
    labels = as_labels(labels, "labels", len(x))
    if x.shape[1] != weight.shape[1]:
        shapes = f"{tuple(x.shape)} and {tuple(weight.shape)}"
        raise ValueError(f"x must be (N, D) for weight (C, D), got {shapes}")
    wrong = (labels < 0) | (labels >= len(weight))
    if wrong.any():
        row = int(wrong.nonzero()[0])
        got = f"{int(labels[row])} at row {row}"
        raise ValueError(f"labels must be in 0 .. {len(weight) - 1}, got {got}")
    return x, weight, labels


def _cosine_cdf(law: VonMisesFisher, t: np.ndarray) -> np.ndarray:
    """P(<mu, a> <= t): midpoint rule over the angle, where the density is smooth at both ends.

    To 1e-7 for concentrations up to 1e8; beyond, cosines near one have too few digits.
    """
    low, high = 0.0, math.pi
    middles = torch.arange(_CELLS, dtype=torch.float64, device=law.loc.device) + 0.5
    for _ in range(_ZOOMS):
        cell = (high - low) / _CELLS
        angle = low + middles * cell
        log_density = law.cosine_log_prob(angle.cos()) + angle.sin().log()
        log_density -= log_density.max()
        kept = angle[log_density > -_DROP]
        edges = np.linspace(low, high, _CELLS + 1)
        low, high = max(0.0, float(kept[0]) - cell), min(math.pi, float(kept[-1]) + cell)
    density = log_density.exp()
    above = np.concatenate([[0.0], (density.cumsum(0) / density.sum()).numpy(force=True)])
    below: np.ndarray = 1.0 - np.interp(np.arccos(t), edges, above)
    return below


def _rank_correlation(norm: Tensor, cosine: Tensor) -> float:
    """Spearman's; 0 where every norm is the same, as after a normalisation layer, or every t."""
    if bool((norm == norm[0]).all() or (cosine == cosine[0]).all()):
        return 0.0
    return float(stats.spearmanr(norm.numpy(force=True), cosine.numpy(force=True)).statistic)
