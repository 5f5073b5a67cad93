"""von Mises-Fisher: density, moments, entropy and divergences against independent witnesses."""

import math

import mpmath
import numpy as np
import pytest
import scipy.stats
import torch
from reference_tables import vmf_dims, vmf_rows
from scipy import integrate
from sphere_cases import arc_grid, axis, direction, great_circle
from statcheck import AlphaBudget, paired_mean_pvalue
from torch import Tensor
from torch.distributions import VonMises, kl_divergence

from probact.distributions import SphereUniform, VonMisesFisher
from probact.special import log_sphere_area

F64 = torch.float64


@pytest.mark.parametrize("dim", vmf_dims())
def test_density_mean_and_entropy_against_the_table(dim: int) -> None:
    rows = vmf_rows(dim)
    kappa = rows["kappa"]
    law = VonMisesFisher(axis(dim), kappa)
    for t in (1.0, 0.0, -1.0):
        x = axis(dim, 1) if t == 0 else axis(dim, 0, t)
        want = rows["log_norm"] + kappa * t
        error = (law.log_prob(x) - want).abs() / torch.maximum(want.abs(), 1 + kappa * abs(t))
        assert error.max() < 1e-12
    torch.testing.assert_close(law.entropy(), rows["entropy"], rtol=1e-12, atol=1e-12)
    ratio = rows["mean_resultant"]
    torch.testing.assert_close(law.mean_resultant_length, ratio, rtol=1e-12, atol=0)
    torch.testing.assert_close(law.mean, ratio.unsqueeze(-1) * axis(dim), rtol=1e-12, atol=0)
    torch.testing.assert_close(law.variance[:, 0], rows["d_mean_resultant"], rtol=1e-9, atol=0)
    torch.testing.assert_close(law.variance[:, 1], ratio / kappa, rtol=1e-12, atol=0)
    uniform = SphereUniform(dim, dtype=F64)
    kl = kl_divergence(law, uniform)
    torch.testing.assert_close(kl, rows["kl_to_uniform"], rtol=1e-8, atol=0)


@pytest.mark.parametrize(
    ("dim", "kappa"),
    [(2, 0.1), (2, 50.0), (3, 5.0), (5, 1.0), (20, 85.0), (50, 300.0), (128, 1e3)],
)
def test_density_and_entropy_against_scipy(dim: int, kappa: float) -> None:
    mu = direction(dim)
    peer = scipy.stats.vonmises_fisher(mu.numpy(), kappa)
    x = direction(dim, 20, seed=3)
    law = VonMisesFisher(mu, kappa)
    want = torch.tensor(peer.logpdf(x.numpy()))
    torch.testing.assert_close(law.log_prob(x), want, rtol=1e-10, atol=1e-10)
    assert law.entropy().item() == pytest.approx(peer.entropy(), rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("kappa", [0.1, 1.0, 20.0, 300.0])
def test_circle_against_von_mises(kappa: float) -> None:
    angle = torch.linspace(-3.0, 3.0, 101, dtype=F64)
    x = torch.stack([angle.cos(), angle.sin()], -1)
    centre = torch.tensor(0.7, dtype=F64)
    law = VonMisesFisher(torch.stack([centre.cos(), centre.sin()]), kappa)
    peer = VonMises(centre, torch.tensor(kappa, dtype=F64))
    torch.testing.assert_close(law.log_prob(x), peer.log_prob(angle), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("dim", [2, 3, 4, 10, 512])
@pytest.mark.parametrize("kappa", [0.0, 0.3, 40.0, 1e5])
def test_moments_by_quadrature(dim: int, kappa: float) -> None:
    """Normaliser, mean cosine, its variance and the entropy as integrals over the polar angle."""
    angle, f = arc_grid(dim, kappa)
    mass = integrate.simpson(f, x=angle)
    law = VonMisesFisher(axis(dim), kappa)
    x = great_circle(axis(dim), torch.tensor(angle[::500]))
    sine, height = np.sin(angle[::500]), f[::500]
    seen = (height > 1e-12) & (sine > 1e-9)
    ring = (dim - 2) * np.log(sine[seen]) + log_ring_area(dim)
    want = np.log(height[seen] / mass) - ring
    np.testing.assert_allclose(law.log_prob(x).numpy()[seen], want, rtol=1e-8, atol=1e-8)
    cosine_gap = 2.0 * np.sin(0.5 * angle) ** 2
    mean_gap = integrate.simpson(cosine_gap * f, x=angle) / mass
    square = integrate.simpson((cosine_gap - mean_gap) ** 2 * f, x=angle) / mass
    assert 1.0 - law.mean[0].item() == pytest.approx(mean_gap, rel=1e-7)
    assert law.variance[0].item() == pytest.approx(square, rel=1e-7)
    peak = law.log_prob(axis(dim)).item()
    assert law.entropy().item() == pytest.approx(kappa * mean_gap - peak, rel=1e-7, abs=1e-7)


def log_ring_area(dim: int) -> float:
    return math.log(2.0) if dim == 2 else log_sphere_area(dim - 1)


@pytest.mark.parametrize("dim", [2, 3, 4, 50])
def test_law_of_the_cosine(dim: int) -> None:
    law = VonMisesFisher(axis(dim), 7.0)
    angle = math.pi * (torch.arange(4000, dtype=F64) + 0.5) / 4000
    density = law.cosine_log_prob(angle.cos()).exp() * angle.sin()
    assert density.sum().item() * math.pi / 4000 == pytest.approx(1.0, rel=1e-6)
    assert torch.isfinite(law.cosine_log_prob(torch.linspace(-1, 1, 9, dtype=F64)[1:-1])).all()


def sphere_mgf(kappa: float, dim: int) -> mpmath.mpf:
    return mpmath.log(mpmath.hyp0f1(mpmath.mpf(dim) / 2, mpmath.mpf(kappa) ** 2 / 4))


@pytest.mark.parametrize("dim", [2, 3, 10, 128, 2048])
@pytest.mark.parametrize(
    ("k", "other"),
    [
        (0.0, 2.0),
        (2.0, 0.0),
        (1e-6, 2e-6),
        (1.0, 5.0),
        (85.0, 1e3),
        (1e3, 85.0),
        (1e6, 1e5),
        (1e8, 1e4),
    ],
)
def test_kl_between_two_laws(dim: int, k: float, other: float) -> None:
    mu, nu = axis(dim), direction(dim)
    with mpmath.workdps(40):
        a, b = mpmath.mpf(k), mpmath.mpf(other)
        half = mpmath.mpf(dim) / 2
        ratio = mpmath.besseli(half, a) / mpmath.besseli(half - 1, a) if k else mpmath.mpf(0)
        log_bessel = [
            mpmath.log(mpmath.besseli(half - 1, c)) - (half - 1) * mpmath.log(c / 2)
            if c
            else -mpmath.loggamma(half)
            for c in (a, b)
        ]
        radial = (a - b) * ratio - log_bessel[0] + log_bessel[1]
        chord = sum(
            (mpmath.mpf(m) - mpmath.mpf(n)) ** 2
            for m, n in zip(mu.tolist(), nu.tolist(), strict=True)
        )
        want = float(radial), float(radial + b * ratio * chord / 2)
    for dtype, tolerance in ((F64, 3e-8), (torch.float32, 1e-5)):
        p = VonMisesFisher(mu.to(dtype), k)
        for loc, value in ((mu, want[0]), (nu, want[1])):
            got = kl_divergence(p, VonMisesFisher(loc.to(dtype), other))
            assert got.dtype == dtype
            assert got.item() == pytest.approx(value, rel=tolerance, abs=1e-24)


def test_kl_with_the_uniform_law(budget: AlphaBudget) -> None:
    law = VonMisesFisher(direction(5, 2, 1), torch.tensor([0.0, 3.0, 20.0], dtype=F64))
    uniform = SphereUniform(5, dtype=F64)
    x = uniform.sample((20_000, 2, 3))
    surprise = uniform.log_prob(x) - law.log_prob(x) - kl_divergence(uniform, law)
    assert kl_divergence(uniform, law).shape == (2, 3)
    for column in surprise[..., 1:].reshape(20_000, -1).T:
        budget.check("uniform to vmf", paired_mean_pvalue(column.numpy()))
    assert surprise[..., 0].abs().max() < 1e-12
    for k in (0.5, 30.0):  # E exp(kappa t) by quadrature over the angle
        angle = (np.arange(2000) + 0.5) * math.pi / 2000
        weight = np.sin(angle) ** 3
        mgf = math.log((weight * np.exp(k * np.cos(angle))).sum() / weight.sum())
        got = kl_divergence(uniform, VonMisesFisher(axis(5), k)).item()
        assert got == pytest.approx(mgf, rel=1e-9)
    assert kl_divergence(uniform, SphereUniform(5, dtype=F64)) == 0
    assert kl_divergence(law, uniform).shape == (2, 3)


def test_kl_gradients_and_dimensions() -> None:
    mu = direction(4, 2).requires_grad_()
    k = torch.tensor([2.0, 40.0], dtype=F64, requires_grad=True)

    def f(k: Tensor, other: Tensor) -> Tensor:
        return kl_divergence(VonMisesFisher(mu, k), VonMisesFisher(axis(4), other))

    assert torch.autograd.gradcheck(f, (k, (k.detach() + 3.0).requires_grad_()))
    same = kl_divergence(VonMisesFisher(mu, k), VonMisesFisher(mu, k))
    assert same.abs().max() < 1e-14
    assert all(g.abs().max() < 1e-13 for g in torch.autograd.grad(same.sum(), (mu, k)))
    three, four = VonMisesFisher(axis(3), 1.0), VonMisesFisher(axis(4), 1.0)
    for p, q in ((three, four), (three, SphereUniform(4)), (SphereUniform(3), four)):
        with pytest.raises(ValueError, match="dimensions 3 and 4"):
            kl_divergence(p, q)
    with pytest.raises(ValueError, match="dimensions 3 and 4"):
        kl_divergence(SphereUniform(3), SphereUniform(4))


@pytest.mark.parametrize("dim", [2, 3, 10])
def test_rotation_equivariance(dim: int) -> None:
    q, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(dim, dim)))
    rotation = torch.tensor(q)
    mu, x = direction(dim), direction(dim, 30, seed=9)
    law, turned = VonMisesFisher(mu, 8.0), VonMisesFisher(rotation @ mu, 8.0)
    torch.testing.assert_close(
        turned.log_prob(x @ rotation.T), law.log_prob(x), atol=1e-13, rtol=0
    )
    torch.testing.assert_close(turned.mean, rotation @ law.mean)


@pytest.mark.parametrize("dim", [2, 3, 20])
def test_the_tangent_is_gaussian_at_large_concentration(dim: int, budget: AlphaBudget) -> None:
    mu, k = direction(dim), 1e8
    law = VonMisesFisher(mu, k)
    x = law.sample((4000,))
    tangent = math.sqrt(k) * (x - (x @ mu).unsqueeze(-1) * mu)
    p = scipy.stats.kstest(tangent.square().sum(-1).numpy(), scipy.stats.chi2(dim - 1).cdf).pvalue
    budget.check("tangent length", p)
    log_gauss = -0.5 * tangent.square().sum(-1) + 0.5 * (dim - 1) * math.log(k / (2 * math.pi))
    torch.testing.assert_close(law.log_prob(x), log_gauss, rtol=0, atol=1e-4)


def test_zero_concentration_is_the_uniform_law() -> None:
    for dim in (2, 3, 50):
        law, uniform = VonMisesFisher(axis(dim), 0.0), SphereUniform(dim, dtype=F64)
        x = uniform.sample((5,))
        torch.testing.assert_close(law.log_prob(x), uniform.log_prob(x), rtol=1e-14, atol=0)
        assert law.entropy() == uniform.entropy()
        assert (law.mean == 0).all()
        torch.testing.assert_close(law.variance, uniform.variance)


def test_a_direction_rounded_to_float32_is_welcome() -> None:
    mu = direction(3).float()
    law = VonMisesFisher(mu.double() * (1 + 5e-7), 5.0)
    x = law.sample((100,))
    assert (torch.linalg.vector_norm(x, dim=-1) - 1).abs().max() < 1e-14


def test_vmap_of_the_density() -> None:
    mu, k, x = (
        direction(3, 4),
        torch.tensor([0.0, 1.0, 9.0, 1e4], dtype=F64),
        direction(3, 4, seed=2),
    )

    def f(mu: Tensor, k: Tensor, x: Tensor) -> Tensor:
        value: Tensor = VonMisesFisher(mu, k, validate_args=False).log_prob(x)
        return value

    want = VonMisesFisher(mu, k).log_prob(x)
    torch.testing.assert_close(torch.func.vmap(f)(mu, k, x), want)
    (grad,) = torch.autograd.grad(f(mu, k.requires_grad_(), x).sum(), k)
    batched = torch.func.vmap(torch.func.grad(f, argnums=1))(mu, k.detach(), x)
    torch.testing.assert_close(batched, grad)


def test_messages_name_the_argument_and_the_place() -> None:
    mu = direction(3, 4)
    long = torch.diag(torch.tensor([1.0, 1.0, 2.0, 1.0], dtype=F64))
    with pytest.raises(
        ValueError, match=r"loc must be unit vectors, got one of norm 2.0 at index \(2,\)"
    ):
        VonMisesFisher(long, 1.0)
    with pytest.raises(
        ValueError, match=r"concentration must be finite and >= 0, got -1.0 at index \(1,\)"
    ):
        VonMisesFisher(mu, torch.tensor([1.0, -1.0, 2.0, math.nan], dtype=F64))
    with pytest.raises(ValueError, match=r"shape \(3,\) does not broadcast .* \(4,\) of loc"):
        VonMisesFisher(mu, torch.ones(3))
    with pytest.raises(ValueError, match=r"loc must be \(..., d\) with d >= 2, got shape \(1,\)"):
        VonMisesFisher(torch.ones(1), 1.0)
    with pytest.raises(TypeError, match=r"loc must be float32 or float64, got .*float16"):
        VonMisesFisher(mu.half(), 1.0)
    with pytest.raises(
        TypeError, match="concentration must be a tensor, array or number, got str"
    ):
        VonMisesFisher(mu, "3")
    with pytest.raises(ValueError, match="concentration is on meta, the other argument on cpu"):
        VonMisesFisher(mu, torch.ones(4, device="meta"))
    with pytest.raises(ValueError, match="dim must be an integer >= 2, got 1"):
        SphereUniform(1)


def test_parameters_may_be_arrays_numbers_or_mixed_types() -> None:
    mu = direction(3)
    want = VonMisesFisher(mu, torch.tensor(3.0, dtype=F64)).log_prob(mu)
    for loc, k in ((mu.numpy(), 3), (mu.tolist(), np.float64(3.0)), (mu, np.array(3)), (mu, 3.0)):
        assert torch.equal(VonMisesFisher(loc, k).log_prob(mu), want)
    assert VonMisesFisher(mu.float(), torch.ones(2, dtype=F64)).sample().dtype == F64
    assert VonMisesFisher(mu.float(), torch.ones((), dtype=F64)).sample().dtype == torch.float32
    assert VonMisesFisher(mu.float(), np.float64(1.0)).sample().dtype == torch.float32
