r"""The regression of rates on class frequency, given exposures, with the rates summed out.

Symbols: z (K,) log frequency, mean zero; E_k = n A_k + G_k the exposure of a tail, see
`rate_draw`; a, b0, b1 as in `distributions.rate_regression`, eta_k = b0 + b1 z_k; n weights a row.
A rate meets the data only in r^n exp(-r E), which its gamma law integrates:

    p(E | a, b) = prod_k (a e^-eta_k)^a Gamma(a + n) / (Gamma(a) (a e^-eta_k + E_k)^(a + n))

Random-walk Metropolis on this, then the rates: together a draw of one block.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.distributions import LogNormal, Normal

from probact.distributions.rate_regression import RateRegression, RateRegressionPrior
from probact.inference.laplace_compiled.regression_walk import regression_walk

__all__ = ["draw_regression", "log_regression_prior"]


def draw_regression(
    current: RateRegression,
    exposures: Tensor,
    log_frequency: Tensor | None,
    num: int,
    prior: RateRegressionPrior,
    generator: Generator,
    updates: int,
) -> RateRegression:
    """Both regressions after some updates each of (b0, b1) and of log a, exposures (2, K).

    Without log_frequency (K,) the slope stays where it is. Runs on the CPU, wherever the
    exposures are.
    """
    kind, where = torch.float64, generator.device
    noise = torch.randn((2, updates, 3), generator=generator, device=where, dtype=kind)
    levels = 1.0 - torch.rand((2, updates, 2), generator=generator, device=where, dtype=kind)
    log_a = current.concentration.log()
    points = torch.stack([current.intercept, current.slope, log_a], 1).cpu().numpy().copy()
    logs = exposures.log().cpu().contiguous().numpy()
    z = torch.zeros_like(exposures[0]) if log_frequency is None else log_frequency
    loc, scale = _prior_arrays(prior, log_frequency is not None)
    for i in range(2):
        regression_walk(
            points[i],
            logs[i],
            z.cpu().numpy(),
            float(num),
            loc,
            scale,
            noise[i].cpu().numpy(),
            levels[i].cpu().numpy(),
        )
    b0, b1, log_a = torch.from_numpy(points).to(exposures).unbind(1)
    return RateRegression(b0, b1, log_a.exp())


def _prior_arrays(
    prior: RateRegressionPrior, free: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Location and scale (3,) of b0, b1 and log a; the scale of a fixed slope is zero."""
    slope = prior.slope_scale if free else 0.0
    loc = np.array([0.0, 0.0, prior.log_concentration_loc])
    return loc, np.array([prior.intercept_scale, slope, prior.log_concentration_scale])


def log_regression_prior(
    regression: RateRegression, prior: RateRegressionPrior, free: bool
) -> Tensor:
    """Log prior density (2,) of b0, b1 (where it is free) and a, nats."""
    zero = torch.zeros_like(regression.intercept)
    total: Tensor = Normal(zero, prior.intercept_scale).log_prob(regression.intercept)
    law = LogNormal(zero + prior.log_concentration_loc, prior.log_concentration_scale)
    total = total + law.log_prob(regression.concentration)
    if free:
        total = total + Normal(zero, prior.slope_scale).log_prob(regression.slope)
    return total
