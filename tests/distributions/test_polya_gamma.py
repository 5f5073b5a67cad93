"""Polya-Gamma law against the inverse of its Laplace transform, its moments and its series."""

import math

import mpmath
import numpy as np
import pytest
import torch
from statcheck import AlphaBudget, dkw_pvalue, paired_mean_pvalue, two_sample_pvalue
from torch import Generator, Tensor

from probact.distributions import PolyaGamma
from probact.distributions.polya_compiled.draws import _series as series_of_loop
from probact.distributions.polya_compiled.draws import right_masses
from probact.distributions.polya_gamma_draws import _series as series_of_tensors
from probact.distributions.polya_gamma_draws import draw_in_loop, draw_with_tensors

F64 = torch.float64
TILTS = (0.0, 0.5, 2.5, 3.15, 20.0, 80.0, 1e4)  # 2 / 0.64 = 3.125 parts two proposals
DRAWS = {"loop": draw_in_loop, "tensors": draw_with_tensors}


def law_of(tilt: float) -> PolyaGamma:
    return PolyaGamma(torch.tensor(tilt, dtype=F64))


def moments(z: float) -> tuple[float, float]:
    """Mean and variance from the cumulants of log(cosh(h) / cosh(sqrt(h^2 + t / 2)))."""
    if z == 0:
        return 1 / 4, 1 / 24  # of log cos(sqrt(t / 2))
    with mpmath.workdps(60):
        half = mpmath.mpf(z) / 2

        def cumulants(t: mpmath.mpf) -> mpmath.mpf:
            return -mpmath.log(mpmath.cosh(mpmath.sqrt(half**2 - t / 2)))

        return float(mpmath.diff(cumulants, 0)), float(mpmath.diff(cumulants, 0, 2))


def inverse_transform(z: float, omega: float, over_t: bool) -> float:
    """Density, or distribution function, at omega by Talbot's contour."""
    with mpmath.workdps(40):
        half = mpmath.mpf(z) / 2

        def transform(t: mpmath.mpc) -> mpmath.mpc:
            value = mpmath.cosh(half) / mpmath.cosh(mpmath.sqrt(half**2 + t / 2))
            return value / t if over_t else value

        return float(mpmath.invertlaplace(transform, omega, method="talbot", degree=60))


def gamma_sum(z: float, count: int, terms: int = 4000) -> np.ndarray:
    """Draws of the infinite sum, cut after `terms` whose rest is replaced by its mean."""
    rng = np.random.default_rng(5)
    k = np.arange(1, terms + 1)
    weight = 1.0 / (2.0 * np.pi**2 * ((k - 0.5) ** 2 + (z / (2.0 * np.pi)) ** 2))
    rest = law_of(z).mean.item() - weight.sum()
    return np.array([rng.exponential(size=terms) @ weight for _ in range(count)]) + rest


@pytest.mark.parametrize("z", [0.0, 1e-8, 0.12, 0.1249, 0.1251, 0.13, 0.5, 2.5, 20.0, 80.0])
def test_moments_against_the_laplace_transform(z: float) -> None:
    mean, variance = moments(z)
    for dtype, tolerance in ((F64, 1e-12), (torch.float32, 1e-6)):
        law = PolyaGamma(torch.tensor([z, -z], dtype=dtype))
        np.testing.assert_allclose(law.mean.numpy(), mean, rtol=tolerance)
        np.testing.assert_allclose(law.variance.numpy(), variance, rtol=tolerance)
        assert law.mean.dtype == law.variance.dtype == dtype


def test_moments_at_large_tilts_are_those_of_the_inverse_gaussian() -> None:
    z = torch.tensor([1e4, 1e8], dtype=F64)
    law = PolyaGamma(z)
    torch.testing.assert_close(law.mean, 0.5 / z, rtol=1e-14, atol=0.0)
    torch.testing.assert_close(law.variance, 0.5 / z**3, rtol=1e-14, atol=0.0)


@pytest.mark.parametrize("z", [0.0, 0.5, 2.5, 20.0])
def test_density_and_cdf_against_the_inverse_laplace_transform(z: float) -> None:
    law = law_of(z)
    mean, spread = law.mean.item(), math.sqrt(law.variance.item())
    places = [0.159999, 0.160001, *(mean + spread * s for s in (-1.2, 0.0, 1.0, 4.0))]
    for omega in (w for w in places if w > 0):
        at = torch.tensor(omega, dtype=F64)
        density = inverse_transform(z, omega, over_t=False)
        assert law.log_prob(at).exp().item() == pytest.approx(density, rel=1e-10, abs=1e-14)
        below = inverse_transform(z, omega, over_t=True)
        assert law.cdf(at).item() == pytest.approx(below, rel=1e-10, abs=1e-13)


@pytest.mark.parametrize("z", TILTS)
def test_density_is_the_slope_of_the_cdf(z: float) -> None:
    law = law_of(z)
    mean, spread = law.mean, law.variance.sqrt()
    start = (mean - 12 * spread).clamp_min(1e-4 * mean)
    grid = start + torch.linspace(0.0, 1.0, 20001, dtype=F64) * (mean + 60 * spread - start)
    mass = torch.cumulative_trapezoid(law.log_prob(grid).exp(), grid)
    assert law.cdf(grid[-1]).item() == pytest.approx(1.0, abs=1e-14)
    np.testing.assert_allclose(mass.numpy(), law.cdf(grid[1:]).numpy(), atol=1e-5)


def test_log_prob_of_both_series_in_many_digits() -> None:
    for z, omega in ((1e4, 5.01e-5), (80.0, 0.02), (0.3, 1e-4), (0.0, 40.0), (2.0, 0.16)):
        with mpmath.workdps(200):
            w, tilt = mpmath.mpf(omega), mpmath.mpf(z)
            odd = range(1, 400, 2)
            terms = sum((2 - n % 4) * n * mpmath.exp(-n * n / (8 * w)) for n in odd)
            want = mpmath.log(mpmath.cosh(tilt / 2) * terms / mpmath.sqrt(2 * mpmath.pi * w**3))
            want = float(want - tilt**2 * w / 2)
        got = law_of(z).log_prob(torch.tensor(omega, dtype=F64)).item()
        assert got == pytest.approx(want, rel=1e-12, abs=1e-11)


@pytest.mark.parametrize("form", DRAWS)
@pytest.mark.parametrize("z", TILTS)
def test_draws_follow_the_law(form: str, z: float, budget: AlphaBudget) -> None:
    law = law_of(z)
    count = 400_000 if form == "loop" else 100_000
    draws = DRAWS[form](law.tilt.expand(count), Generator().manual_seed(3))
    budget.check(f"cdf {form} {z}", dkw_pvalue(draws.numpy(), lambda x: law.cdf(torch.tensor(x))))
    offset = draws - law.mean
    budget.check(f"mean {form} {z}", paired_mean_pvalue(offset.numpy()))
    budget.check(f"var {form} {z}", paired_mean_pvalue((offset**2 - law.variance).numpy()))


@pytest.mark.parametrize("z", [0.0, 2.5])
def test_draws_against_the_sum_of_exponentials(z: float, budget: AlphaBudget) -> None:
    draws = law_of(z).sample((5000,), seed=4).numpy()
    budget.check(f"sum {z}", two_sample_pvalue(draws, gamma_sum(z, 5000)))


@pytest.mark.parametrize("form", DRAWS)
def test_the_augmentation_gives_the_logistic_function(form: str, budget: AlphaBudget) -> None:
    """1 / (1 + e^-psi) = e^(psi / 2) / 2 E exp(-omega psi^2 / 2)."""
    for psi in (0.7, 3.0):
        omega = DRAWS[form](torch.zeros(50_000, dtype=F64), Generator().manual_seed(5))
        logistic = 0.5 * math.exp(0.5 * psi) * torch.exp(-0.5 * psi**2 * omega)
        miss = logistic - 1.0 / (1.0 + math.exp(-psi))
        budget.check(f"logistic {form} {psi}", paired_mean_pvalue(miss.numpy()))


def test_each_tilt_of_a_batch_has_its_own_law(budget: AlphaBudget) -> None:
    tilt = torch.tensor([[-4.0, 0.0], [90.0, 1.5]], dtype=F64)
    law = PolyaGamma(tilt)
    for form in DRAWS.values():
        draws = form(tilt.expand(4000, 2, 2), Generator().manual_seed(6))
        for at in np.ndindex(2, 2):
            single = law_of(tilt[at].item())
            u = single.cdf(draws[:, *at]).numpy()
            budget.check(f"batch {at}", dkw_pvalue(u, lambda x: x))
    assert law.sample((3,), seed=0).shape == (3, 2, 2)
    assert law.expand((5, 2, 2)).sample(seed=0).shape == (5, 2, 2)
    torch.testing.assert_close(law.log_prob(tilt.exp()), PolyaGamma(-tilt).log_prob(tilt.exp()))


def test_masses_of_the_right_part_fall() -> None:
    """What the table of the loop rests on; the masses are integrals of the first terms."""
    masses = right_masses()
    assert (np.diff(masses) <= 0).all()
    for h in (0.0, 1.0, 3.0):
        left = mpmath.quad(
            lambda x, h=h: (
                (2 * mpmath.pi * x**3) ** -0.5 * 2 * mpmath.exp(-0.5 / x - 0.5 * h * h * x)
            ),
            [0, 0.64],
        )
        rate = mpmath.pi**2 / 8 + h * h / 2
        right = mpmath.pi / 2 * mpmath.exp(-rate * 0.64) / rate
        assert masses[int(64 * h)] == pytest.approx(float(right / (left + right)), rel=1e-12)


def test_acceptance_is_the_density_over_its_first_term() -> None:
    """Above .994 everywhere, so no affordable number of draws would show it missing."""
    for x in (0.3, 0.6, 0.64, 0.65, 0.8, 1.5):
        density = law_of(0.0).log_prob(torch.tensor(0.25 * x, dtype=F64)).exp().item() / 4.0
        left = math.sqrt(2.0 / (math.pi * x**3)) * math.exp(-0.5 / x)
        right = 0.5 * math.pi * math.exp(-(math.pi**2) * x / 8.0)
        power = 2.0 / x if x <= 0.64 else 0.5 * math.pi**2 * x
        want = density / (left if x <= 0.64 else right)
        assert series_of_loop(power) == pytest.approx(want, rel=1e-13)
        assert series_of_tensors(torch.tensor(x, dtype=F64)).item() == pytest.approx(want)
        assert want > 0.994


def test_seeds_and_types() -> None:
    tilt = 3.0 * torch.randn(500, dtype=F64, generator=Generator().manual_seed(0))
    law, single = PolyaGamma(tilt), PolyaGamma(tilt.float())
    assert torch.equal(law.sample(seed=1), law.sample(generator=Generator().manual_seed(1)))
    assert not torch.equal(law.sample(seed=1), law.sample(seed=2))
    torch.manual_seed(1)
    assert torch.equal(law.sample(), law.sample(seed=1))
    for form in DRAWS.values():
        twice = [form(tilt, Generator().manual_seed(7)) for _ in range(2)]
        assert torch.equal(*twice)
    assert (
        single.sample(seed=1).dtype == single.log_prob(tilt.float().exp()).dtype == torch.float32
    )
    assert PolyaGamma(torch.empty(0, 3)).sample((2,), seed=0).shape == (2, 0, 3)
    assert draw_with_tensors(torch.empty(0)).shape == (0,)


def test_edges_of_the_range() -> None:
    z = torch.tensor([0.0, 1e-300, 39.99, 40.0, 1e4, 1e12], dtype=F64)
    for form in DRAWS.values():
        draws = form(z.expand(200, 6), Generator().manual_seed(8))
        assert torch.isfinite(draws).all()
        assert (draws > 0).all()
    odd = torch.tensor([torch.nan, torch.inf, 1.0])
    for form in DRAWS.values():  # no endless loop where nobody has checked
        assert torch.isfinite(form(odd)).tolist() == [False, False, True]


def test_gradients_against_differences() -> None:
    def readings(z: Tensor, omega: Tensor) -> Tensor:
        law = PolyaGamma(z)
        return torch.stack([law.mean, law.variance, law.log_prob(omega)])

    z = torch.tensor([0.3, 2.5, 20.0], dtype=F64, requires_grad=True)
    omega = torch.tensor([0.3, 0.1, 0.02], dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(readings, (z, omega))
    ends = torch.tensor([0.0, 1e4], dtype=F64, requires_grad=True)
    slopes = torch.autograd.grad(readings(ends, torch.tensor([30.0, 1e-6])).sum(), ends)[0]
    assert torch.isfinite(slopes).all()


@pytest.mark.parametrize("tilt", [math.nan, math.inf, [1.0, -math.inf]])
def test_refuses_what_is_not_finite(tilt: float | list[float]) -> None:
    with pytest.raises(ValueError, match="tilt must be finite"):
        PolyaGamma(tilt)


def test_refusals() -> None:
    with pytest.raises(TypeError, match="tilt"):
        PolyaGamma(torch.tensor([1.0], dtype=torch.float16))
    with pytest.raises(ValueError, match="generator or a seed"):
        PolyaGamma(1.0).sample(generator=Generator(), seed=0)
    with pytest.raises(ValueError, match="support"):
        PolyaGamma(1.0).log_prob(torch.tensor(-1.0))


@pytest.mark.gpu
def test_on_cuda(budget: AlphaBudget) -> None:
    law = PolyaGamma(torch.full((100_000,), 2.5, dtype=F64, device="cuda"))
    draws = law.sample(seed=1)
    assert draws.device.type == "cuda"
    assert torch.equal(draws, law.sample(seed=1))
    u = law.cdf(draws).cpu().numpy()
    budget.check("cuda", dkw_pvalue(u, lambda x: x))
