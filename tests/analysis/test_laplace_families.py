"""Maximum likelihoods of the rivals of the asymmetric Laplace law against scipy's fits."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import optimize, stats
from torch import Tensor

from probact.analysis.laplace_fits import (
    compare_families,
    family_likelihoods,
    fit_asymmetric_laplace,
)
from probact.analysis.laplace_fits.family_comparison import FAMILIES
from probact.analysis.laplace_fits.newton import newton_maximum

F64 = torch.float64
SOURCES: dict[str, Any] = {
    "normal": stats.norm(1.0, 0.03),
    "laplace": stats.laplace(-0.1, 2.0),
    "asymmetric_laplace": stats.laplace_asymmetric(1.6, 0.0, 0.03),
    "logistic": stats.logistic(0.0, 30.0),
    "student_t": stats.t(2.5, 0.3, 0.02),
    "exponential": stats.expon(0.0, 4.0),
    "uniform": stats.uniform(-1.0, 2.0),
    "cauchy": stats.cauchy(0.0, 1.0),
    "skew_logistic": stats.genlogistic(0.3, 1.0, 0.02),
}
WITNESS: dict[str, Any] = {
    "normal": stats.norm,
    "laplace": stats.laplace,
    "logistic": stats.logistic,
    "skew_logistic": stats.genlogistic,
    "student_t": stats.t,
    "exponential": stats.expon,
}


def rows_of(source: str, num: int, n: int) -> Tensor:
    rng = np.random.default_rng(len(source))
    return torch.tensor(SOURCES[source].rvs((num, n), random_state=rng))


BOXES = {"skew_logistic": (-7.0, 7.0), "student_t": (math.log(0.5), math.log(1e6))}


def best_of_scipy(name: str, row: np.ndarray, mirrored: bool = False) -> float:
    """The shape that three-parameter laws have is searched in the box that we state."""
    law = WITNESS[name]
    if name == "skew_logistic" and not mirrored:
        return max(best_of_scipy(name, row, True), best_of_scipy(name, -row, True))
    if name not in BOXES:
        sides = (row, -row) if name == "exponential" else (row,)
        return max(float(law.logpdf(x, *law.fit(x)).sum()) for x in sides)

    def loss(p: np.ndarray) -> float:
        return -float(law.logpdf(row, math.exp(p[0]), p[1], math.exp(p[2])).sum())

    box = [BOXES[name], (-100.0, 100.0), (-20.0, 10.0)]
    unit = float(stats.iqr(row)) / 2
    starts = [(math.log(c), float(np.median(row)), math.log(unit)) for c in (0.6, 1.0, 5.0)]
    options = {"ftol": 1e-14, "gtol": 1e-7, "maxiter": 500}
    fits = [optimize.minimize(loss, s, bounds=box, options=options) for s in starts]
    simplex = {"xatol": 1e-7, "fatol": 1e-9, "maxiter": 400}
    best = min(fits, key=lambda fit: fit.fun).x
    polished = optimize.minimize(loss, best, bounds=box, method="Nelder-Mead", options=simplex)
    return -min(float(polished.fun), *(float(fit.fun) for fit in fits))


@pytest.mark.parametrize("source", SOURCES)
def test_likelihoods_are_scipys_or_better(source: str) -> None:
    x = rows_of(source, 2, 250)
    found = compare_families(x)
    assert found.families == FAMILIES
    assert found.converged.all()
    torch.testing.assert_close(found.loglik[:, 0], fit_asymmetric_laplace(x).loglik)
    for k, row in enumerate(x.numpy()):
        for name in WITNESS:
            ours = found.loglik[k, FAMILIES.index(name)].item()
            theirs = best_of_scipy(name, row)
            assert ours >= theirs - 1e-6, name
            assert ours <= theirs + 1e-3, name  # scipy's searches stop early


@pytest.mark.parametrize(
    "source", ["normal", "laplace", "logistic", "skew_logistic", "student_t", "exponential"]
)
def test_finds_the_family_of_long_rows(source: str) -> None:
    found = compare_families(rows_of(source, 10, 4000))
    assert found.wins("bic")[source] >= 9
    assert set(found.best("aic")) <= set(FAMILIES)


def test_criteria_and_frame() -> None:
    x = rows_of("asymmetric_laplace", 4, 300)
    found = compare_families(x, ("normal", "asymmetric_laplace"))
    loglik = found.loglik
    count = torch.tensor([2.0, 3.0], dtype=F64)
    torch.testing.assert_close(found.aic, 2 * count - 2 * loglik)
    torch.testing.assert_close(found.bic, math.log(300) * count - 2 * loglik)
    frame = found.to_frame()
    assert frame.shape == (4, 8)
    assert frame["bic"].idxmin(axis=1).tolist() == found.best()
    assert frame["converged"]["normal"].all()
    assert found.wins() == {"normal": 0, "asymmetric_laplace": 4}


@pytest.mark.parametrize("factor", [1e-200, 1e200])
def test_scale_moves_all_likelihoods_alike(factor: float) -> None:
    x = rows_of("student_t", 3, 100)
    gap = compare_families(factor * x).loglik - compare_families(x).loglik
    want = torch.full_like(gap, -100 * math.log(factor))
    torch.testing.assert_close(gap, want, rtol=1e-9, atol=0.0)


def test_rows_do_not_depend_on_their_block() -> None:
    x = rows_of("logistic", 300, 500)  # two blocks
    found = compare_families(x)
    for k in (0, 261, 262, 299):
        alone = compare_families(x[k : k + 1]).loglik[0]
        torch.testing.assert_close(alone, found.loglik[k], rtol=1e-12, atol=1e-9)


def test_constant_and_repeated_weights() -> None:
    x = rows_of("normal", 3, 90).float()
    x[0] = 0.25
    x[1, :60] = 0.0  # two thirds equal: a t law of small v and s has any likelihood
    found = compare_families(x)
    assert found.loglik[0].isnan().all()
    assert found.loglik[1:].isfinite().all()
    assert found.best()[0] is None
    assert found.best()[2] is not None
    assert not found.converged[1, FAMILIES.index("student_t")]
    assert found.converged[2].all()
    assert sum(found.wins().values()) == 2


def test_refusals() -> None:
    x = rows_of("normal", 2, 10)
    for families in ((), ("gamma",), "cauchy", ("normal", "normal")):
        with pytest.raises(ValueError, match="families must be"):
            compare_families(x, families)
    with pytest.raises(ValueError, match="criterion"):
        compare_families(x, "normal").best("dic")
    with pytest.raises(ValueError, match="NaN"):
        compare_families(torch.tensor([[1.0, math.nan, 2.0]]))


@pytest.mark.parametrize("name", ["_logistic", "_skew_logistic", "_student_t"])
def test_derivatives_are_autograds(name: str) -> None:
    objective: Callable[..., Any] = getattr(family_likelihoods, name)
    x = rows_of("student_t", 1, 40)
    for values in ([0.3, 0.1, 1.2], [2.0, -0.7, 6.0], [1.0, 0.0, -0.5]):
        theta = torch.tensor([values[: 2 if name == "_logistic" else 3]], dtype=F64)

        def value(t: Tensor) -> Tensor:
            return objective(t[None], x)[0][0]

        _, gradient, hessian = objective(theta, x)
        slope = torch.autograd.functional.jacobian(value, theta[0])
        torch.testing.assert_close(gradient[0], slope, rtol=1e-9, atol=1e-9)
        slopes = torch.autograd.functional.jacobian(
            lambda t: objective(t[None], x)[1][0], theta[0]
        )
        torch.testing.assert_close(hessian[0], slopes, rtol=1e-8, atol=1e-8)


def test_newton_climbs_where_the_hessian_points_down() -> None:
    """-cos has a minimum at 0 and maxima at odd multiples of pi: a plain step would go to 0."""

    def objective(theta: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        t = theta[:, 0] - x[:, 0]
        return -t.cos(), t.sin()[:, None], t.cos()[:, None, None]

    x = torch.tensor([[0.0], [1.0], [-2.0]], dtype=F64)
    bound = torch.tensor([20.0], dtype=F64)
    theta, value, converged = newton_maximum(objective, x + 0.3, x, -bound, bound)
    assert converged.all()
    torch.testing.assert_close(value, torch.ones(3, dtype=F64))
    torch.testing.assert_close((theta - x).cos(), -torch.ones(3, 1, dtype=F64))


def test_newton_stops_at_the_side_of_its_box() -> None:
    """A tilted parabola whose top (2, 0) lies outside; along the side t_0 = 1 its top is -0.9."""
    curvature = torch.tensor([[-1.0, 0.9], [0.9, -1.0]], dtype=F64)
    top = torch.tensor([2.0, 0.0], dtype=F64)

    def objective(theta: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        gap = theta - top - 0.0 * x
        slope = gap @ curvature
        return 0.5 * (gap * slope).sum(-1), slope, curvature.expand(len(x), 2, 2)

    start = torch.tensor([[-3.0, 4.0], [0.999, -2.0], [1.0, 1.0]], dtype=F64)
    low, high = torch.full((2,), -5.0, dtype=F64), torch.tensor([1.0, 5.0], dtype=F64)
    theta, _, converged = newton_maximum(objective, start, torch.zeros(3, 2, dtype=F64), low, high)
    assert converged.all()
    want = torch.tensor([[1.0, -0.9]], dtype=F64).expand(3, 2)
    torch.testing.assert_close(theta, want, rtol=0.0, atol=1e-6)
