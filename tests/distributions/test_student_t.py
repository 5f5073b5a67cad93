"""Multivariate Student t: the reference table, scipy, draws, marginals, refusals."""

import math

import mpmath
import numpy as np
import pytest
import torch
from mixture_tables import student_t_rows
from pyro.distributions import MultivariateStudentT as PyroStudentT
from scipy import stats
from statcheck import AlphaBudget, dkw_min_samples, dkw_pvalue
from torch import Generator

from probact.distributions import DiagonalStudentT, MultivariateStudentT
from probact.gamma import log_gamma_ratio, log_multigamma_ratio

F64 = torch.float64


def law_of(df: float, dim: int) -> MultivariateStudentT:
    rng = np.random.default_rng(dim)
    root = np.tril(rng.normal(size=(dim, dim)), -1) + np.diag(rng.uniform(0.5, 2.0, dim))
    loc = torch.tensor(rng.normal(size=dim))
    return MultivariateStudentT(torch.tensor(df, dtype=F64), loc, torch.tensor(root))


def test_reference_table() -> None:
    rows = student_t_rows()
    assert len(rows) == 245
    for row in rows:
        factor = torch.tensor(np.linalg.cholesky(row.scale))
        law = MultivariateStudentT(torch.tensor(row.df, dtype=F64), torch.tensor(row.loc), factor)
        found = law.log_prob(torch.tensor(row.x)).item()
        assert abs(found - row.log_prob) <= 1e-11 * max(1.0, abs(row.log_prob))


@pytest.mark.parametrize("x", [1e-3, 0.5, 7.9, 15.999, 16.0, 50.25, 1e4, 5e9])
@pytest.mark.parametrize("step", [0.0, 0.5, 3.0, 256.0])
def test_log_gamma_ratio(x: float, step: float) -> None:
    with mpmath.workdps(50):
        expected = float(mpmath.loggamma(mpmath.mpf(x) + step) - mpmath.loggamma(mpmath.mpf(x)))
    found = log_gamma_ratio(torch.tensor(x, dtype=F64), step).item()
    assert found == pytest.approx(expected, rel=2e-14, abs=2e-14)


def test_log_multigamma_ratio() -> None:
    x = torch.tensor([3.2, 11.0], dtype=F64)
    step = torch.tensor([0.5, 4.0], dtype=F64)
    expected = torch.mvlgamma(x + step, 4) - torch.mvlgamma(x, 4)
    torch.testing.assert_close(log_multigamma_ratio(x, step, 4), expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("df", [0.7, 3.0, 40.0])
def test_is_pyros_law_in_batches(df: float) -> None:
    law = law_of(df, 3)
    x = torch.randn(2, 5, 3, dtype=F64)
    theirs = PyroStudentT(law.df, law.loc, law.scale_tril)
    torch.testing.assert_close(law.log_prob(x), theirs.log_prob(x), rtol=1e-12, atol=1e-12)
    wide = law.expand([2, 1])
    assert wide.batch_shape == (2, 1)
    assert wide.sample((4,)).shape == (4, 2, 1, 3)
    torch.testing.assert_close(wide.log_prob(x), law.log_prob(x))


def test_gradients_are_finite_at_both_ends() -> None:
    for df in (0.5, 1e10):
        law = law_of(df, 3)
        inputs = [law.df, law.loc, law.scale_tril, torch.full((3,), 1e3, dtype=F64)]
        inputs = [v.detach().clone().requires_grad_() for v in inputs]
        out = MultivariateStudentT(*inputs[:3]).log_prob(inputs[3])
        assert all(g.isfinite().all() for g in torch.autograd.grad(out, inputs))


@pytest.mark.parametrize("df", [0.8, 4.0, 1e10])
def test_draws(df: float, generator: Generator, budget: AlphaBudget) -> None:
    law, count = law_of(df, 3), dkw_min_samples(0.05)
    x = law.sample((count,), generator=generator)
    white = torch.linalg.solve_triangular(law.scale_tril, (x - law.loc).mT, upper=False)
    radius = white.square().sum(0).numpy() / 3.0  # F law with 3 and df degrees
    cdf = stats.f(3, df).cdf if df < 1e9 else lambda q: stats.chi2(3).cdf(3.0 * q)
    budget.check(f"t radius {df}", dkw_pvalue(radius, cdf))
    along = (x - law.loc)[:, 2].numpy() / float(law.scale_tril[2].norm())
    budget.check(f"t marginal {df}", dkw_pvalue(along, stats.t(df).cdf))


def test_draws_come_from_the_seed() -> None:
    for law in (law_of(3.0, 2), DiagonalStudentT(3.0, torch.zeros(2), torch.ones(2))):
        before = torch.get_rng_state()
        assert torch.equal(law.sample((5,), seed=3), law.sample((5,), seed=3))
        assert torch.equal(torch.get_rng_state(), before)
        with pytest.raises(ValueError, match="not both"):
            law.sample(generator=Generator(), seed=1)


def test_marginal_is_the_sub_block_of_the_scale_matrix() -> None:
    law = law_of(5.0, 4)
    scale = (law.scale_tril @ law.scale_tril.mT).numpy()
    for dims in ([2], [3, 0], [1, 2, 3]):
        part = law.marginal(dims)
        x = torch.randn(6, len(dims), dtype=F64)
        expected = stats.multivariate_t(law.loc[dims].numpy(), scale[np.ix_(dims, dims)], df=5.0)
        np.testing.assert_allclose(part.log_prob(x), expected.logpdf(x), rtol=1e-10)


@pytest.mark.parametrize("df", [0.5, 6.0])
def test_diagonal_law(df: float, generator: Generator, budget: AlphaBudget) -> None:
    loc, scale = torch.tensor([1.0, -2.0], dtype=F64), torch.tensor([0.5, 3.0], dtype=F64)
    law = DiagonalStudentT(torch.tensor(df, dtype=F64), loc, scale)
    x = law.sample((dkw_min_samples(0.05),), generator=generator)
    expected = stats.t(df, loc.numpy(), scale.numpy())
    np.testing.assert_allclose(law.log_prob(x), expected.logpdf(x).sum(1), rtol=1e-11)
    for d in range(2):
        cdf = stats.t(df, float(loc[d]), float(scale[d])).cdf
        budget.check(f"diagonal t {df} {d}", dkw_pvalue(x[:, d].numpy(), cdf))
    assert law.expand([3]).sample((2,)).shape == (2, 3, 2)
    np.testing.assert_allclose(law.variance, expected.var() if df > 2 else math.inf)
    assert bool(law.mean.isnan().all()) == (df <= 1)


def test_refusals() -> None:
    loc, eye = torch.zeros(2), torch.eye(2)
    cases = [
        (lambda: MultivariateStudentT(-1.0, loc, eye), "df"),
        (lambda: MultivariateStudentT(math.nan, loc, eye), "df"),
        (lambda: MultivariateStudentT(1.0, torch.tensor(0.0), eye), "loc must"),
        (lambda: MultivariateStudentT(1.0, loc, torch.eye(3)), "scale_tril must"),
        (lambda: MultivariateStudentT(1.0, loc, -eye), "scale_tril"),
        (lambda: DiagonalStudentT(1.0, loc, torch.zeros(2)), "scale"),
        (lambda: DiagonalStudentT(1.0, loc, torch.ones(3)), "scale must"),
        (lambda: MultivariateStudentT(1.0, loc, eye).marginal([0, 0]), "repeat"),
        (lambda: MultivariateStudentT(1.0, loc, eye).marginal(2), "0 .. 1"),
        (lambda: MultivariateStudentT(1.0, loc, eye).marginal([]), "dims"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
