r"""How far sorted weights are from the asymmetric Laplace law fitted to them.

Symbols: u_(1) <= ... <= u_(n) the values of the fitted distribution function F at a sorted row x;
F_n its empirical distribution function.

    KS = sup |F_n - F|,     AD = n integral (F_n - F)^2 / (F (1 - F)) dF
       = -n - 1/n sum_i [(2i - 1) log u_(i) + (2(n - i) + 1) log(1 - u_(i))]

(Anderson & Darling 1954). AD weighs the tails up. On either side of the mode, where the law says
that |x - m| is exponential, AD is taken once more against the exponential law of the same mean.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from probact.analysis.laplace_fits.ald_fit import ALDFit
from probact.distributions import AsymmetricLaplace

__all__ = ["FitDistance", "fit_distance"]


class FitDistance(NamedTuple):
    """Distances of K rows to their fits, each (K,) in float64; NaN where there is no fit."""

    ks: Tensor  # Kolmogorov-Smirnov, in [0, 1]
    ad: Tensor  # Anderson-Darling
    ad_right: Tensor  # of the weights above the mode to an exponential law; NaN for fewer than 3
    ad_left: Tensor  # of those below


def fit_distance(ordered: Tensor, fit: ALDFit) -> FitDistance:
    """Distances of sorted rows (K, n), float64, to the laws of their fit.

    >>> from probact.analysis.laplace_fits import fit_asymmetric_laplace
    >>> x = torch.tensor([[-2.0, -0.5, 0.0, 1.0, 4.0]], dtype=torch.float64)
    >>> fit_distance(x, fit_asymmetric_laplace(x)).ks
    tensor([0.1359], dtype=torch.float64)
    """
    lawful = torch.where(fit.degenerate, torch.nan, fit.loc)
    law = AsymmetricLaplace(
        lawful[:, None], fit.scale[:, None], fit.asymmetry[:, None], validate_args=False
    )
    n = ordered.shape[1]
    log_below, log_above = law.log_cdf(ordered), law.log_sf(ordered)  # (K, n)
    u = log_below.exp()
    i = torch.arange(1, n + 1, dtype=u.dtype, device=u.device)
    ks = torch.maximum(i / n - u, u - (i - 1.0) / n).amax(-1)
    ad = -n - ((2.0 * i - 1.0) * log_below + (2.0 * (n - i) + 1.0) * log_above).mean(-1)
    offset = ordered - lawful[:, None]
    return FitDistance(ks, ad, _exponential(offset), _exponential(-offset.flip(-1)))


def _exponential(ordered: Tensor) -> Tensor:
    """AD (K,) of the positive entries of sorted rows to the exponential law of their mean."""
    positive = ordered > 0.0
    num = positive.sum(-1, keepdim=True).double()  # (K, 1)
    z = torch.where(positive, ordered, 0.0)
    z = z * (num / z.sum(-1, keepdim=True))
    n = ordered.shape[1]
    rank = torch.arange(1, n + 1, dtype=z.dtype, device=z.device) - (n - num)  # 1 .. num above m
    log_below = torch.where(positive, torch.log(-torch.expm1(-z)), 0.0)
    terms = (2.0 * rank - 1.0) * log_below - (2.0 * (num - rank) + 1.0) * z
    distance = -num - torch.where(positive, terms, 0.0).sum(-1, keepdim=True) / num
    return torch.where(num >= 3.0, distance, torch.nan).squeeze(-1)
