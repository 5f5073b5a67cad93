"""Power spherical law against the Beta law of its cosine and 40-digit gamma functions."""

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import stats
from sphere_cases import axis, direction, great_circle
from statcheck import AlphaBudget, dkw_pvalue

from probact.distributions import PowerSpherical, SphereUniform
from probact.special import log_sphere_area

F64 = torch.float64


@pytest.mark.parametrize("dim", [2, 3, 20, 2048])
@pytest.mark.parametrize("kappa", [0.0, 1e-6, 1.0, 85.0, 999.0, 1e3, 1e6, 1e12])
def test_peak_and_entropy_against_mpmath(dim: int, kappa: float) -> None:
    with mpmath.workdps(40):
        b = mpmath.mpf(dim - 1) / 2
        a = b + mpmath.mpf(kappa)
        rise = mpmath.loggamma(a + b) - mpmath.loggamma(a)
        peak = float(rise - b * mpmath.log(4 * mpmath.pi))
        slope = mpmath.digamma(a + b) - mpmath.digamma(a)
        entropy = float(mpmath.mpf(kappa) * slope) - peak
    for dtype, tolerance in ((F64, 1e-12), (torch.float32, 2e-6)):
        mu = direction(dim).to(dtype)
        law = PowerSpherical(mu, kappa)
        assert law.log_prob(mu).item() == pytest.approx(peak, rel=tolerance, abs=tolerance)
        assert law.entropy().item() == pytest.approx(entropy, rel=tolerance, abs=tolerance)


@pytest.mark.parametrize(("dim", "kappa"), [(2, 0.5), (3, 5.0), (4, 0.0), (20, 85.0), (128, 1e4)])
def test_the_cosine_is_a_shifted_beta(dim: int, kappa: float, budget: AlphaBudget) -> None:
    b = 0.5 * (dim - 1)
    beta = stats.beta(b, b + kappa)  # of (1 - t) / 2
    mu = direction(dim)
    law = PowerSpherical(mu, kappa)
    angle = torch.linspace(0.3, 2.5, 12, dtype=F64)
    u = np.sin(0.5 * angle.numpy()) ** 2
    ring = log_sphere_area(dim - 1) if dim > 2 else math.log(2.0)
    want = beta.logpdf(u) - math.log(2.0) - ring - (dim - 3) * np.log(np.sin(angle.numpy()))
    got = law.log_prob(great_circle(mu, angle)).numpy()
    np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-10)
    x = law.sample((4000,), seed=2)
    half_gap = 0.25 * (x - mu).square().sum(-1)
    budget.check(f"power {dim} {kappa}", dkw_pvalue(half_gap.numpy(), beta.cdf))


def test_zero_concentration_is_the_uniform_law_even_at_the_antipode() -> None:
    kappa = torch.zeros((), dtype=F64, requires_grad=True)
    law = PowerSpherical(axis(5), kappa)
    uniform = SphereUniform(5, dtype=F64)
    x = torch.stack([axis(5), -axis(5), direction(5)])
    torch.testing.assert_close(law.log_prob(x).detach(), uniform.log_prob(x))
    assert law.entropy().item() == pytest.approx(uniform.entropy().item())
    (slope,) = torch.autograd.grad(law.log_prob(x)[2], kappa)  # one-sided at the edge
    step = PowerSpherical(axis(5), 1e-6).log_prob(x[2]) - law.log_prob(x[2])
    assert slope.item() == pytest.approx(step.item() / 1e-6, rel=1e-5)


def test_the_density_vanishes_at_the_antipode() -> None:
    assert PowerSpherical(axis(3), 2.0).log_prob(-axis(3)) == -math.inf
