"""Laws of a ReLU's output against scipy, mpmath, quadrature and each other."""

import itertools
import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import integrate, stats
from statcheck import AlphaBudget, dkw_pvalue

from probact.distributions import HurdleFoldedNormal, HurdleTruncatedNormal, RectifiedNormal
from probact.distributions.normal_tail import excess_moments, excess_quantile, log_excess_density

F64 = torch.float64
PARAMETERS = [(0.3, 0.6), (0.0, 1.0), (-2.0, 0.5), (4.0, 1.5), (-30.0, 2.0)]


def tensor(*values):
    return tuple(torch.tensor(v, dtype=F64) for v in values)


def laws(loc, scale, prob=0.3):
    loc, scale, prob = tensor(loc, scale, prob)
    return (
        RectifiedNormal(loc, scale),
        HurdleTruncatedNormal(prob, loc, scale),
        HurdleFoldedNormal(prob, loc, scale),
    )


@pytest.mark.parametrize("kind", range(3))
@pytest.mark.parametrize("case", PARAMETERS)
def test_mass_moments_and_distribution_function_by_quadrature(case, kind):
    law, (loc, scale) = laws(*case)[kind], case
    zero = float(law.log_prob(torch.zeros((), dtype=F64)).exp())
    steps = [loc, -loc, 0.0] if kind == 2 else [loc, 0.0]
    width = scale**2 / -loc if loc < -10 * scale and kind < 2 else scale
    knots = {max(1e-300, s + t * width) for s in steps for t in (-12, -4, -1, 0, 1, 4, 12, 45)}

    def integral(power, upper):
        edges = [*sorted(k for k in knots if k < upper), upper]

        def integrand(x):
            return x**power * float(law.log_prob(torch.tensor(x, dtype=F64)).exp())

        pieces = itertools.pairwise(edges)
        return sum(integrate.quad(integrand, *p, epsabs=0, limit=200)[0] for p in pieces)

    total, first, second = (integral(k, max(knots)) for k in range(3))
    if zero < 1 - 1e-12:  # else the rest is below the rounding of one
        assert total == pytest.approx(1.0 - zero, rel=1e-8)
    assert law.mean.item() == pytest.approx(first, rel=1e-7)
    assert law.variance.item() == pytest.approx(second - first**2, rel=1e-6)
    for x in (0.3 * width, 2.0 * width + max(loc, 0.0)):
        found = law.cdf(torch.tensor(x, dtype=F64)).item()
        assert found == pytest.approx(zero + integral(0, x), rel=1e-8)


def test_hurdle_at_the_normal_mass_is_the_rectified_law():
    loc, scale = tensor(0.3, 0.6)
    rectified = RectifiedNormal(loc, scale)
    hurdle = HurdleTruncatedNormal(rectified.prob, loc, scale)
    x = torch.linspace(0.0, 5.0, 101, dtype=F64)
    torch.testing.assert_close(hurdle.log_prob(x), rectified.log_prob(x), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(hurdle.cdf(x), rectified.cdf(x), rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(hurdle.mean, rectified.mean, rtol=1e-13, atol=0.0)
    torch.testing.assert_close(hurdle.variance, rectified.variance, rtol=1e-12, atol=0.0)
    u = torch.tensor([0.1, 0.31, 0.5, 0.99], dtype=F64)
    back = rectified.cdf(rectified.icdf(u))
    torch.testing.assert_close(back, torch.maximum(u, 1.0 - rectified.prob), rtol=1e-12, atol=0.0)


def test_active_units_against_scipy():
    loc, scale = -0.7, 1.3
    x = torch.linspace(0.01, 6.0, 50, dtype=F64)
    _, truncated, folded = laws(loc, scale, 1.0)
    witness = stats.truncnorm(-loc / scale, np.inf, loc, scale)
    np.testing.assert_allclose(truncated.log_prob(x), witness.logpdf(x), rtol=1e-12)
    witness = stats.foldnorm(abs(loc) / scale, scale=scale)
    np.testing.assert_allclose(folded.log_prob(x), witness.logpdf(x), rtol=1e-12)
    np.testing.assert_allclose(folded.variance, witness.var(), rtol=1e-12)


@pytest.mark.parametrize("threshold", [-3.0, 0.0, 3.99, 4.01, 9.0, 40.0, 1e4, 1e8])
def test_tail_against_mpmath(threshold):
    with mpmath.workdps(60):
        t = mpmath.mpf(threshold)
        hazard = mpmath.npdf(t) / (mpmath.erfc(t / mpmath.sqrt(2)) / 2)
        mean, variance = hazard - t, 1 - hazard * (hazard - t)
        density = log_excess_density(*tensor(threshold, 0.5 / (1.0 + threshold**2))).item()
        at = t + mpmath.mpf(0.5 / (1.0 + threshold**2))
        want = mpmath.log(mpmath.npdf(at) / (mpmath.erfc(t / mpmath.sqrt(2)) / 2))
        assert density == pytest.approx(float(want), rel=1e-13)
        found = excess_moments(torch.tensor(threshold, dtype=F64))
        assert found[0].item() == pytest.approx(float(mean), rel=2e-14)
        assert found[1].item() == pytest.approx(float(variance), rel=2e-13)
        for log_survival in (-1e-8, -0.1, -3.0, -30.0):
            d = excess_quantile(*tensor(threshold, log_survival)).item()
            ratio = mpmath.erfc((t + mpmath.mpf(d)) / mpmath.sqrt(2)) / mpmath.erfc(
                t / mpmath.sqrt(2)
            )
            assert float(mpmath.log(ratio)) == pytest.approx(log_survival, rel=1e-7)


def test_draws():
    budget = AlphaBudget(1e-6, 18)
    for case in [(0.3, 0.6), (-2.0, 0.5), (-1e5, 1.0)]:
        for law in laws(*case):
            x = law.sample((4000,), seed=1)
            assert torch.equal(x, law.sample((4000,), seed=1))
            active = x > 0
            count, prob = int(active.sum()), float(law.prob)
            budget.check(f"{law}: active units", stats.binomtest(count, len(x), prob).pvalue)
            if count:
                share = (law.cdf(x[active]) - (1.0 - law.prob)) / law.prob
                budget.check(f"{law}: values", dkw_pvalue(share.numpy(), lambda u: u))


def test_rectified_draws_carry_gradients():
    loc, scale = (v.requires_grad_() for v in tensor([0.5, -0.5], 2.0))
    law = RectifiedNormal(loc, scale)
    draws = law.rsample((1000,), generator=torch.Generator().manual_seed(0))
    draws.mean().backward()
    assert loc.grad is not None
    torch.testing.assert_close(loc.grad * 2, (draws > 0).double().mean(0), rtol=1e-12, atol=0)
    x = torch.tensor([0.0, 1.0], dtype=F64)
    assert torch.autograd.gradcheck(lambda m, s: RectifiedNormal(m, s).log_prob(x), (loc, scale))


def test_refusals():
    with pytest.raises(ValueError, match=r"scale must be finite and > 0, got -1\.0"):
        RectifiedNormal(0.0, -1.0)
    with pytest.raises(ValueError, match=r"prob must be in \[0, 1\], got 1\.5"):
        HurdleFoldedNormal(1.5, 0.0, 1.0)
    with pytest.raises(ValueError, match="loc must be finite"):
        HurdleTruncatedNormal(0.5, math.nan, 1.0)
    with pytest.raises(ValueError, match="do not broadcast"):
        RectifiedNormal(torch.zeros(2), torch.ones(3))
    with pytest.raises(TypeError, match="loc must be a tensor, array or number"):
        RectifiedNormal(None, 1.0)
    law = RectifiedNormal(torch.zeros(3), 1.0)
    with pytest.raises(ValueError):
        law.log_prob(torch.tensor(-1.0))
    assert law.expand((2, 3)).sample((4,), seed=0).shape == (4, 2, 3)
