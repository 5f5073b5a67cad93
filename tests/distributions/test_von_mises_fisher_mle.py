"""Maximum likelihood of the von Mises-Fisher law, and what it refuses."""

import math

import numpy as np
import pytest
import torch
from bad_inputs import data_cases, verdict
from scipy import stats
from sphere_cases import axis, direction
from statcheck import AlphaBudget
from torch import Generator

from probact.distributions import VonMisesFisher
from probact.special import bessel_ratio, sphere_terms

F64 = torch.float64


@pytest.mark.parametrize(
    ("dim", "kappa"), [(2, 0.8), (2, 1e4), (3, 5.0), (10, 85.0), (128, 85.0), (128, 1e6)]
)
def test_recovers_the_parameters(
    dim: int, kappa: float, generator: Generator, budget: AlphaBudget
) -> None:
    """sqrt(N A') (kappa_hat - kappa) is standard normal, N kappa A |tangent|^2 is chi-square."""
    n, mu = 5000, direction(dim)
    fit = VonMisesFisher.mle(VonMisesFisher(mu, kappa).sample((n,), generator=generator))
    k = torch.tensor(kappa, dtype=F64)
    # r = |mean| has bias (d-1) A / (2 N kappa r): centre its law before testing
    ratio, slope = bessel_ratio(k, dim).item(), sphere_terms(k, dim).slope.item()
    bias = (dim - 1) / (2.0 * n * kappa)
    z = (bessel_ratio(fit.concentration, dim).item() - ratio - bias) / math.sqrt(slope / n)
    budget.check("kappa", float(2 * stats.norm.sf(abs(z))))
    tangent = fit.loc - (fit.loc @ mu) * mu
    chi2 = n * kappa * ratio * tangent.square().sum().item()
    if n * kappa * ratio > 1e3 * dim:  # the tangent is small
        budget.check("mu", float(stats.chi2(dim - 1).sf(chi2)))


def test_is_the_maximum_and_agrees_with_scipy() -> None:
    x = VonMisesFisher(direction(4), 6.0).sample((400,), seed=1)
    fit = VonMisesFisher.mle(x)
    best = fit.log_prob(x).sum()
    for step in (0.99, 1.01):
        assert VonMisesFisher(fit.loc, step * fit.concentration).log_prob(x).sum() < best
    for nearby in direction(4, 20, seed=4):
        mu = torch.nn.functional.normalize(fit.loc + 0.02 * nearby, dim=0)
        assert VonMisesFisher(mu, fit.concentration).log_prob(x).sum() < best
    mu, kappa = stats.vonmises_fisher.fit(x.numpy())
    np.testing.assert_allclose(fit.loc.numpy(), mu, rtol=1e-12)
    assert fit.concentration.item() == pytest.approx(kappa, rel=1e-8)


def test_batches_are_fitted_apart() -> None:
    x = VonMisesFisher(direction(3, 4), torch.tensor([1.0, 5.0, 50.0, 1e3], dtype=F64))
    x = x.sample((300,), seed=2).transpose(0, 1)  # (4, N, 3)
    fit = VonMisesFisher.mle(x)
    assert fit.batch_shape == (4,)
    for i in range(4):
        alone = VonMisesFisher.mle(x[i])
        torch.testing.assert_close(fit.loc[i], alone.loc, rtol=1e-13, atol=1e-15)
        torch.testing.assert_close(fit.concentration[i], alone.concentration, rtol=1e-12, atol=0)


def test_weights_count_rows() -> None:
    x = VonMisesFisher(direction(5), 4.0).sample((50,), seed=3)
    counts = torch.arange(50) % 4
    fit = VonMisesFisher.mle(x, counts)
    repeated = VonMisesFisher.mle(x.repeat_interleave(counts, 0))
    torch.testing.assert_close(fit.loc, repeated.loc)
    torch.testing.assert_close(fit.concentration, repeated.concentration)
    for scale in (1e-300, 1e300):
        scaled = VonMisesFisher.mle(x.numpy(), scale * counts.double().numpy())
        torch.testing.assert_close(scaled.concentration, fit.concentration)
    both = VonMisesFisher.mle(x, torch.stack([torch.ones(50), counts.float()]))
    assert both.batch_shape == (2,)
    torch.testing.assert_close(both.concentration[1], fit.concentration)


def test_weights_are_checked() -> None:
    x = direction(3, 4)
    with pytest.raises(
        ValueError, match=r"weights must be finite and >= 0, got -1.0 at index \(1,\)"
    ):
        VonMisesFisher.mle(x, [1.0, -1.0, 1.0, 1.0])
    with pytest.raises(
        ValueError, match=r"weights must be finite and >= 0, got nan at index \(0,\)"
    ):
        VonMisesFisher.mle(x, [math.nan, 1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="weights must not be all zero"):
        VonMisesFisher.mle(x, np.zeros(4))
    with pytest.raises(ValueError, match=r"weights must be \(..., N\) for x \(..., N, d\), got"):
        VonMisesFisher.mle(x, np.ones(3))
    with pytest.raises(TypeError, match="weights must be a tensor, array or number, got str"):
        VonMisesFisher.mle(x, "ones")


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_equal_rows_have_no_fit(dtype: torch.dtype) -> None:
    row = direction(7).to(dtype)
    for x in (row[None], row.expand(30, 7)):
        with pytest.raises(
            ValueError, match="the rows of x are all equal: no finite concentration"
        ):
            VonMisesFisher.mle(x)
    x = direction(7, 3).to(dtype)
    with pytest.raises(ValueError, match="the rows of x are all equal"):
        VonMisesFisher.mle(x, torch.tensor([0.0, 1.0, 0.0]))


def test_opposite_rows_are_uniform() -> None:
    x = torch.stack([axis(3), -axis(3), axis(3, 1), -axis(3, 1)])
    fit = VonMisesFisher.mle(x)
    assert fit.concentration == 0
    assert torch.linalg.vector_norm(fit.loc) == 1
    assert torch.isfinite(fit.log_prob(x)).all()


def test_nearly_equal_rows_have_a_large_finite_fit() -> None:
    fit = VonMisesFisher.mle(VonMisesFisher(direction(4), 1e9).sample((2000,), seed=5))
    assert fit.concentration.item() == pytest.approx(1e9, rel=0.2)
    assert fit.concentration.dtype == F64
    narrow = VonMisesFisher(direction(4).float(), 1e4).sample((2000,), seed=5)
    assert VonMisesFisher.mle(narrow).concentration.dtype == torch.float32


def test_uniform_data_give_a_small_concentration(generator: Generator) -> None:
    x = VonMisesFisher(axis(6), 0.0).sample((20_000,), generator=generator)
    kappa = VonMisesFisher.mle(x).concentration.item()  # N kappa^2 / d is chi-square with d
    assert 20_000 * kappa**2 / 6 < stats.chi2(6).isf(1e-7)


MATRICES = [pytest.param(make, expect, id=name) for name, make, expect in data_cases()]


def finite(fit: VonMisesFisher) -> bool:
    return bool(torch.isfinite(fit.loc).all() and torch.isfinite(fit.concentration).all())


@pytest.mark.parametrize(("make", "expect"), MATRICES)
def test_awkward_matrices_are_refused_in_words(make, expect: str) -> None:  # type: ignore[no-untyped-def]
    """Rows off the sphere are no data of this law: "ok" becomes "either", "error" stays."""
    # three axes are a batch of samples here, so that case may pass or fail as the others
    off_sphere = "either" if expect == "ok" else expect
    assert verdict(lambda: VonMisesFisher.mle(make()), off_sphere, finite) is None


# What the projection to the sphere undoes: a zero row has no direction, equal rows or a single one
# have no finite concentration, and d = 1 is no sphere of this law (two distinct rows lie well).
UNDEFINED = {"N=1", "D=1", "N=1 D=1", "all equal rows", "all zeros", "one zero row",
             "all columns constant", "offset 1e8", "broadcast (stride 0)"}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "make"), [(n, m) for n, m, expect in data_cases() if expect == "ok"]
)
def test_awkward_directions(name: str, make) -> None:  # type: ignore[no-untyped-def]
    x = np.asarray(make())
    norm = np.linalg.norm(x.astype(np.float64), axis=-1, keepdims=True)
    unit = (x / np.where(norm > 0, norm, 1.0)).astype(x.dtype)
    frozen = unit.copy()
    expect = "error" if name in UNDEFINED else "ok"
    assert verdict(lambda: VonMisesFisher.mle(unit), expect, finite) is None
    np.testing.assert_array_equal(unit, frozen)  # the input is left as it was
