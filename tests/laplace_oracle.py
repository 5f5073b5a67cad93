"""Independent witnesses of the kernels on asymmetric Laplace laws: plain sums over a grid."""

import numpy as np
import torch

from probact.distributions import AsymmetricLaplace
from probact.distributions.laplace_hyperprior import LaplaceHyperprior, LaplaceParameters

__all__ = ["brute_mode_law", "columns", "draw_weights", "proper_prior", "quadrature_means"]


def columns(*numbers, num=1):
    """Each number as (num,) float64."""
    return [torch.full((num,), float(x), dtype=torch.float64) for x in numbers]


def proper_prior(num=1):
    """Priors that differ between the sides, with moments of order one."""
    return LaplaceHyperprior(*columns(3.0, 1.0, 4.0, 2.0, -1.0, 1.0, num=num))


def draw_prior(num, generator):
    """Draws (num,) from `proper_prior`."""
    shapes = torch.tensor([[3.0], [4.0]], dtype=torch.float64).expand(2, num).contiguous()
    right, left = torch._standard_gamma(shapes, generator=generator)
    loc = 2.0 * torch.rand(num, dtype=torch.float64, generator=generator) - 1.0
    return LaplaceParameters(loc, right, left / 2.0)


def draw_weights(p, n, generator):
    """(K, n) weights: each side of the mode by itself, its probability and an exponential."""
    shape = len(p.loc), n
    e = torch.empty(shape, dtype=torch.float64).exponential_(generator=generator)
    u = torch.rand(shape, dtype=torch.float64, generator=generator)
    right, left = p.rate_right[:, None], p.rate_left[:, None]
    above = u < left / (right + left)  # the slower decay has more mass
    return p.loc[:, None] + torch.where(above, e / right, -e / left)


def brute_mode_law(row, right, left, low, high, points=400_001):
    """Grid and cdf on it of p(m | x, r, l) under a flat prior, by the trapezoidal rule."""
    law = AsymmetricLaplace.from_rates(torch.zeros((), dtype=torch.float64), right, left)
    grid = np.linspace(low, high, points)
    log_density = np.zeros(points)
    for x in row:
        log_density += law.log_prob(torch.from_numpy(x - grid)).numpy()
    density = np.exp(log_density - log_density.max())
    area = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]))])
    return grid, area / area[-1]


def quadrature_means(row, prior, top=12.0, points=(130, 1201)):
    """Posterior means of m, r, l and m r for one row, on a grid of rates and modes."""
    rates = np.exp(np.linspace(-2.5, np.log(top), points[0]))
    modes = np.linspace(float(prior.low[0]), float(prior.high[0]), points[1])
    above = np.maximum(row - modes[:, None], 0.0).sum(1)
    below = np.maximum(modes[:, None] - row, 0.0).sum(1)
    r, l_, m = rates[:, None, None], rates[None, :, None], modes
    log_joint = (
        len(row) * np.log(r * l_ / (r + l_))
        - r * above
        - l_ * below
        + float(prior.right_concentration[0]) * np.log(r)  # one more for the step in log r
        - float(prior.right_rate[0]) * r
        + float(prior.left_concentration[0]) * np.log(l_)
        - float(prior.left_rate[0]) * l_
    )
    mass = np.exp(log_joint - log_joint.max())
    mass /= mass.sum()
    edges = (mass[i].sum() + mass[:, i].sum() for i in (0, -1))
    assert max(edges) < 1e-6  # the grid is wide enough
    return np.array([(mass * f).sum() for f in (m, r, l_, m * r)])
