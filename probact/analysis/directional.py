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

from probact.distributions import VonMisesFisher

__all__ = ["DirectionalFit", "directional_fit"]

_CELLS = 20_000  # of the distribution function of the angle


class DirectionalFit(NamedTuple):
    """Readings of N activations against vMF(mu_y, kappa) with one kappa."""

    mean_cosine: float  # of a to mu_y; A_D(kappa) at the best kappa
    ks_distance: float  # of the cosines to their law, in [0, 1]
    ks_pvalue: float  # of the Kolmogorov-Smirnov test, kappa taken as known
    mean_angle: tuple[float, ...]  # degrees between mu_i and class i's mean direction
    class_cosine: tuple[float, ...]  # mean cosine of each class: unequal means unequal spreads
    norm_correlation: float  # Spearman's, between |x| and t: 0 if the norm is no temperature
    non_negative: float  # share of activations with no negative coordinate
    model_non_negative: float  # the same share of the law's own draws


def directional_fit(
    x: Tensor, labels: Tensor, weight: Tensor, concentration: float, *, seed: int = 0
) -> DirectionalFit:
    """Compare raw activations x (N, D) with vMF(mu_y, concentration).

    Raises:
        ValueError: shapes that do not fit, a zero activation, or a class without activations.

    >>> law = VonMisesFisher(torch.eye(3)[0], 20.0)
    >>> x = law.sample((1000,), seed=0)
    >>> fit = directional_fit(x, torch.zeros(1000, dtype=torch.int64), torch.eye(3)[:1], 20.0)
    >>> round(fit.mean_cosine, 2), fit.ks_pvalue > 0.01
    (0.95, True)
    """
    if x.ndim != 2 or weight.ndim != 2 or x.shape[1] != weight.shape[1] or len(x) != len(labels):
        shapes = f"{tuple(x.shape)}, {tuple(labels.shape)} and {tuple(weight.shape)}"
        raise ValueError(f"x (N, D), labels (N,) and weight (C, D) are needed, got {shapes}")
    norm = torch.linalg.vector_norm(x.double(), dim=1)
    if (norm == 0).any():
        raise ValueError(f"x has no direction in row {int((norm == 0).nonzero()[0])}: it is zero")
    counts = torch.bincount(labels, minlength=len(weight))
    if (counts == 0).any():
        raise ValueError(f"class {int((counts == 0).nonzero()[0])} has no activation")
    a, mu = x.double() / norm.unsqueeze(1), torch.nn.functional.normalize(weight.double(), dim=1)
    cosine = (a * mu[labels]).sum(1).clamp(-1.0, 1.0)
    sums = torch.zeros_like(mu).index_add_(0, labels, a)
    mean_cosine = torch.cosine_similarity(sums, mu, dim=1).clamp(-1.0, 1.0)
    law = VonMisesFisher(mu, concentration)
    test = stats.kstest(cosine.numpy(force=True), lambda t: _cosine_cdf(law, t))
    draws = law.sample((max(1, 2000 // len(mu)),), seed=seed)
    return DirectionalFit(
        mean_cosine=float(cosine.mean()),
        ks_distance=float(test.statistic),
        ks_pvalue=float(test.pvalue),
        mean_angle=tuple((mean_cosine.acos() * 180.0 / math.pi).tolist()),
        class_cosine=tuple((torch.bincount(labels, cosine, len(mu)) / counts).tolist()),
        norm_correlation=_rank_correlation(norm, cosine),
        non_negative=float((a >= 0).all(1).double().mean()),
        model_non_negative=float((draws >= 0).all(-1).double().mean()),
    )


def _cosine_cdf(law: VonMisesFisher, t: np.ndarray) -> np.ndarray:
    """P(<mu, a> <= t): midpoint rule over the angle, where the density is smooth at both ends."""
    angle = (torch.arange(_CELLS, dtype=torch.float64) + 0.5) * (math.pi / _CELLS)
    density = law.cosine_log_prob(angle.cos()).exp() * angle.sin()
    upper = np.concatenate([[0.0], (density.cumsum(0) / density.sum()).numpy(force=True)])
    edges = np.linspace(0.0, math.pi, _CELLS + 1)
    below: np.ndarray = 1.0 - np.interp(np.arccos(t), edges, upper)
    return below


def _rank_correlation(norm: Tensor, cosine: Tensor) -> float:
    """Spearman's; 0 where every norm is the same, as after a normalisation layer."""
    if bool((norm == norm[0]).all()):
        return 0.0
    return float(stats.spearmanr(norm.numpy(force=True), cosine.numpy(force=True)).statistic)
