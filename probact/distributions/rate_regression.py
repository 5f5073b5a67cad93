r"""Rates that follow the frequency of their class: a gamma regression and its prior.

Symbols: K classes; z_k = log n_k - mean, the log frequency of class k; for each of the two tails
b0 intercept, b1 slope, a concentration; r_k the rates of that tail.

    r_k ~ Gamma(a, a exp(-eta_k)),   eta_k = b0 + b1 z_k

so that E r_k = exp(eta_k), and log r_k spreads by about a^(-1/2) around eta_k.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from probact.arrays import as_number

__all__ = ["RateRegression", "RateRegressionPrior", "check_regression_prior", "gamma_rates"]


class RateRegression(NamedTuple):
    """The regressions of the right and the left tail, (2,) each."""

    intercept: Tensor
    slope: Tensor  # zero where the frequencies are not known
    concentration: Tensor


class RateRegressionPrior(NamedTuple):
    """b0 ~ N(0, intercept_scale^2), b1 ~ N(0, slope_scale^2), log a ~ N(m, s^2) for each tail.

    The default says of the concentration that rates of different classes differ by a factor that
    is hardly below 1.05 or above 5: m = 3 and s = 1.5 for log a. The others say next to nothing.
    """

    intercept_scale: float = 10.0
    slope_scale: float = 10.0
    log_concentration_loc: float = 3.0
    log_concentration_scale: float = 1.5


def check_regression_prior(prior: object) -> RateRegressionPrior:
    """The prior with its numbers checked; None is the default one.

    Raises: TypeError, ValueError for something else than four finite numbers, scales > 0.
    >>> check_regression_prior(None).slope_scale
    10.0
    """
    if prior is None:
        return RateRegressionPrior()
    if not isinstance(prior, RateRegressionPrior):
        kind = type(prior).__name__
        raise TypeError(f"regression_prior must be a RateRegressionPrior, got {kind}")
    values = {
        name: as_number(value, name, -torch.inf if name.endswith("loc") else 0.0)
        for name, value in prior._asdict().items()
    }
    return RateRegressionPrior(**values)


def gamma_rates(
    concentration: Tensor, intercept: Tensor, slope: Tensor, log_frequency: Tensor
) -> Tensor:
    """a exp(-eta) (K,), the rate of the gamma law of the rates of one tail.

    >>> one = torch.ones(())
    >>> gamma_rates(2 * one, 0 * one, one, torch.zeros(3))
    tensor([2., 2., 2.])
    """
    return concentration * torch.exp(-(intercept + slope * log_frequency))
