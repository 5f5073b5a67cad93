"""Maximum-likelihood fits of the asymmetric Laplace law against an exhaustive scan and scipy."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from bad_inputs import data_cases, verdict
from scipy import stats
from torch import Generator, Tensor

from probact.analysis.laplace_fits import fit_asymmetric_laplace
from probact.distributions import AsymmetricLaplace

F64 = torch.float64
FAMILIES: dict[str, Any] = {
    "asymmetric laplace": stats.laplace_asymmetric(1.3, -0.01, 0.03),
    "normal": stats.norm(0.0, 0.03),
    "student t": stats.t(5, 0.01, 0.02),
    "logistic": stats.logistic(0.0, 2.0),
    "gumbel": stats.gumbel_r(-3.0, 1.0),
    "exponential": stats.expon(1.0, 2.0),
}


def rows_of(family: str, num: int, n: int) -> np.ndarray:
    return FAMILIES[family].rvs((num, n), random_state=np.random.default_rng(len(family)))


def loglik_at(row: np.ndarray, m: float) -> float:
    """Best log-likelihood of the row for a mode m."""
    right, left = np.maximum(row - m, 0).mean(), np.maximum(m - row, 0).mean()
    total = math.sqrt(right) + math.sqrt(left)
    return -len(row) * (2.0 * math.log(total) + 1.0) if total else math.inf


@pytest.mark.parametrize("n", [3, 4, 7, 60])
@pytest.mark.parametrize("step", [0.0, 0.5])  # rounded to multiples of it: ties
def test_is_the_best_of_all_inner_weights(n: int, step: float, generator: Generator) -> None:
    x = torch.randn(40, n, dtype=F64, generator=generator)
    x = (x / step).round() * step if step else x
    fit = fit_asymmetric_laplace(x)
    for k, row in enumerate(x.numpy()):
        inner = [m for m in row if row.min() < m < row.max()]
        assert bool(fit.degenerate[k]) == (not inner)
        ends = max(loglik_at(row, row.min()), loglik_at(row, row.max()))
        if inner:
            best = max(loglik_at(row, m) for m in inner)
            assert fit.loglik[k].item() == pytest.approx(best, rel=1e-11, abs=1e-11)
            assert loglik_at(row, float(fit.loc[k])) == pytest.approx(best, abs=1e-11)
            assert fit.boundary_gain[k].item() == pytest.approx(ends - best, abs=1e-10)
        else:
            assert fit.loglik[k].item() == pytest.approx(ends, rel=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_is_never_less_likely_than_scipys_fit(family: str) -> None:
    """40 rows of each family, so 240; where a one-sided law fits best, scipy may tend to it."""
    x = rows_of(family, 40, 300)
    fit = fit_asymmetric_laplace(torch.tensor(x))
    supremum = fit.loglik + fit.boundary_gain.clamp(min=0.0)
    for row, ours in zip(x, supremum.tolist(), strict=True):
        kappa, loc, scale = stats.laplace_asymmetric.fit(row)
        theirs = stats.laplace_asymmetric.logpdf(row, kappa, loc, scale).sum()
        assert ours >= theirs - 1e-6
    if family != "exponential":
        assert not fit.boundary.any()


def test_the_law_of_the_fit_has_the_likelihood_it_says() -> None:
    x = torch.tensor(rows_of("student t", 30, 500))
    fit = fit_asymmetric_laplace(x)
    law = fit.dist()
    assert law.batch_shape == (30,)
    torch.testing.assert_close(law.log_prob(x.mT).sum(0), fit.loglik, rtol=1e-12, atol=0.0)
    torch.testing.assert_close(torch.stack(law.rates), torch.stack(fit.rates))
    assert all(bool((row == m).any()) for row, m in zip(x, fit.loc, strict=True))


def test_moves_and_mirrors_with_the_weights() -> None:
    x = torch.tensor(rows_of("gumbel", 20, 400))
    fit, moved = fit_asymmetric_laplace(x), fit_asymmetric_laplace(0.25 * x + 8.0)
    torch.testing.assert_close(moved.loc, 0.25 * fit.loc + 8.0, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(moved.scale, 0.25 * fit.scale, rtol=1e-10, atol=0.0)
    torch.testing.assert_close(moved.asymmetry, fit.asymmetry, rtol=1e-10, atol=0.0)
    mirror = fit_asymmetric_laplace(-x)
    torch.testing.assert_close(mirror.loc, -fit.loc)
    torch.testing.assert_close(mirror.asymmetry, 1.0 / fit.asymmetry, rtol=1e-10, atol=0.0)
    torch.testing.assert_close(mirror.loglik, fit.loglik)


@pytest.mark.parametrize("factor", [1e-280, 1e-30, 1e30, 1e280])
def test_any_size_of_weights(factor: float) -> None:
    x = torch.tensor(rows_of("student t", 3, 200))
    fit, scaled = fit_asymmetric_laplace(x), fit_asymmetric_laplace(x * factor)
    torch.testing.assert_close(scaled.scale / factor, fit.scale, rtol=1e-9, atol=0.0)
    torch.testing.assert_close(scaled.asymmetry, fit.asymmetry, rtol=1e-9, atol=0.0)
    torch.testing.assert_close(
        scaled.loglik, fit.loglik - 200 * math.log(factor), rtol=1e-12, atol=0.0
    )


def test_rows_do_not_depend_on_their_block() -> None:
    x = torch.tensor(rows_of("normal", 700, 600))  # four blocks
    fit = fit_asymmetric_laplace(x)
    for k in (0, 217, 218, 699):
        alone = fit_asymmetric_laplace(x[k : k + 1])
        assert alone.loc.item() == fit.loc[k].item()
        assert alone.loglik.item() == pytest.approx(fit.loglik[k].item(), rel=1e-13)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_low_precision_is_read_exactly(dtype: torch.dtype) -> None:
    x = torch.tensor(rows_of("asymmetric laplace", 20, 512))
    low, exact = fit_asymmetric_laplace(x.to(dtype)), fit_asymmetric_laplace(x.to(dtype).double())
    assert low.loc.dtype == F64
    torch.testing.assert_close(low.loc, exact.loc, rtol=0.0, atol=0.0)
    torch.testing.assert_close(low.loglik, exact.loglik, rtol=1e-13, atol=0.0)
    fine = fit_asymmetric_laplace(x)
    torch.testing.assert_close(low.asymmetry, fine.asymmetry, rtol=1e-2, atol=0.0)


def test_a_far_weight_does_not_spoil_the_rest() -> None:
    x = rows_of("normal", 5, 200)
    x[:, 7] = 1e10
    fit = fit_asymmetric_laplace(torch.tensor(x))
    for row, found in zip(x, fit.loglik.tolist(), strict=True):
        best = max(loglik_at(row, m) for m in np.sort(row)[1:-1])
        assert found == pytest.approx(best, rel=1e-12)


def test_rows_without_a_two_sided_law_are_flagged() -> None:
    x = torch.tensor([[0.3] * 6, [0, 0, 0, 0, 1, 1], [0, 1, 1, 1, 1, 1], [0, 1, 2, 3, 4, 9]])
    fit = fit_asymmetric_laplace(x)
    assert fit.degenerate.tolist() == [True, True, True, False]
    assert fit.loglik[0].item() == math.inf
    assert fit.rates[0][0].item() == math.inf
    assert math.isnan(fit.asymmetry[0].item())
    assert (fit.loc[1].item(), fit.scale_left[1].item()) == (0.0, 0.0)
    assert fit.loglik[1].item() == pytest.approx(stats.expon(0, 1 / 3).logpdf(x[1]).sum())
    assert (fit.loc[2].item(), fit.scale_right[2].item()) == (1.0, 0.0)
    assert not fit.boundary[:3].any()
    assert fit.cov().isnan().all(-1).all(-1).tolist() == [True, True, True, False]
    with pytest.raises(ValueError, match=r"dist\(\) needs .* 3 degenerate rows \(first: row 0\)"):
        fit.dist()
    frame = fit.to_frame()
    assert frame.index.name == "class"
    assert frame.degenerate.tolist() == [True, True, True, False]
    assert frame.loc[3, "se_loc"] == pytest.approx(math.sqrt(fit.cov()[3, 0, 0]))


def test_one_sided_weights_are_flagged() -> None:
    x = torch.tensor(rows_of("exponential", 300, 500))
    assert fit_asymmetric_laplace(x).boundary.double().mean() > 0.9
    assert fit_asymmetric_laplace(-x).boundary.double().mean() > 0.9


def test_bad_input_is_refused_by_name() -> None:
    bad = torch.zeros(900, 300)
    bad[[4, 899], 2] = math.nan
    cases: list[tuple[Any, str]] = [
        (bad, r"weights has 2 rows with NaN or infinity \(first: row 4, index \(2,\)\)"),
        (torch.tensor([[1.0, 2.0, -math.inf]]), "first: row 0"),
        (torch.zeros(3, 2), "at least 1 row and 3 columns"),
        (torch.zeros(0, 5), "at least 1 row"),
        (torch.zeros(5), "must be a matrix"),
        (torch.zeros(2, 3, 4), "must be a matrix"),
        (torch.arange(12).reshape(3, 4), "dequantise integer codes"),
        (torch.ones(3, 4, dtype=torch.bool), "floating point"),
        (torch.full((1, 4), 1e308, dtype=F64), "too large in row 0"),
    ]
    for weights, message in cases:
        with pytest.raises(ValueError, match=message):
            fit_asymmetric_laplace(weights)
    with pytest.raises(TypeError, match="weights must be"):
        fit_asymmetric_laplace(None)


DIFFERENT = {
    "D=1": "error",  # a row of one weight
    "int64": "error",
    "uint8": "error",
    "bool": "error",
    "plain": "ok",
}


@pytest.mark.parametrize(("name", "make", "expect"), list(data_cases()))
def test_awkward_input(name: str, make: Any, expect: str) -> None:
    def finite(fit: Any) -> bool:
        readings = (fit.loc, fit.scale, fit.loglik, fit.asymmetry)
        return all(bool(r[~fit.degenerate].isfinite().all()) for r in readings)

    expect = "error" if "D=1" in name else DIFFERENT.get(name, expect)
    assert verdict(lambda: fit_asymmetric_laplace(make()), expect, finite) is None


def test_input_is_left_as_it_was() -> None:
    x = torch.randn(40, 9, dtype=F64).mT[:, ::2].requires_grad_()
    before = x.detach().clone()
    fit = fit_asymmetric_laplace(x)
    assert torch.equal(x, before)
    assert not fit.loc.requires_grad
    same = fit_asymmetric_laplace(before.contiguous().numpy())
    assert torch.equal(same.loc, fit.loc)


@pytest.mark.gpu
def test_the_gpu_finds_the_same_fits() -> None:
    x = torch.tensor(rows_of("normal", 100, 500))
    fit, on_gpu = fit_asymmetric_laplace(x), fit_asymmetric_laplace(x.cuda())
    assert on_gpu.loc.is_cuda
    torch.testing.assert_close(on_gpu.loc.cpu(), fit.loc)
    torch.testing.assert_close(on_gpu.loglik.cpu(), fit.loglik)


def known(loc: float, scale: float, asymmetry: float) -> AsymmetricLaplace:
    values: list[Tensor] = [torch.tensor(v, dtype=F64) for v in (loc, scale, asymmetry)]
    return AsymmetricLaplace(*values)


def test_finds_the_law_of_its_draws() -> None:
    law = known(-0.01, 0.03, 1.2)
    fit = fit_asymmetric_laplace(law.sample((1, 200_000), seed=0))
    error = fit.cov()[0].diagonal().sqrt()
    assert abs(fit.loc.item() + 0.01) < 5 * error[0]
    assert abs(math.log(fit.scale.item() / 0.03)) < 5 * error[1]
    assert abs(math.log(fit.asymmetry.item() / 1.2)) < 5 * error[2]
