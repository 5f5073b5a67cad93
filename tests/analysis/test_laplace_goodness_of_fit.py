"""Goodness of fit of the asymmetric Laplace law: scipy's statistics, calibration, power."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from statcheck import AlphaBudget, dkw_pvalue
from torch import Tensor

from probact.analysis.laplace_fits import (
    FitDistance,
    bootstrap_covariance,
    distance_quantile,
    fit_asymmetric_laplace,
    fit_distance,
    goodness_of_fit,
)
from probact.analysis.laplace_fits.goodness_of_fit import _interpolated
from probact.distributions import AsymmetricLaplace

F64 = torch.float64


def draws(kappa: float, num: int, n: int, seed: int) -> Tensor:
    return AsymmetricLaplace.from_scipy(torch.tensor(kappa, dtype=F64)).sample((num, n), seed=seed)


def anderson_darling(u: np.ndarray) -> float:
    """n integral (F_n - v)^2 / (v (1 - v)) dv, piece by piece between the sorted u."""
    n, knots = len(u), np.concatenate([[0.0], np.sort(u), [1.0]])
    total = 0.0
    for i in range(n + 1):
        low, high = knots[i], knots[i + 1]
        total += integrate.quad(
            lambda v, f: (f - v) ** 2 / (v * (1 - v)), low, high, args=(i / n,)
        )[0]
    return n * total


def test_distances_are_scipys() -> None:
    x = torch.tensor(stats.gumbel_r(0, 1).rvs((6, 60), random_state=1))
    x[5] = x[5].round(decimals=1)  # ties
    fit = fit_asymmetric_laplace(x)
    found = fit_distance(x.sort(-1).values, fit)
    tested = goodness_of_fit(x, replicates=19).distance
    torch.testing.assert_close(torch.stack(tested), torch.stack(found), equal_nan=True)
    for k, row in enumerate(x.numpy()):
        law = stats.laplace_asymmetric(
            float(fit.asymmetry[k]), float(fit.loc[k]), float(fit.scale[k])
        )
        assert found.ks[k].item() == pytest.approx(stats.kstest(row, law.cdf).statistic, rel=1e-9)
        assert found.ad[k].item() == pytest.approx(anderson_darling(law.cdf(row)), rel=1e-6)
        for side, distance in ((1.0, found.ad_right[k]), (-1.0, found.ad_left[k])):
            half = side * (row - float(fit.loc[k]))
            half = half[half > 0.0]
            if len(half) < 3:
                assert distance.isnan()
                continue
            u = stats.expon(scale=half.mean()).cdf(half)
            assert distance.item() == pytest.approx(anderson_darling(u), rel=1e-6)


@pytest.mark.parametrize("kappa", [0.5, 1.0, 1.6])
def test_pvalues_are_uniform_under_the_law(kappa: float, budget: AlphaBudget) -> None:
    """Also of classes between the nodes; p-values share the null, whose own error 999 bounds."""
    x = draws(kappa, 400, 150, seed=11)
    test = goodness_of_fit(x, nodes=3, seed=1)
    for name in FitDistance._fields:
        pvalue = getattr(test.pvalue, name).numpy()
        budget.check(f"{name} p-value {kappa}", dkw_pvalue(pvalue, stats.uniform.cdf))
    assert not test.rejected(1e-3).any()


def test_pvalues_between_nodes_are_interpolated() -> None:
    """Null samples 0 .. 8 at log kappa = -1 and 0 .. 8 times ten at 1, so shares known by hand."""
    null = torch.arange(9.0, dtype=F64) * torch.tensor([[1.0], [10.0]], dtype=F64)
    log_kappa = torch.tensor([-1.0, -0.5, 0.0, 1.0, math.nan], dtype=F64)
    observed = torch.tensor([4.5, 4.5, 20.0, 20.0, math.nan], dtype=F64)
    grid = torch.tensor([-1.0, 1.0], dtype=F64)
    found = _interpolated(log_kappa, grid, observed, null)
    want = torch.tensor(
        [0.5, 0.75 * 0.5 + 0.25 * 0.9, 0.5 * (0.1 + 0.8), 0.8, math.nan], dtype=F64
    )
    torch.testing.assert_close(found, want, equal_nan=True)


def test_textbook_null_would_be_far_too_lenient() -> None:
    """95 % points at n = 512, kappa = 1, by 4000 fits elsewhere: sqrt(n) KS 0.835, AD 0.603."""
    x = draws(1.0, 1500, 512, seed=3)
    found = fit_distance(x.sort(-1).values, fit_asymmetric_laplace(x))
    ks, ad = (float(v.quantile(0.95)) for v in (found.ks * math.sqrt(512), found.ad))
    assert ks == pytest.approx(0.835, abs=0.04)
    assert ad == pytest.approx(0.603, abs=0.06)
    assert stats.kstwobign.sf(ks) > 0.4  # with known parameters


def test_other_laws_are_rejected_and_ours_is_not() -> None:
    rng = np.random.default_rng(0)
    alternatives = [stats.norm, stats.logistic, stats.t(5), stats.uniform]
    x = np.concatenate([law.rvs(size=(10, 2048), random_state=rng) for law in alternatives])
    x = torch.cat([torch.tensor(x), draws(1.2, 40, 2048, seed=8)])
    test = goodness_of_fit(x, replicates=199, nodes=3)
    for statistic in ("ad", "ks"):
        refused = test.rejected(0.05, statistic)
        assert refused[:40].all()
        assert refused[40:].sum() <= 6
    frame = test.to_frame()
    assert frame.columns.tolist()[:4] == ["ks", "ks_pvalue", "ad", "ad_pvalue"]
    assert len(frame) == 80


def test_rejections_are_benjamini_and_hochbergs() -> None:
    x = torch.cat([draws(1.0, 15, 300, seed=1), torch.randn(15, 300, dtype=F64)])
    test = goodness_of_fit(x, replicates=199, nodes=2)
    pvalue = test.pvalue.ks.sort()
    below = pvalue.values <= 0.1 * torch.arange(1, 31) / 30
    count = int(below.nonzero().max()) + 1 if below.any() else 0
    assert set(test.rejected(0.1, "ks").nonzero().flatten().tolist()) == set(
        pvalue.indices[:count].tolist()
    )


def test_degenerate_rows_have_no_test() -> None:
    x = torch.cat([torch.ones(1, 50, dtype=F64), draws(1.0, 2, 50, seed=0)])
    test = goodness_of_fit(x, replicates=19)
    assert test.pvalue.ad.isnan().tolist() == [True, False, False]
    assert not test.rejected()[0]
    alone = goodness_of_fit(torch.ones(2, 5), replicates=19)
    assert alone.pvalue.ks.isnan().all()
    assert not alone.rejected().any()
    few = goodness_of_fit(torch.tensor([[0.0, 1.0, 2.0, 9.0]]), replicates=19)
    assert few.pvalue.ad_left.isnan().all()


def test_the_seed_gives_the_pvalues() -> None:
    x = draws(1.0, 8, 60, seed=2)
    before = torch.get_rng_state()
    first, again = (goodness_of_fit(x, replicates=39, nodes=2, seed=4) for _ in range(2))
    assert torch.equal(first.pvalue.ad, again.pvalue.ad)
    assert torch.equal(torch.get_rng_state(), before)


def test_refusals() -> None:
    x = draws(1.0, 2, 20, seed=0)
    for call, message in (
        (lambda: goodness_of_fit(x, replicates=5), "replicates"),
        (lambda: goodness_of_fit(x, nodes=1), "nodes"),
        (lambda: goodness_of_fit(x, seed=-1), "seed"),
        (lambda: goodness_of_fit(x, replicates=19).rejected(1.5), "level"),
        (lambda: goodness_of_fit(x, replicates=19).rejected(0.1, "cvm"), "statistic"),
        (lambda: bootstrap_covariance(fit_asymmetric_laplace(torch.ones(1, 5))), "degenerate"),
        (lambda: bootstrap_covariance(fit_asymmetric_laplace(x), replicates=1), "replicates"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_bootstrap_is_the_spread_of_refits_of_the_law() -> None:
    """Against refits of draws with the fit's own location and scale; 4000 each, error 2 %."""
    x = 0.1 * draws(1.5, 1, 100, seed=6) - 3.0
    fit = fit_asymmetric_laplace(x)
    found = bootstrap_covariance(fit, replicates=4000, seed=1)[0]
    refit = fit_asymmetric_laplace(fit.dist().sample((4000, 100), seed=9).squeeze(-1))
    parts = torch.stack([refit.loc, -refit.scale.log(), refit.asymmetry.log()])
    torch.testing.assert_close(found.diagonal().sqrt(), parts.std(1), rtol=0.06, atol=0.0)
    root = found.diagonal().sqrt()
    torch.testing.assert_close(
        found / torch.outer(root, root), torch.corrcoef(parts), rtol=0.0, atol=0.06
    )
    assert found[0, 0] > fit.cov()[0, 0, 0]  # 100 weights are few for the mode


def test_quantiles_of_the_null() -> None:
    """sqrt(n) KS and AD at n = 2048, kappa = 1: 4000 replications made elsewhere."""
    x = AsymmetricLaplace(0.0, 1.0, 1.0).sample((1, 2048), seed=3)
    fit = fit_asymmetric_laplace(x)
    for prob, ks, ad in ((0.5, 0.574, 0.287), (0.95, 0.828, 0.572)):
        found = distance_quantile(fit, prob, replicates=2000)
        assert float(found.ks) * 2048**0.5 == pytest.approx(ks, rel=0.05)
        assert float(found.ad) == pytest.approx(ad, rel=0.08)
    for bad in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match="prob"):
            distance_quantile(fit, bad)
    with pytest.raises(ValueError, match="degenerate"):
        distance_quantile(fit_asymmetric_laplace(torch.ones(1, 5)))
