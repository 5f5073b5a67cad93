"""Fitted laws: the likelihood they were chosen for, and scipy's distribution functions."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from probact.analysis.laplace_fits import compare_families, family_law, fit_family
from probact.analysis.laplace_fits.family_fits import TWO_SIDED_FAMILIES

F64 = torch.float64
RNG = np.random.default_rng(3)
ROWS = torch.tensor(
    np.stack(
        [
            RNG.laplace(0.4, 0.02, 300),
            RNG.gamma(2.0, 0.1, 300),
            -RNG.gamma(2.0, 0.1, 300) + 5.0,
            RNG.normal(-1.0, 30.0, 300),
        ]
    )
)
SCIPY: dict[str, Callable[..., Any]] = {
    "asymmetric_laplace": lambda m, s, kappa: stats.laplace_asymmetric(kappa, m, s),
    "laplace": stats.laplace,
    "normal": stats.norm,
    "logistic": stats.logistic,
    "skew_logistic": lambda m, s, c: stats.genlogistic(c, m, s),
    "student_t": lambda m, s, v: stats.t(v, m, s),
}


@pytest.mark.parametrize("family", TWO_SIDED_FAMILIES)
def test_laws_have_the_likelihood_that_was_compared(family: str) -> None:
    fit = fit_family(ROWS, family)
    compared = compare_families(ROWS, (family,)).loglik[:, 0]
    torch.testing.assert_close(fit.loglik, compared)
    summed = fit.dist().log_prob(ROWS.T).sum(0)  # (K,)
    torch.testing.assert_close(summed, compared, rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("family", TWO_SIDED_FAMILIES)
def test_laws_are_scipys(family: str) -> None:
    fit = fit_family(ROWS, family)
    for k, (row, parameters) in enumerate(zip(ROWS, fit.parameters, strict=True)):
        law, mirrored = SCIPY[family](*parameters.tolist()), bool(fit.mirrored[k])
        x = -row.numpy() if mirrored else row.numpy()
        ours = fit.dist().log_prob(ROWS.T)[:, k]
        np.testing.assert_allclose(ours, law.logpdf(x), rtol=1e-7, atol=1e-7)
        if family != "student_t":
            below = law.sf(x) if mirrored else law.cdf(x)
            np.testing.assert_allclose(fit.dist().cdf(ROWS.T)[:, k], below, atol=1e-12)


def test_the_skew_law_mirrors_with_its_row() -> None:
    fit, other = fit_family(ROWS, "skew_logistic"), fit_family(-ROWS, "skew_logistic")
    torch.testing.assert_close(fit.parameters[1:3], other.parameters[1:3], rtol=1e-5, atol=1e-7)
    assert (fit.mirrored[1:3] != other.mirrored[1:3]).all()
    prob = torch.full((4,), 0.03, dtype=F64)
    quantile = fit.dist().icdf(prob)
    torch.testing.assert_close(fit.dist().cdf(quantile), prob)
    torch.testing.assert_close(quantile, -other.dist().icdf(1.0 - prob), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", TWO_SIDED_FAMILIES)
def test_location_and_scale_move_with_the_weights(family: str) -> None:
    moved = fit_family(3.0 * ROWS + 2.0, family)
    loglik = fit_family(ROWS, family).loglik - 300 * np.log(3.0)
    torch.testing.assert_close(moved.loglik, loglik, rtol=1e-9, atol=1e-7)


def test_refusals() -> None:
    constant = torch.cat([ROWS[:2], torch.ones(1, 300, dtype=F64)])
    for family in TWO_SIDED_FAMILIES:
        with pytest.raises(ValueError, match="row 2"):
            fit_family(constant, family)
    with pytest.raises(ValueError, match="family must be one of"):
        fit_family(ROWS, "exponential")
    with pytest.raises(ValueError, match=r"parameters of normal must be \(..., 2\)"):
        family_law("normal", torch.ones(3))
    with pytest.raises(ValueError, match="NaN"):
        fit_family(torch.tensor([[1.0, torch.nan, 2.0]]), "normal")


def test_half_precision_rows() -> None:
    x: Tensor = ROWS[:1].half()
    exact = fit_family(x.double(), "logistic").parameters
    torch.testing.assert_close(fit_family(x, "logistic").parameters, exact)
