"""Mixtures of Student t laws: densities by hand, marginals, conditionals by quadrature, draws."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from statcheck import AlphaBudget, dkw_min_samples, dkw_pvalue
from torch import Generator, Tensor

from probact.distributions import (
    DiagonalStudentTMixture,
    PosteriorPredictive,
    StudentTMixture,
)

F64 = torch.float64
WEIGHTS = torch.tensor([0.5, 0.2, 0.0, 0.3], dtype=F64)
DF = torch.tensor([3.5, 8.0, 0.5, 40.0], dtype=F64)


def parts(dim: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """loc (4, D) and Cholesky factors (4, D, D) far from diagonal."""
    rng = np.random.default_rng(seed)
    root = np.tril(rng.normal(size=(4, dim, dim)), -1)
    root = root + np.eye(dim) * rng.uniform(0.5, 1.5, (4, 1, dim))
    return torch.tensor(2.0 * rng.normal(size=(4, dim))), torch.tensor(root)


def mixture(dim: int = 3, seed: int = 0, diagonal: bool = False) -> Any:
    loc, root = parts(dim, seed)
    if diagonal:
        return DiagonalStudentTMixture(WEIGHTS, DF, loc, root.diagonal(dim1=-2, dim2=-1))
    return StudentTMixture(WEIGHTS, DF, loc, root)


def scale_of(law: Any, k: int) -> np.ndarray:
    if isinstance(law, DiagonalStudentTMixture):
        return np.diag(law.scale[k].numpy() ** 2)
    return np.asarray(law.scale_tril[k] @ law.scale_tril[k].mT)


def density(law: Any, x: np.ndarray) -> np.ndarray:
    """By scipy: products of univariate laws where coordinates are independent."""
    total = np.zeros(x.shape[:-1])
    for k, w in enumerate(law.weights.tolist()):
        df, loc, scale = float(law.df[k]), law.loc[k].numpy(), scale_of(law, k)
        if isinstance(law, DiagonalStudentTMixture):
            total += w * stats.t.pdf(x, df, loc, np.sqrt(np.diag(scale))).prod(-1)
        else:
            total += w * stats.multivariate_t(loc, scale, df).pdf(x)
    return total


@pytest.mark.parametrize("diagonal", [False, True])
def test_density_and_marginals(diagonal: bool) -> None:
    law = mixture(diagonal=diagonal)
    x = 3.0 * torch.randn(2, 5, 3, dtype=F64)
    np.testing.assert_allclose(law.log_prob(x), np.log(density(law, x.numpy())), rtol=1e-10)
    one_by_one = law.marginal_log_prob(x)
    for d in range(3):
        single = sum(
            w * stats.t(df, m[d], math.sqrt(scale_of(law, k)[d, d])).pdf(x[..., d])
            for k, (w, df, m) in enumerate(
                zip(WEIGHTS.tolist(), DF.tolist(), law.loc.tolist(), strict=True)
            )
        )
        np.testing.assert_allclose(one_by_one[..., d], np.log(single), rtol=1e-10)
        np.testing.assert_allclose(law.marginal(d).log_prob(x[..., d : d + 1]), np.log(single))
    assert law.expand([2, 5]).log_prob(x).shape == (2, 5)
    joint = torch.logsumexp(law.component_log_prob(x) + WEIGHTS.log(), -1)
    torch.testing.assert_close(joint, law.log_prob(x))


def test_many_rows_are_taken_in_pieces() -> None:
    law = mixture(dim=40)
    x = torch.randn(30_000, 40, dtype=F64)  # 4.8 million numbers per coordinate table
    torch.testing.assert_close(law.log_prob(x)[[0, -1]], law.log_prob(x[[0, -1]]))
    assert law.marginal_log_prob(x).shape == (30_000, 40)


@pytest.mark.parametrize("diagonal", [False, True])
def test_conditional_against_quadrature(diagonal: bool) -> None:
    law = mixture(dim=2, seed=3, diagonal=diagonal)
    for at, given in ((0, 1.3), (1, -25.0)):
        rest = law.condition(at, given)

        def joint(t: float, at: int = at, given: float = given, law: Any = law) -> float:
            x = np.array([given, t] if at == 0 else [t, given])
            return float(density(law, x[None])[0])

        total = integrate.quad(joint, -math.inf, math.inf, epsabs=0.0, epsrel=1e-8, limit=400)[0]
        assert math.log(total) == pytest.approx(
            law.marginal(at).log_prob(torch.tensor([given], dtype=F64)).item(), rel=1e-7
        )
        for t in (-2.0, 0.5, 7.0):
            found = rest.log_prob(torch.tensor([t], dtype=F64)).exp().item()
            assert found == pytest.approx(joint(t) / total, rel=1e-6)


@pytest.mark.parametrize("diagonal", [False, True])
def test_chain_rule_in_any_order(diagonal: bool) -> None:
    law = mixture(dim=4, diagonal=diagonal)
    x = 2.0 * torch.randn(4, dtype=F64)
    for dims in ([2], [3, 1], [-1, 0, 2]):
        rest = [i for i in range(4) if i not in [d % 4 for d in dims]]
        conditional = law.condition(dims, x[dims])
        total = law.marginal(dims).log_prob(x[dims]) + conditional.log_prob(x[rest])
        torch.testing.assert_close(total, law.log_prob(x))


@pytest.mark.parametrize("diagonal", [False, True])
def test_draws(diagonal: bool, generator: Generator, budget: AlphaBudget) -> None:
    law = mixture(diagonal=diagonal)
    x = law.sample((dkw_min_samples(0.05),), generator=generator)
    for d in range(3):

        def cdf(t: np.ndarray, d: int = d) -> np.ndarray:
            out = np.zeros_like(t)
            for k, w in enumerate(WEIGHTS.tolist()):
                one = stats.t(float(DF[k]), float(law.loc[k, d]), float(law.spread[k, d]))
                out += w * one.cdf(t)
            return out

        budget.check(f"t mixture {d} {diagonal}", dkw_pvalue(x[:, d].numpy(), cdf))
    assert torch.equal(law.sample((2, 3), seed=1), law.sample((2, 3), seed=1))
    assert law.expand([2]).sample((3,)).shape == (3, 2, 3)
    assert law.sample((0,)).shape == (0, 3)


def test_moments() -> None:
    law = mixture()
    w, df = WEIGHTS.numpy(), DF.numpy()
    mean = w @ law.loc.numpy()
    second = sum(
        w[k] * (df[k] / (df[k] - 2) * np.diag(scale_of(law, k)) + law.loc[k].numpy() ** 2)
        for k in (0, 1, 3)  # the third has weight 0 and no moments
    )
    np.testing.assert_allclose(law.mean, mean, rtol=1e-13)
    np.testing.assert_allclose(law.variance, second - mean**2, rtol=1e-12)
    loc, root = parts()
    heavy = StudentTMixture(WEIGHTS, torch.tensor([3.0, 1.5, 3.0, 3.0], dtype=F64), loc, root)
    assert heavy.mean.isfinite().all()
    assert heavy.variance.isposinf().all()
    heavier = StudentTMixture(WEIGHTS, torch.full((4,), 0.5, dtype=F64), loc, root)
    assert heavier.mean.isnan().all()


def test_posterior_predictive(generator: Generator, budget: AlphaBudget) -> None:
    laws = [mixture(dim=2, seed=s) for s in (0, 5, 9)]
    average = PosteriorPredictive(laws)
    x = 3.0 * torch.randn(6, 2, dtype=F64)
    expected = sum(density(law, x.numpy()) for law in laws) / 3.0
    np.testing.assert_allclose(average.log_prob(x).exp(), expected, rtol=1e-10)
    single = torch.stack([law.marginal_log_prob(x).exp() for law in laws]).mean(0)
    torch.testing.assert_close(average.marginal_log_prob(x).exp(), single)
    rest, at = average.condition(1, 0.7), torch.tensor([0.7], dtype=F64)
    joint = average.log_prob(torch.tensor([[-1.0, 0.7]], dtype=F64))
    first = average.marginal([1]).log_prob(at) + rest.log_prob(torch.tensor([[-1.0]], dtype=F64))
    torch.testing.assert_close(first, joint)
    assert not torch.equal(rest.weights, average.weights)
    draws = average.sample((dkw_min_samples(0.05),), generator=generator)

    def cdf(t: np.ndarray) -> np.ndarray:
        return np.mean([
            sum(
                w * stats.t(float(DF[k]), float(law.loc[k, 0]), float(law.spread[k, 0])).cdf(t)
                for k, w in enumerate(WEIGHTS.tolist())
            )
            for law in laws
        ], axis=0)  # fmt: skip

    budget.check("posterior predictive", dkw_pvalue(draws[:, 0].numpy(), cdf))
    assert torch.equal(average.sample((5,), seed=2), average.sample((5,), seed=2))
    means = torch.stack([law.mean for law in laws])
    torch.testing.assert_close(average.mean, means.mean(0))
    within = torch.stack([law.variance for law in laws]).mean(0)
    torch.testing.assert_close(average.variance, within + means.var(0, correction=0))
    assert average.expand([4]).sample((3,)).shape == (3, 4, 2)


def test_refusals() -> None:
    loc, root = parts()
    law, other = mixture(), mixture(dim=2)
    cases = [
        (lambda: StudentTMixture(-WEIGHTS, DF, loc, root), "weights"),
        (lambda: StudentTMixture(2.0 * WEIGHTS, DF, loc, root), "weights"),
        (lambda: StudentTMixture(WEIGHTS[:3], DF, loc, root), "weights"),
        (lambda: StudentTMixture(WEIGHTS[None], DF, loc, root), "weights"),
        (lambda: StudentTMixture(WEIGHTS, -DF, loc, root), "df"),
        (lambda: StudentTMixture(WEIGHTS, DF, loc, root[:, :2]), "scale_tril"),
        (lambda: StudentTMixture(WEIGHTS, DF, loc, -root), "scale_tril"),
        (lambda: DiagonalStudentTMixture(WEIGHTS, DF, loc, -loc.abs()), "scale"),
        (lambda: law.marginal([]), "dims"),
        (lambda: law.marginal([0, 3]), "dims"),
        (lambda: law.marginal([0, -3]), "repeat"),
        (lambda: law.marginal("0"), "dims"),
        (lambda: law.condition([0, 1, 2], [0.0] * 3), "leave"),
        (lambda: law.condition([0, 1], [0.0]), "values"),
        (lambda: law.condition(0, math.nan), "values"),
        (lambda: law.log_prob(torch.full((3,), math.nan, dtype=F64)), "support"),
        (lambda: PosteriorPredictive([]), "mixtures"),
        (lambda: PosteriorPredictive([law, other]), "one dimension"),
        (lambda: PosteriorPredictive([law, "x"]), "mixtures"),  # type: ignore[list-item]
        (lambda: PosteriorPredictive([law], WEIGHTS), "one per mixture"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
