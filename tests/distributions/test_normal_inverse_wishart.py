"""Normal-inverse-Wishart: reference table, chain rule, scipy, the paper's prior, the border."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from bad_inputs import data_cases, verdict
from mixture_tables import niw_rows
from scipy import stats
from statcheck import AlphaBudget, dkw_min_samples, dkw_pvalue, paired_mean_pvalue
from torch import Generator, Tensor

from probact.distributions import InverseWishart, NormalInverseWishart

F64 = torch.float64
TOLERANCE = {"offset": 1e-8}  # else 1e-11


def spd(dim: int, seed: int = 0) -> np.ndarray:
    a = np.random.default_rng(seed).normal(size=(dim, dim + 2))
    return np.asarray(a @ a.T / dim)


def prior_of(dim: int = 3, diagonal: bool = False) -> NormalInverseWishart:
    scale = np.diag(np.arange(1.0, dim + 1)) if diagonal else spd(dim)
    loc = np.linspace(-1.0, 1.0, dim)
    return NormalInverseWishart(loc, 0.7, scale, dim + 1.5, diagonal=diagonal)


def test_reference_table() -> None:
    rows = niw_rows()
    assert len(rows) == 144
    for row in rows:
        full = NormalInverseWishart(row.loc, row.kappa, row.scale, row.df)
        diagonal = NormalInverseWishart(
            row.loc, row.kappa, np.diag(row.scale).copy(), row.df, diagonal=True
        )
        after, new = full.posterior(row.x), torch.tensor(row.new)
        found = [
            (full.log_marginal(row.x), row.log_marginal),
            (diagonal.log_marginal(row.x), row.log_marginal_diagonal),
            (after.predictive().log_prob(new), row.log_predictive),
            (after.log_marginal(new[None]), row.log_predictive),
        ]
        for value, expected in found:
            error = abs(value.item() - expected) / max(1.0, abs(expected))
            assert error <= TOLERANCE.get(row.kind, 1e-11), row


@pytest.mark.parametrize("offset", [0.0, 2.0**20])
@pytest.mark.parametrize("diagonal", [False, True])
def test_posteriors_chain(diagonal: bool, offset: float) -> None:
    """Rows taken together, in two parts, or one by one through the predictive law."""
    prior = prior_of(diagonal=diagonal)
    x = torch.randn(7, 3, dtype=F64) + offset
    once, twice = prior.posterior(x), prior.posterior(x[:4]).posterior(x[4:])
    assert (once.kappa, once.df) == (twice.kappa, twice.df) == (7.7, 11.5)
    torch.testing.assert_close(once.loc, twice.loc, rtol=1e-14, atol=0.0)
    torch.testing.assert_close(once.scale, twice.scale, rtol=1e-12, atol=0.0)
    total, law = torch.zeros((), dtype=F64), prior
    for row in x:
        total = total + law.predictive().log_prob(row)
        law = law.posterior(row[None])
    tolerance = 1e-12 if offset == 0.0 else 1e-9
    torch.testing.assert_close(total, prior.log_marginal(x), rtol=tolerance, atol=0.0)


@pytest.mark.parametrize("diagonal", [False, True])
def test_posterior_by_the_definition(diagonal: bool) -> None:
    prior, x = prior_of(diagonal=diagonal), torch.randn(5, 3, dtype=F64).numpy()
    after = prior.posterior(x)
    m0, mean = prior.loc.numpy(), x.mean(0)
    scale = prior.scale.numpy() + (x - mean).T @ (x - mean)
    scale = scale + 0.7 * 5 / 5.7 * np.outer(mean - m0, mean - m0)
    np.testing.assert_allclose(after.loc, (0.7 * m0 + 5 * mean) / 5.7, rtol=1e-13)
    np.testing.assert_allclose(after.scale, scale * np.eye(3) if diagonal else scale, rtol=1e-12)


@pytest.mark.parametrize("diagonal", [False, True])
def test_components_of_labels(diagonal: bool) -> None:
    prior, x = prior_of(diagonal=diagonal), torch.randn(9, 3, dtype=F64)
    z = torch.tensor([5, 2, 5, 5, 9, 2, 9, 9, 9])
    each = [prior.log_marginal(x[z == k]) for k in (2, 5, 9)]
    torch.testing.assert_close(prior.log_marginals(x, z), torch.stack(each))
    laws, new = prior.predictives(x, z), torch.randn(3, dtype=F64)
    each = [prior.posterior(x[z == k]).predictive().log_prob(new) for k in (2, 5, 9)]
    torch.testing.assert_close(laws.log_prob(new), torch.stack(each))


@pytest.mark.parametrize("diagonal", [False, True])
def test_bayes_theorem_for_components(diagonal: bool) -> None:
    """Prior x likelihood = evidence x posterior, at any component."""
    prior, x = prior_of(diagonal=diagonal), torch.randn(6, 3, dtype=F64)
    for seed in range(5):
        mean, covariance = prior.sample(seed=seed)
        rows = stats.multivariate_normal(mean.numpy(), covariance.numpy()).logpdf(x.numpy()).sum()
        left = prior.log_prob(mean, covariance) + rows
        right = prior.log_marginal(x) + prior.posterior(x).log_prob(mean, covariance)
        torch.testing.assert_close(left, right, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("diagonal", [False, True])
def test_component_draws(diagonal: bool, generator: Generator, budget: AlphaBudget) -> None:
    """Each variance is inverse gamma, each mean is Student t (Murphy 2012, section 4.6.3)."""
    prior, count = prior_of(diagonal=diagonal), 3000
    draws = [prior.sample(generator=generator) for _ in range(count)]
    variance = torch.stack([c.covariance.diagonal() for c in draws]).numpy()
    mean = torch.stack([c.mean for c in draws]).numpy()
    nu, psi = prior.df - 2, prior.scale.diagonal().numpy()
    for d in range(3):
        law = stats.invgamma(nu / 2, scale=psi[d] / 2)
        budget.check(f"niw variance {d}", dkw_pvalue(variance[:, d], law.cdf))
        t = stats.t(nu, float(prior.loc[d]), math.sqrt(psi[d] / (0.7 * nu)))
        budget.check(f"niw mean {d}", dkw_pvalue(mean[:, d], t.cdf))


def test_papers_prior() -> None:
    x = torch.randn(30, 4, dtype=F64) * torch.tensor([1.0, 2.0, 3.0, 4.0])
    prior = NormalInverseWishart.from_data(x)
    k = int(math.log2(31))  # 4
    assert (prior.kappa, prior.df, prior.diagonal) == (0.01, 6.0, False)
    torch.testing.assert_close(prior.loc, x.mean(0), rtol=1e-14, atol=1e-16)
    expected = (x.var(0, correction=0) / k ** (2 / 4)).diag()
    torch.testing.assert_close(prior.scale, expected, rtol=1e-13, atol=0.0)
    other = NormalInverseWishart.from_data(
        x, num_components=9, kappa=2.0, df=8.0, scale_factor=0.5, diagonal=True
    )
    assert (other.kappa, other.df, other.diagonal) == (2.0, 8.0, True)
    expected = (0.5 * x.var(0, correction=0) / 9 ** (2 / 4)).diag()
    torch.testing.assert_close(other.scale, expected, rtol=1e-13, atol=0.0)


def test_constant_columns_take_the_geometric_mean_of_the_others() -> None:
    x = torch.tensor([[0.0, 7.0, 0.0], [2.0, 7.0, 8.0]], dtype=F64)  # variances 1, -, 16
    for unit in (1.0, 1e-30, 1e30):
        scale = NormalInverseWishart.from_data(x * unit, num_components=1).scale.diagonal()
        expected = torch.tensor([1.0, 4.0, 16.0], dtype=F64) * unit**2
        torch.testing.assert_close(scale, expected, rtol=1e-13, atol=0.0)
    same = torch.tensor([[3.0, 4.0]] * 3, dtype=F64)
    for x, square in ((same, 12.5), (1e20 * same, 12.5e40), (0.0 * same, 1.0)):
        scale = NormalInverseWishart.from_data(x, num_components=1).scale.diagonal()
        torch.testing.assert_close(scale, torch.full((2,), square, dtype=F64))


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize(("name", "make", "expect"), list(data_cases()))
def test_awkward_data(name: str, make: Any, expect: str, diagonal: bool) -> None:
    def thunk() -> list[Tensor]:
        x = make()
        prior = NormalInverseWishart.from_data(x, diagonal=diagonal)
        after = prior.posterior(x)
        return [
            prior.scale, prior.log_marginal(x), after.scale, after.loc,
            after.predictive().log_prob(after.loc),
        ]  # fmt: skip

    assert verdict(thunk, expect, lambda out: all(v.isfinite().all() for v in out)) is None


def test_scale_of_the_data_does_not_matter() -> None:
    """Evidence of c x is that of x less N D log c, wherever the squares stay in range."""
    x = torch.randn(40, 4, dtype=F64)
    expected = NormalInverseWishart.from_data(x).log_marginal(x)
    for c in (1e-30, 1e30, 2.0**-400, 2.0**400):
        found = NormalInverseWishart.from_data(c * x).log_marginal(c * x) + 160 * math.log(c)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-10)


EYE = np.eye(2)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((np.zeros(2), -1.0, EYE, 4.0), "kappa"),
        ((np.zeros(2), 0.0, EYE, 4.0), "kappa"),
        ((np.zeros(2), math.nan, EYE, 4.0), "kappa"),
        ((np.zeros(2), math.inf, EYE, 4.0), "kappa"),
        ((np.zeros(2), "1", EYE, 4.0), "kappa"),
        ((np.zeros(2), None, EYE, 4.0), "kappa"),
        ((np.zeros(2), np.ones(2), EYE, 4.0), "kappa"),
        ((np.zeros(2), 1.0, EYE, 1.0), "df"),
        ((np.zeros(2), 1.0, EYE, True), "df"),
        ((np.zeros((2, 1)), 1.0, EYE, 4.0), "loc"),
        ((np.zeros(0), 1.0, np.zeros((0, 0)), 4.0), "loc"),
        ((np.array([0.0, math.nan]), 1.0, EYE, 4.0), "loc"),
        ((None, 1.0, EYE, 4.0), "loc"),
        ((np.zeros(2), 1.0, np.eye(3), 4.0), "scale"),
        ((np.zeros(2), 1.0, np.ones(2), 4.0), "scale"),
        ((np.zeros(2), 1.0, -EYE, 4.0), "scale"),
        ((np.zeros(2), 1.0, np.ones((2, 2)), 4.0), "scale"),
        ((np.zeros(2), 1.0, np.array([[1.0, 0.5], [0.0, 1.0]]), 4.0), "scale"),
        ((np.zeros(2), 1.0, np.array([[1.0, math.inf], [math.inf, 1.0]]), 4.0), "scale"),
    ],
)
def test_awkward_parameters(arguments: tuple[Any, ...], name: str) -> None:
    with pytest.raises((ValueError, TypeError), match=name):
        NormalInverseWishart(*arguments)


def test_other_refusals() -> None:
    prior, x = prior_of(), torch.randn(4, 3, dtype=F64)
    z = torch.zeros(4, dtype=torch.int64)
    cases = [
        (lambda: prior.posterior(x[:, :2]), "3 columns"),
        (lambda: prior.log_marginals(x, z[:3]), "labels"),
        (lambda: prior.log_marginals(x, z.double()), "labels"),
        (lambda: prior.log_marginals(x, z - 1), "labels"),
        (lambda: prior.log_marginal(1e200 * x), "x is too far"),
        (lambda: prior.posterior(1e200 * x), "x is too far"),
        (lambda: prior.log_marginal(x + 1e200), "x is too far"),
        (lambda: prior.posterior(x).rescaled(2.0), "prior"),
        (lambda: prior.rescaled(-1.0), "factor"),
        (lambda: NormalInverseWishart.from_data(x, num_components=0), "num_components"),
        (lambda: NormalInverseWishart.from_data(x, scale_factor=-1.0), "scale_factor"),
        (lambda: NormalInverseWishart.from_data(x, scale_factor=1e-320), "scale_factor"),
        (lambda: NormalInverseWishart.from_data(x, df=2.0), "df"),
        (lambda: NormalInverseWishart(np.zeros(2), 1, EYE + 0.1, 4, diagonal=True), "diagonal"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()


def test_inverse_wishart_is_scipys() -> None:
    for dim, df in ((1, 0.5), (2, 1.5), (4, 9.0)):
        law = InverseWishart(df, torch.tensor(spd(dim)))
        at = torch.tensor(np.stack([spd(dim, seed) for seed in range(3)]))
        expected = [stats.invwishart(df, spd(dim)).logpdf(s) for s in at.numpy()]
        np.testing.assert_allclose(law.log_prob(at), expected, rtol=1e-11, atol=1e-11)
        mean = spd(dim) / (df - dim - 1) if df > dim + 1 else np.full((dim, dim), np.nan)
        np.testing.assert_allclose(law.mean, mean, rtol=1e-12)
    wide = InverseWishart(torch.tensor([5.0, 6.0]), torch.eye(2)).expand([3, 2])
    assert wide.sample((4,), seed=0).shape == (4, 3, 2, 2, 2)
    assert wide.log_prob(torch.eye(2)).shape == (3, 2)


def test_inverse_wishart_draws(generator: Generator, budget: AlphaBudget) -> None:
    """a' Sigma a is inverse gamma for any a; log|Psi|/|Sigma| is a sum of log chi-squares."""
    psi, df, a = spd(3), 6.5, np.array([1.0, -2.0, 0.5])
    law = InverseWishart(df, torch.tensor(psi))
    sigma = law.sample((dkw_min_samples(0.05),), generator=generator).numpy()
    quadratic = np.einsum("i,nij,j->n", a, sigma, a)
    cdf = stats.invgamma((df - 2) / 2, scale=a @ psi @ a / 2).cdf
    budget.check("inverse Wishart quadratic form", dkw_pvalue(quadratic, cdf))
    ratio = np.linalg.slogdet(psi)[1] - np.linalg.slogdet(sigma)[1]
    expected = sum(stats.loggamma((df - j) / 2).mean() + math.log(2.0) for j in range(3))
    budget.check("inverse Wishart determinant", paired_mean_pvalue(ratio - expected))


def test_inverse_wishart_gradients_follow_the_draws() -> None:
    """d E[trace Sigma] / d scale of Psi, by pathwise gradients, is E[trace Sigma]."""
    s = torch.ones((), dtype=F64, requires_grad=True)
    df = torch.tensor(9.0, dtype=F64, requires_grad=True)
    draws = InverseWishart(df, s * torch.tensor(spd(3))).rsample((10,))
    trace = draws.diagonal(dim1=-2, dim2=-1).sum()
    slope, of_df = torch.autograd.grad(trace, (s, df))
    torch.testing.assert_close(slope, trace.detach())
    assert of_df < 0  # more degrees of freedom, smaller covariances


def test_inverse_wishart_refusals() -> None:
    for df, scale, name in (
        (1.0, torch.eye(2), "df"), (math.nan, torch.eye(2), "df"), (5.0, -torch.eye(2), "scale"),
        (5.0, torch.ones(2, 3), "scale"), (5.0, torch.full((2, 2), math.nan), "scale"),
        ("5", torch.eye(2), "df"), (5.0, None, "scale"),
        (torch.full((3,), 5.0), torch.eye(2).expand(2, 2, 2), "df"),
    ):  # fmt: skip
        with pytest.raises((ValueError, TypeError), match=name):
            InverseWishart(df, scale)
    with pytest.raises(ValueError, match=r"support|value"):
        InverseWishart(5.0, torch.eye(2)).log_prob(-torch.eye(2))
