"""Densities of every law on the sphere against quadrature and against their own draws."""

import math

import numpy as np
import pytest
import torch
from pyro.distributions.testing.gof import auto_goodness_of_fit
from scipy import stats
from sphere_cases import CASES, Case, great_circle
from statcheck import AlphaBudget, paired_mean_pvalue
from torch import Tensor

from probact.distributions import AngularGaussian, SphereUniform
from probact.special import log_sphere_area

F64 = torch.float64
every = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def nodes_of_the_sphere(dim: int) -> tuple[Tensor, Tensor]:
    """Points (n, d) and weights (n,) that integrate smooth functions over S^1 or S^2."""
    angle = 2.0 * math.pi * torch.arange(240, dtype=F64) / 240
    circle = torch.stack([angle.cos(), angle.sin()], -1)
    if dim == 2:
        return circle, torch.full((240,), 2.0 * math.pi / 240, dtype=F64)
    z, weight = (torch.tensor(a) for a in np.polynomial.legendre.leggauss(120))
    ring = torch.sqrt(1.0 - z * z)
    flat = ring[:, None, None] * circle
    points = torch.cat([flat, z[:, None, None].expand(-1, 240, 1)], -1).reshape(-1, 3)
    return points, (weight[:, None] * (2.0 * math.pi / 240)).expand(-1, 240).reshape(-1)


@every
def test_the_density_integrates_to_one(case: Case) -> None:
    law = case.make()
    if case.dim <= 3:
        points, weight = nodes_of_the_sphere(case.dim)
        points = points.reshape(-1, *(1,) * len(case.batch_shape), case.dim)
        weight = weight.reshape(-1, *(1,) * len(case.batch_shape))
        total = (law.log_prob(points).exp() * weight).sum(0)
    elif case.law is AngularGaussian:  # no axis of symmetry: importance sampling from the uniform
        points = SphereUniform(case.dim, dtype=F64).sample((10_000, *case.batch_shape))
        ratio = (law.log_prob(points) + log_sphere_area(case.dim)).exp()
        error = (ratio.mean(0) - 1.0) / (ratio.std(0) / 100.0)
        assert error.abs().max() < 5.5
        return
    else:  # along the axis: rings of radius sin(angle)
        angle = math.pi * (torch.arange(4000, dtype=F64) + 0.5) / 4000
        loc = getattr(law, "loc", torch.eye(case.dim, dtype=F64)[0])
        loc = loc.reshape(-1, case.dim)[0]
        points = great_circle(loc, angle).reshape(-1, *(1,) * len(case.batch_shape), case.dim)
        ring = log_sphere_area(case.dim - 1) + (case.dim - 2) * angle.sin().log()
        ring = ring.reshape(-1, *(1,) * len(case.batch_shape))
        total = (law.log_prob(points) + ring).exp().sum(0) * math.pi / 4000
        total = total.reshape(-1)[: 3 if case.batch_shape == (2, 3) else None]  # the laws at loc
    torch.testing.assert_close(total, torch.ones_like(total), rtol=1e-9, atol=0)


@every
def test_draws_match_the_density(case: Case, budget: AlphaBudget) -> None:
    """Nearest-neighbour distances against the density, on the curved (d-1)-dimensional sheet."""
    if case.dim > 5:  # too thin for neighbours: the axis tests serve these
        return
    law = case.make()
    x = law.sample((10_000,)).reshape(10_000, -1, case.dim)
    density = law.log_prob(x.reshape(10_000, *case.batch_shape, case.dim)).exp()
    density = density.reshape(10_000, -1)
    for i in {0, x.shape[1] - 1}:
        p = auto_goodness_of_fit(x[:, i], density[:, i], dim=case.dim - 1)
        budget.check(f"neighbours {case.law.__name__} {case.dim}", float(p))


@every
def test_moments_of_the_draws(case: Case, budget: AlphaBudget) -> None:
    law, n = case.make(), 4000
    x = law.sample((n,))
    if "entropy" in vars(case.law):
        surprise = (-law.log_prob(x) - law.entropy()).reshape(n, -1)
        spread = surprise.std(0) > 1e-12  # the uniform law is equally surprised everywhere
        assert surprise[:, ~spread].abs().max() < 1e-9 if (~spread).any() else True
        for column in surprise[:, spread].T:
            budget.check("entropy", paired_mean_pvalue(column.numpy()))
    if "mean" in vars(case.law):
        miss = (x - law.mean).reshape(n, -1)
        z = miss.mean(0) / (miss.std(0) / math.sqrt(n))
        bonferroni = min(1.0, 2 * z.numel() * float(stats.norm.sf(z.abs().max().item())))
        budget.check("mean", bonferroni)
    if "variance" in vars(case.law):
        square = (x - law.mean).square() - law.variance
        z = (square.mean(0) / (square.std(0) / math.sqrt(n))).reshape(-1)
        budget.check("variance", min(1.0, 2 * z.numel() * float(stats.norm.sf(z.abs().max()))))
