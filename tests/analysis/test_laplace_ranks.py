"""Rank regressions of weights: what the paper's Algorithm 1 estimates, and what it does not."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor

from probact.analysis.laplace_fits import fit_asymmetric_laplace, rank_log_regression
from probact.distributions import AsymmetricLaplace

F64 = torch.float64
HALVES: dict[str, tuple[Any, float]] = {  # law of y, and the R^2 that the module states
    "exponential": (stats.expon, 0.876),
    "half-normal": (stats.halfnorm, 0.827),
    "half-Cauchy": (stats.halfcauchy, 0.884),
    "lognormal": (stats.lognorm(1.0), 0.955),
}


def draws(rate: float, num: int, n: int, seed: int = 0) -> Tensor:
    one = torch.tensor(1.0, dtype=F64)
    return AsymmetricLaplace(0.0 * one, one / rate, one).sample((num, n), seed=seed)


@pytest.mark.parametrize("name", HALVES)
def test_line_of_many_weights_is_the_line_through_the_quantile_function(name: str) -> None:
    law, want_r2 = HALVES[name]
    u = (np.arange(200_000) + 0.5) / 200_000
    found = rank_log_regression(torch.tensor(law.ppf(u))[None])

    def moment(f: Any) -> float:
        log_quantile = lambda u: float(np.log(law.ppf(u)))  # noqa: E731
        return integrate.quad(lambda u: f(u, log_quantile(u)), 0, 1, limit=300)[0]

    mean = moment(lambda u, y: y)
    slope = 12.0 * moment(lambda u, y: (u - 0.5) * y)
    r2 = slope**2 / 12.0 / moment(lambda u, y: (y - mean) ** 2)
    assert found.slope.item() == pytest.approx(slope, rel=2e-3)
    assert found.intercept.item() == pytest.approx(mean - slope / 2, abs=3e-3)
    assert found.r2.item() == pytest.approx(r2, abs=2e-3)
    assert r2 == pytest.approx(want_r2, abs=1e-3)


@pytest.mark.parametrize("rate", [5.0, 30.0, 200.0])
def test_the_slope_of_algorithm_1_does_not_see_the_rate(rate: float) -> None:
    """Its mean over 400 rows is 6 log 2; read as a rate it is wrong by any factor."""
    found = rank_log_regression(draws(rate, 400, 2048))
    assert found.slope.mean().item() == pytest.approx(6.0 * math.log(2.0), abs=0.02)
    assert (found.intercept + math.log(rate)).mean().item() == pytest.approx(-2.657, abs=0.02)
    assert found.r2.mean().item() == pytest.approx(0.876, abs=0.005)
    assert found.weibull_shape.mean().item() == pytest.approx(1.0, abs=0.01)
    assert found.scale.mean().item() * rate == pytest.approx(1.0, abs=0.01)


def test_the_log_moment_scale_wastes_two_fifths_of_the_weights() -> None:
    x = draws(1.0, 1000, 1024, seed=5)
    spread = rank_log_regression(x).scale.log().var()
    best = fit_asymmetric_laplace(x).scale_right.log().var()
    assert float(best / spread) == pytest.approx(6.0 / math.pi**2, abs=0.08)


@pytest.mark.parametrize("shape", [0.5, 2.0])
def test_the_slope_is_a_weibull_shape(shape: float) -> None:
    y = stats.weibull_min(shape).ppf((np.arange(100_000) + 0.5) / 100_000)
    found = rank_log_regression(torch.tensor(y)[None])
    assert found.weibull_shape.item() == pytest.approx(shape, rel=2e-3)


@pytest.mark.parametrize("method", ["log_survival", "qq"])
def test_two_lines_that_hold_for_an_exponential_half(method: str) -> None:
    y = stats.expon(scale=0.25).ppf((np.arange(500) + 0.5) / 500)
    found = rank_log_regression(torch.tensor(y)[None], method=method)
    assert found.r2.item() == pytest.approx(1.0, abs=1e-12)
    assert found.scale.item() == pytest.approx(0.25, rel=1e-10)
    assert found.slope.item() == pytest.approx(0.25 if method == "qq" else -4.0, rel=1e-10)
    assert found.weibull_shape.isnan().all()


def test_is_numpys_least_squares_row_by_row() -> None:
    x = torch.randn(5, 40, dtype=F64, generator=torch.Generator().manual_seed(2))
    mode = fit_asymmetric_laplace(x).loc
    for threshold, origin in (
        (0.0, torch.zeros(5, dtype=F64)),
        ("mode", mode),
        (-0.3, torch.full((5,), -0.3, dtype=F64)),
    ):
        for side, sign in (("+", 1.0), ("-", -1.0)):
            found = rank_log_regression(x, threshold=threshold, side=side)
            for k in range(5):
                y = np.sort(sign * (x[k] - origin[k]).numpy())
                y = y[y > 0]
                line = stats.linregress(np.linspace(0, 1, len(y)), np.log(y))
                assert found.num[k].item() == len(y)
                assert found.slope[k].item() == pytest.approx(line.slope, rel=1e-10)
                assert found.intercept[k].item() == pytest.approx(line.intercept, rel=1e-10)
                assert found.r2[k].item() == pytest.approx(line.rvalue**2, rel=1e-10)


def test_rows_with_nothing_to_regress_and_refusals() -> None:
    x = torch.tensor([[-1.0, -2.0, 0.5, -3.0, 1.0], [1.0, 2.0, 3.0, 5.0, 4.0]])
    found = rank_log_regression(x)
    assert found.num.tolist() == [2, 5]
    assert [bool(v[0].isnan()) for v in found[:5]] == [True] * 5
    assert found.slope[1].isfinite()
    for options, message in (
        ({"side": "left"}, "side must be"),
        ({"method": "ols"}, "method must be"),
        ({"threshold": "median"}, "threshold must be"),
        ({"threshold": math.nan}, "threshold must be"),
    ):
        with pytest.raises(ValueError, match=message):
            rank_log_regression(x, **options)
    with pytest.raises(ValueError, match="NaN"):
        rank_log_regression(torch.tensor([[1.0, math.nan, 2.0]]))
