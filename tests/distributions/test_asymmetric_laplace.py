"""Asymmetric Laplace law against a 45-digit table, scipy, mpmath and quadrature."""

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pyro
import pyro.distributions as pyro_dist
import pytest
import torch
from scipy import integrate, stats
from statcheck import AlphaBudget, dkw_pvalue
from torch import Tensor

from probact.distributions import AsymmetricLaplace

F64 = torch.float64
CASES = [(0.0, 1.0, 1.0), (-2.5, 0.03, 0.2), (1.0, 4.0, 1.7), (0.0, 1e-4, 5.0), (3.0, 20.0, 0.6)]
TABLE = Path(__file__).parent.parent / "data" / "ald_reference.csv"


def law_of(loc: float, scale: float, asymmetry: float) -> AsymmetricLaplace:
    return AsymmetricLaplace(*(torch.tensor(v, dtype=F64) for v in (loc, scale, asymmetry)))


def scipy_law(loc: float, scale: float, asymmetry: float) -> Any:
    return stats.laplace_asymmetric(asymmetry, loc=loc, scale=scale)


def test_reference_table() -> None:
    with TABLE.open() as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    assert len(rows) == 126
    for row in rows:
        law = law_of(row["loc"], row["scale"], row["asymmetry"])
        x = torch.tensor(row["x"], dtype=F64)
        for found, name in ((law.log_prob(x), "logpdf"), (law.entropy(), "entropy")):
            assert found.item() == pytest.approx(row[name], rel=1e-12, abs=1e-12)
        for found, name in (
            (law.log_cdf(x), "logcdf"),
            (law.log_sf(x), "logsf"),
            (law.mean, "mean"),
            (law.variance, "variance"),
            (law.prob_left, "tau"),
        ):
            assert found.item() == pytest.approx(row[name], rel=1e-12, abs=0.0)
        assert law.cdf(x).item() == pytest.approx(math.exp(row["logcdf"]), rel=1e-12, abs=0.0)
        tau, sigma = (torch.tensor(row[n], dtype=F64) for n in ("tau", "sigma_check_loss"))
        by_quantile = AsymmetricLaplace.from_quantile(law.loc, sigma, tau).log_prob(x).item()
        assert by_quantile == pytest.approx(row["logpdf"], rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_agrees_with_scipy_and_with_pyro(case: tuple[float, float, float]) -> None:
    law, witness = law_of(*case), scipy_law(*case)
    x = law.loc + law.variance.sqrt() * torch.linspace(-9.0, 9.0, 41, dtype=F64)
    theirs = pyro_dist.AsymmetricLaplace(law.loc, law.scale, law.asymmetry)
    np.testing.assert_allclose(law.log_prob(x), witness.logpdf(x), rtol=1e-12)
    np.testing.assert_allclose(law.log_prob(x), theirs.log_prob(x), rtol=1e-12)
    np.testing.assert_allclose(law.cdf(x), witness.cdf(x), rtol=1e-12)
    np.testing.assert_allclose(law.log_sf(x), witness.logsf(x), rtol=1e-12)
    mean, variance, skewness = witness.stats("mvs")
    found = (law.mean, law.variance, law.skewness, law.median, law.entropy())
    want = (mean, variance, skewness, witness.median(), witness.entropy())
    np.testing.assert_allclose(found, want, rtol=1e-11, atol=1e-14)
    u = torch.tensor([1e-300, 1e-9, 0.02, 0.3, 0.5, 0.7, 0.98, 1 - 1e-9], dtype=F64)
    np.testing.assert_allclose(law.icdf(u), witness.ppf(u), rtol=1e-9)
    np.testing.assert_allclose(law.cdf(law.icdf(u)), u, rtol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_every_parametrisation_is_the_same_law(case: tuple[float, float, float]) -> None:
    law = law_of(*case)
    x = law.loc + law.variance.sqrt() * torch.linspace(-5.0, 5.0, 11, dtype=F64)
    loc, scale, kappa = case
    right, left = kappa / scale, 1.0 / (kappa * scale)
    p = kappa**2 / (1.0 + kappa**2)
    laws = [
        AsymmetricLaplace.from_rates(law.loc, right, left),
        AsymmetricLaplace.from_quantile(law.loc, p / right, p),
        AsymmetricLaplace.from_scipy(torch.tensor(kappa, dtype=F64), loc, scale),
    ]
    for other in laws:
        torch.testing.assert_close(other.log_prob(x), law.log_prob(x), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(other.rates, (right, left), rtol=1e-13)
        np.testing.assert_allclose(other.scales, (1 / right, 1 / left), rtol=1e-13)
    residual = (x - law.loc) * right / p  # Kozumi & Kobayashi's check loss
    check = residual * (p - (residual < 0).double())
    want = math.log(p * (1 - p) * right / p) - check
    torch.testing.assert_close(law.log_prob(x), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_integrates_to_one_and_to_its_entropy(case: tuple[float, float, float]) -> None:
    law = law_of(*case)
    right, left = (float(s) for s in law.scales)
    total = entropy = 0.0
    for low, high in ((law.loc - 45 * left, law.loc), (law.loc, law.loc + 45 * right)):

        def log_density(x: float) -> float:
            return law.log_prob(torch.tensor(x, dtype=F64)).item()

        bounds = float(low), float(high)
        total += integrate.quad(lambda x: math.exp(log_density(x)), *bounds, limit=100)[0]
        entropy -= integrate.quad(
            lambda x: log_density(x) * math.exp(log_density(x)), *bounds, limit=100
        )[0]
    assert total == pytest.approx(1.0, abs=1e-9)
    assert law.entropy().item() == pytest.approx(entropy, rel=1e-8)


@pytest.mark.parametrize("kappa", [1e-6, 1e-3, 0.5, 1.0, 30.0, 1e5])
def test_quantiles_against_mpmath(kappa: float) -> None:
    law = law_of(0.0, 1.0, kappa)
    with mpmath.workdps(60):
        k = mpmath.mpf(kappa)
        p = k**2 / (1 + k**2)
        for u in (1e-200, 1e-12, 1e-3, 0.25, 0.5, 0.75, 1 - 2.0**-40, 1 - 2.0**-53):
            w = mpmath.mpf(u)
            want = k * mpmath.log(w / p) if w < p else -mpmath.log((1 - w) / (1 - p)) / k
            found = law.icdf(torch.tensor(u, dtype=F64)).item()
            assert found == pytest.approx(float(want), rel=1e-12, abs=1e-15 * (kappa + 1 / kappa))


@pytest.mark.parametrize("case", CASES)
def test_draws_follow_the_law(case: tuple[float, float, float], budget: AlphaBudget) -> None:
    law = law_of(*case)
    x = law.sample((4000,), seed=4)
    budget.check(f"ald draws {case}", dkw_pvalue(x.numpy(), scipy_law(*case).cdf))


def test_draws_come_from_the_seed() -> None:
    law = law_of(0.0, 1.0, 2.0)
    before = torch.get_rng_state()
    generator = torch.Generator().manual_seed(3)
    assert torch.equal(law.sample((5,), seed=3), law.sample((5,), generator=generator))
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(ValueError, match="not both"):
        law.sample(generator=generator, seed=1)


def test_draws_are_differentiable_in_all_parameters() -> None:
    """x = m - s kappa E_L + s E_R / kappa with two fixed exponentials."""
    given = [torch.tensor(v, dtype=F64, requires_grad=True) for v in (0.3, 2.0, 0.7)]

    def draw(*parameters: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        return AsymmetricLaplace(*parameters).rsample((4,), generator=generator)

    assert torch.autograd.gradcheck(draw, given)


@pytest.mark.parametrize("reading", ["log_prob", "log_cdf", "log_sf", "cdf"])
@pytest.mark.parametrize("kappa", [1e-5, 0.5, 1.0, 3.0, 1e5])
def test_gradients_are_finite_and_right(reading: str, kappa: float) -> None:
    offsets = torch.tensor([-800.0, -30.0, -0.4, 0.6, 30.0, 800.0], dtype=F64)
    x = (offsets * max(kappa, 1.0 / kappa)).requires_grad_()
    given = [torch.tensor(v, dtype=F64, requires_grad=True) for v in (0.0, 1.0, kappa)]

    def read(value: Tensor, *parameters: Tensor) -> Tensor:
        return getattr(AsymmetricLaplace(*parameters), reading)(value)

    for inputs in (
        [x, *given],
        [x.detach().float().requires_grad_(), *(g.float() for g in given)],
    ):
        out = read(*inputs)
        assert out.isfinite().all()
        assert all(g.isfinite().all() for g in torch.autograd.grad(out.sum(), inputs))
    if kappa in (0.5, 1.0, 3.0):
        near = offsets[1:5].clone().requires_grad_()
        assert torch.autograd.gradcheck(read, [near, *given], atol=1e-7)


def test_gradients_at_the_mode_and_of_quantiles() -> None:
    law = AsymmetricLaplace(torch.zeros(1, requires_grad=True), 1.0, 2.0)
    for reading in (law.log_prob, law.log_cdf, law.log_sf, law.cdf):
        (slope,) = torch.autograd.grad(reading(torch.zeros(1)).sum(), law.loc)
        assert slope.isfinite().all()
    u = torch.tensor([1e-9, 0.1, 0.8, 1 - 1e-9], dtype=F64, requires_grad=True)
    given = [torch.tensor(v, dtype=F64, requires_grad=True) for v in (0.3, 2.0, 0.7)]
    quantile = AsymmetricLaplace(*given).icdf(u)
    (slope,) = torch.autograd.grad(quantile.sum(), u)
    density = AsymmetricLaplace(*given).log_prob(quantile).exp()
    torch.testing.assert_close(slope * density, torch.ones_like(u), rtol=1e-7, atol=0.0)
    inner = u[1:3].detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda u, *p: AsymmetricLaplace(*p).icdf(u), [inner, *given])


def test_quantiles_end_at_infinity() -> None:
    law = law_of(0.0, 1.0, 2.0)
    assert law.icdf(torch.tensor([0.0, 1.0], dtype=F64)).tolist() == [-math.inf, math.inf]
    with pytest.raises(ValueError, match="value must lie in"):
        law.icdf(torch.tensor([0.5, 1.5]))


def test_batches_expand_and_keep_their_type() -> None:
    law = AsymmetricLaplace(torch.zeros(3), np.float32(2.0), 0.5)
    assert (law.batch_shape, law.loc.dtype) == ((3,), torch.float32)
    wide = law.expand([2, 3])
    assert isinstance(wide, AsymmetricLaplace)
    assert wide.sample((4,)).shape == (4, 2, 3)
    x = torch.randn(2, 3)
    torch.testing.assert_close(wide.log_cdf(x), law.log_cdf(x))
    assert AsymmetricLaplace(0.0, 1.0, 1.0).loc.dtype == torch.get_default_dtype()
    assert AsymmetricLaplace(np.zeros(2), 1.0, 1.0).loc.dtype == F64


def test_runs_in_a_pyro_program() -> None:
    def program() -> Tensor:
        loc = pyro.sample("loc", pyro_dist.Normal(0.0, 1.0))
        with pyro.plate("weights", 5):
            return pyro.sample("theta", AsymmetricLaplace(loc, 1.0, 2.0))

    trace = pyro.poutine.trace(program).get_trace()
    site = trace.nodes["theta"]
    want = scipy_law(float(trace.nodes["loc"]["value"]), 1.0, 2.0).logpdf(site["value"]).sum()
    assert site["fn"].log_prob(site["value"]).sum().item() == pytest.approx(want, rel=1e-5)


REFUSALS: list[tuple[str, Callable[[], Any], str]] = [
    ("negative scale", lambda: AsymmetricLaplace(0.0, -1.0, 1.0), "scale must be finite and > 0"),
    ("zero kappa", lambda: AsymmetricLaplace(0.0, 1.0, 0.0), "asymmetry must be finite"),
    ("nan loc", lambda: AsymmetricLaplace(math.nan, 1.0, 1.0), "loc must be finite"),
    ("inf scale", lambda: AsymmetricLaplace(0.0, torch.tensor([1.0, math.inf]), 1.0), r"\(1,\)"),
    ("left overflow", lambda: AsymmetricLaplace(0.0, 1e38, 1e38), "scale of zero or infinity"),
    ("shapes", lambda: AsymmetricLaplace(torch.zeros(2), torch.ones(3), 1.0), "broadcast"),
    ("prob", lambda: AsymmetricLaplace.from_quantile(0.0, 1.0, 1.0), "prob must lie"),
    ("rate", lambda: AsymmetricLaplace.from_rates(0.0, -1.0, 1.0), "scale must be finite"),
]


@pytest.mark.parametrize(("name", "call", "message"), REFUSALS)
def test_refusals(name: str, call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("value", [None, "1", True, torch.ones(1, dtype=torch.complex64)])
def test_refuses_what_is_no_number(value: Any) -> None:
    with pytest.raises(TypeError, match="scale must be"):
        AsymmetricLaplace(0.0, value, 1.0)
