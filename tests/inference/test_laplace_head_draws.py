"""The draws inside a sweep over a last layer: mixing variables, normal weights, modes, shifts."""

import math

import numpy as np
import pytest
import statcheck
import torch
from scipy import stats

from probact.distributions.bounded_normal import NUM_UNIFORMS, bounded_normal, within
from probact.distributions.laplace_hyperprior import LaplaceHyperprior, LaplaceParameters
from probact.inference.laplace.mixing_draw import draw_mixing, draw_normal_prior
from probact.inference.laplace.normal_draw import (
    Mode,
    NormalPrior,
    draw_normal,
    from_gram,
    from_rows,
    weighted_gram,
)
from probact.inference.laplace.translation_draw import draw_level, draw_shift

DRAWS = 20_000
WIDE = 1e3


def doubles(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("h", [1e-8, 0.01, 0.5, 4.0, 300.0])
@pytest.mark.parametrize("c", [2.0, 9.0])
def test_mixing_against_scipy(h, c, budget, generator):
    """W ~ GIG(1/2, chi = c h^2, psi = c): W / h has scipy's law of parameter c h."""
    one = torch.ones(DRAWS, dtype=torch.float64)
    draws = draw_mixing(h * one, c * one, generator).numpy() / h
    assert np.isfinite(draws).all()
    p = statcheck.dkw_pvalue(draws, stats.geninvgauss(0.5, c * h).cdf)
    budget.check(f"mixing draw h={h} c={c}", p)


@pytest.mark.parametrize("c", [2.0, 50.0])
def test_mixing_of_a_weight_at_the_mode(c, budget, generator):
    zero = torch.zeros(DRAWS, dtype=torch.float64)
    draws = draw_mixing(zero, zero + c, generator).numpy()
    p = statcheck.dkw_pvalue(draws, stats.gamma(0.5, scale=2.0 / c).cdf)
    budget.check(f"mixing draw at the mode c={c}", p)


def test_mixing_at_the_ends(generator):
    h = doubles(0.0, 1e-300, 1e-30, 1e30, 1e150).repeat(1000, 1)
    draws = draw_mixing(h, torch.full_like(h, 2.0), generator)
    assert bool((torch.isfinite(draws) & (draws >= 0)).all())


def test_prior_given_the_mixing_variable(budget, generator):
    """Averaged over weights and mixing variables, the normal laws are the asymmetric Laplace."""
    laws = LaplaceParameters(doubles(0.3), doubles(2.0), doubles(0.7))
    e = torch.empty(2, 1, DRAWS, dtype=torch.float64).exponential_(generator=generator)
    theta = 0.3 + e[0] / 2.0 - e[1] / 0.7
    prior = draw_normal_prior(theta, laws, generator)
    noise = torch.randn(prior.mean.shape, dtype=torch.float64, generator=generator)
    again = 0.3 + prior.mean + prior.variance.sqrt() * noise
    law = stats.laplace_asymmetric(math.sqrt(2.0 / 0.7), 0.3, 1.0 / math.sqrt(1.4))
    budget.check("mixing keeps the prior", statcheck.dkw_pvalue(again[0].numpy(), law.cdf))
    assert float((again - theta).std()) > 0.3


def problem(rows=9, width=4, batch=3, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    phi = normal(rows, width)
    omega, u = normal(batch, rows).square(), normal(batch, rows)
    prior = NormalPrior(normal(batch, width), normal(batch, width).square() + 0.01)
    return phi, omega, u, prior


def textbook(phi, omega, u, prior):
    """Mean and covariance with the inverse of D, by numpy."""
    means, covs = [], []
    for w, s, b0, d in zip(omega, u, *prior, strict=True):
        precision = phi.numpy().T @ np.diag(w) @ phi.numpy() + np.diag(1.0 / d)
        covs.append(np.linalg.inv(precision))
        means.append(covs[-1] @ (phi.numpy().T @ s.numpy() + (b0 / d).numpy()))
    return np.stack(means), np.stack(covs)


def mean_and_covariance(draw, batch, count):
    """Of a draw that is affine in its noise (batch, count)."""
    zero = torch.zeros(batch, count, dtype=torch.float64)
    mean = draw(zero)
    columns = []
    for i in range(count):
        noise = zero.clone()
        noise[:, i] = 1.0
        columns.append(draw(noise) - mean)
    spread = torch.stack(columns, -1)  # (B, q, count)
    return mean.numpy(), (spread @ spread.mT).numpy()


def by_gram(phi, omega, u, prior):
    def draw(noise):
        return from_gram(weighted_gram(phi, omega), u @ phi, prior, noise)[0]

    return mean_and_covariance(draw, len(omega), phi.shape[1])


def by_rows(phi, omega, u, prior):
    def draw(noise):
        return from_rows(phi, omega, u, prior, noise)[0]

    return mean_and_covariance(draw, len(omega), sum(phi.shape))


@pytest.mark.parametrize("form", [by_gram, by_rows])
@pytest.mark.parametrize("rows", [9, 2])
def test_normal_draw_is_the_textbook_one(form, rows):
    given = problem(rows)
    found, exact = form(*given), textbook(*given)
    for one, two in zip(found, exact, strict=True):
        assert np.allclose(one, two, rtol=0, atol=1e-12)


def test_both_forms_agree_and_are_finite_at_zero_variance():
    phi, omega, u, prior = problem()
    prior.variance[0] = 0.0
    prior.variance[1, 2] = 0.0
    prior.variance[2, 0] = 1e-300
    (mean, cov), (other, spread) = by_gram(phi, omega, u, prior), by_rows(phi, omega, u, prior)
    assert np.isfinite(mean).all()
    assert np.allclose(mean, other, rtol=0, atol=1e-12)
    assert np.allclose(cov, spread, rtol=0, atol=1e-12)
    assert np.array_equal(mean[0], prior.mean[0].numpy())
    assert not cov[0].any()
    assert mean[1, 2] == float(prior.mean[1, 2])


def test_rows_that_say_nothing_are_left_out():
    phi, omega, u, prior = problem()
    omega[:, 3:], u[:, 3:] = 0.0, 0.0
    exact = textbook(phi[:3], omega[:, :3], u[:, :3], prior)
    for form in (by_gram, by_rows):
        for one, two in zip(form(phi, omega, u, prior), exact, strict=True):
            assert np.allclose(one, two, rtol=0, atol=1e-12)


def joint_textbook(phi, omega, u, prior):
    """Mean and covariance of (m, theta) under a flat prior of m, b0 = a m + b."""
    width = phi.shape[1]
    a = np.append(np.ones(width - 1), 0.0)
    out = []
    for w, s, b, d in zip(omega, u, *prior, strict=True):
        inverse = np.diag(1.0 / d)
        gram = phi.numpy().T @ np.diag(w) @ phi.numpy()
        corner = np.block([[a @ inverse @ a, -a @ inverse], [-(inverse @ a)[:, None], inverse]])
        corner[1:, 1:] += gram
        right = np.append(
            -a @ inverse @ b.numpy(), phi.numpy().T @ s.numpy() + inverse @ b.numpy()
        )
        cov = np.linalg.inv(corner)
        out.append((cov @ right, cov))
    return out


@pytest.mark.parametrize("rows", [9, 2])
def test_mode_with_the_weights_integrated_out(rows):
    phi, omega, u, prior = problem(rows)
    batch, width = len(omega), phi.shape[1]
    bound = torch.full((batch,), WIDE, dtype=torch.float64)

    def draw(level):
        uniforms = torch.full((batch, NUM_UNIFORMS), level, dtype=torch.float64)
        mode = Mode(-bound, bound, uniforms)
        gram, zero = weighted_gram(phi, omega), torch.zeros(batch, width, dtype=torch.float64)
        one = from_gram(gram, u @ phi, prior, zero, mode)
        wide = torch.zeros(batch, width + rows, dtype=torch.float64)
        return one, from_rows(phi, omega, u, prior, wide, mode)

    exact = joint_textbook(phi, omega, u, prior)
    for form in range(2):
        theta, m = draw(0.5)[form]
        past = draw(float(stats.norm.cdf(1.0)))[form][1]
        for b, (mean, cov) in enumerate(exact):
            assert np.allclose(float(m[b]), mean[0], rtol=1e-8, atol=1e-8)
            assert np.allclose(theta[b].numpy(), mean[1:], rtol=1e-8, atol=1e-8)
            assert np.allclose(float((past - m)[b].abs()), math.sqrt(cov[0, 0]), rtol=1e-7)


def test_blocks_of_problems_are_the_whole(monkeypatch):
    """Memory bounds of the block do not change the draws."""
    phi, omega, u, prior = problem(batch=7)
    bounds = (torch.full((7,), -1.0).double(), torch.full((7,), 1.0).double())

    def draw():
        generator = torch.Generator().manual_seed(1)
        return draw_normal(phi, omega, u, prior, generator, bounds=bounds)

    whole = draw()
    monkeypatch.setattr("probact.inference.laplace.normal_draw._BLOCK", 80)
    for one, two in zip(whole, draw(), strict=True):
        assert torch.allclose(one, two, rtol=1e-12, atol=1e-13)


def test_precisions_beyond_float64_are_refused():
    phi = torch.tensor([[1e200, 1e200]] * 3, dtype=torch.float64)
    one = torch.ones(1, 3, dtype=torch.float64)
    prior = NormalPrior(torch.zeros(1, 2).double(), torch.ones(1, 2).double())
    with pytest.raises(ValueError, match="x is too large for the prior"):
        draw_normal(phi, one, one, prior, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("tau", "linear", "low", "high"),
    [
        (1.0, 0.0, -1.0, 2.0),
        (4.0, 20.0, -1.0, 1.0),
        (4.0, -200.0, -1.0, 1.0),
        (100.0, 3.0, -50.0, 50.0),
        (1.0, 0.0, 40.0, 41.0),
        (1e-4, 0.3, -1.0, 1.0),
        (1.0, 1e17, -1.0, 1.0),
        (0.0, 0.0, -1.0, 1.0),
        (0.0, -3.0, -1.0, 1.0),
        (2.4e-3, 0.0, -0.5, 0.5),
    ],
)
def test_bounded_normal_against_quadrature(tau, linear, low, high, budget, generator):
    uniforms = torch.rand(DRAWS, NUM_UNIFORMS, dtype=torch.float64, generator=generator)
    columns = (torch.full((DRAWS,), v, dtype=torch.float64) for v in (tau, linear, low, high))
    draws = bounded_normal(*columns, uniforms).numpy()
    assert draws.min() >= low
    assert draws.max() < high
    if linear > 1e16:  # all of it within a spacing of float64 of the bound
        assert draws.min() > high - 1e-15
        return
    grid = np.linspace(low, high, 400_001)
    height = linear * grid - 0.5 * tau * grid**2
    density = np.exp(height - height.max())
    mass = np.append(0.0, np.cumsum(0.5 * (density[1:] + density[:-1])))
    p = statcheck.dkw_pvalue(draws, lambda x: np.interp(x, grid, mass / mass[-1]))
    budget.check(f"bounded normal {tau} {linear} {low}", p)


def test_within_a_half_open_interval():
    low, high = doubles(-1.0, 0.0), doubles(1.0, 1e-300)
    moved = within(doubles(5.0, -5.0), low, high)
    assert bool(((moved >= low) & (moved < high)).all())


def test_shift_against_quadrature(budget, generator):
    """One feature, three rows: the density of t on a grid."""
    loc, right, left = [0.5, -1.0, 0.0], [2.0, 0.5, 3.0], [0.3, 4.0, 1.0]
    theta = [1.0, 0.2, -2.0]
    laws = LaplaceParameters(*(doubles(*v).expand(DRAWS, 3) for v in (loc, right, left)))
    weight = doubles(*theta).unsqueeze(-1).expand(DRAWS, 3, 1)
    draws = draw_shift(weight, laws, generator)[:, 0].numpy()
    t = np.linspace(-20.0, 20.0, 400_001)
    height = np.zeros_like(t)
    for m, r, le, w in zip(loc, right, left, theta, strict=True):
        height -= np.where(w + t > m, r * (w + t - m), le * (m - w - t))
    density = np.exp(height - height.max())
    mass = np.append(0.0, np.cumsum(0.5 * (density[1:] + density[:-1])))
    p = statcheck.dkw_pvalue(draws, lambda x: np.interp(x, t, mass / mass[-1]))
    budget.check("shift of a softmax layer", p)


def test_shift_where_slopes_are_flat_and_knots_meet(generator):
    laws = LaplaceParameters(*(doubles(*v) for v in ([0.0] * 4, [1.0] * 4, [1.0] * 4)))
    shift = draw_shift(torch.zeros(4, 50, dtype=torch.float64), laws, generator)
    assert bool(torch.isfinite(shift).all())
    spread = torch.tensor([-1.0, -1.0, 1.0, 1.0], dtype=torch.float64)  # flat in the middle
    shift = draw_shift(spread.unsqueeze(-1).expand(4, 5000), laws, generator)
    assert bool(torch.isfinite(shift).all())
    assert 0.2 < float((shift.abs() < 1.0).double().mean()) < 0.95


def test_level_keeps_all_modes_inside(generator):
    prior = LaplaceHyperprior(*doubles(1.0, 1.0, 1.0, 1.0, -2.0, 3.0))
    loc = doubles(-1.0, 0.5, 2.0).expand(1000, 3)
    level = draw_level(loc, prior, generator)
    assert float(level.min()) >= -1.0
    assert float(level.max()) <= 1.0
    assert float(level.std()) == pytest.approx(2.0 / math.sqrt(12.0), rel=0.1)
