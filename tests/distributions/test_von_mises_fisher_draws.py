"""von Mises-Fisher draws: exact marginals, uniform tangents, unbiased pathwise gradients."""

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import integrate, stats
from sphere_cases import arc_grid, axis, direction
from statcheck import AlphaBudget, dkw_min_samples, dkw_pvalue
from torch import Generator, Tensor

from probact.distributions import VonMisesFisher
from probact.distributions.sphere_pathwise import stein_ratio
from probact.distributions.sphere_sampling import polar_plan
from probact.special import bessel_ratio

F32, F64 = torch.float32, torch.float64
_DRAWS = dkw_min_samples(0.05)  # a CDF error of 0.05 is caught with probability 1 - 1e-6


def angles(x: Tensor, mu: Tensor) -> np.ndarray:
    """Angle between x (n, d) and mu (d,) in float64, from the chord: exact where it is small."""
    chord = torch.linalg.vector_norm(x.double() - mu, dim=-1)
    angle: np.ndarray = (2.0 * torch.asin((0.5 * chord).clamp_max(1.0))).numpy()
    return angle


def angle_pvalue(angle: np.ndarray, dim: int, kappa: float) -> float:
    """DKW test against the quadrature of sin^(d-2)(angle) exp(kappa cos(angle))."""
    grid, density = arc_grid(dim, kappa)
    mass = integrate.cumulative_simpson(density, x=grid, initial=0.0)
    return dkw_pvalue(angle, lambda a: np.interp(a, grid, mass / mass[-1]))


def draw(mu: Tensor, kappa: float, count: int, generator: Generator) -> Tensor:
    """(count, d), in pieces of about 2^22 numbers."""
    law = VonMisesFisher(mu, kappa)
    size = max(1, (1 << 22) // mu.shape[-1])
    parts = [min(size, count - i) for i in range(0, count, size)]
    return torch.cat([law.sample((part,), generator=generator) for part in parts])


POINTS = [
    (2, 0.0), (2, 1e-6), (2, 0.5), (2, 10.0), (2, 1e3), (2, 1e8), (3, 0.0), (3, 5.0), (3, 1e6),
    (4, 0.01), (4, 5.0), (4, 1e5), (5, 0.0), (5, 0.5), (10, 10.0), (20, 85.0), (128, 0.0),
    (128, 85.0), (512, 85.0), (512, 1e5), (2048, 85.0), (2048, 1e5),
]  # fmt: skip


@pytest.mark.parametrize(("dim", "kappa"), POINTS)
def test_marginal_of_the_angle(
    dim: int, kappa: float, generator: Generator, budget: AlphaBudget
) -> None:
    mu = direction(dim)
    count = _DRAWS if dim <= 128 else 4000
    x = draw(mu, kappa, count, generator)
    assert (torch.linalg.vector_norm(x, dim=-1) - 1).abs().max() <= 1e-14
    budget.check(f"angle {dim} {kappa}", angle_pvalue(angles(x, mu), dim, kappa))


@pytest.mark.parametrize("dim", [2, 3, 5, 512])
@pytest.mark.parametrize("dtype", [F32, F64])
def test_marginal_at_and_next_to_the_axes(
    dim: int, dtype: torch.dtype, generator: Generator, budget: AlphaBudget
) -> None:
    """The reflection that turns e_1 to mu must not mind mu = +-e_1."""
    near = 1e-9 * axis(dim, 1)
    for mu in (
        axis(dim),
        axis(dim, 0, -1.0),
        axis(dim) + near,
        near - axis(dim),
        axis(dim, dim - 1),
    ):
        for kappa in (0.0, 10.0):
            x = draw(mu.to(dtype), kappa, 3000 if dim < 100 else 1000, generator)
            error = (torch.linalg.vector_norm(x.double(), dim=-1) - 1).abs().max()
            assert error <= (1e-14 if dtype == F64 else 1e-6)
            assert x.dtype == dtype
            budget.check("angle at an axis", angle_pvalue(angles(x, mu), dim, kappa))


@pytest.mark.parametrize("dim", [2, 3, 20, 128])
def test_marginal_with_a_concentration_for_each_draw(
    dim: int, generator: Generator, budget: AlphaBudget
) -> None:
    kappa = torch.logspace(-2, 3, 6, dtype=F64)
    mu = direction(dim, 6)
    x = VonMisesFisher(mu, kappa).sample((4000,), generator=generator)
    for i, k in enumerate(kappa.tolist()):
        budget.check("angle in a batch", angle_pvalue(angles(x[:, i], mu[i]), dim, k))


@pytest.mark.slow
@pytest.mark.parametrize("dim", [2, 3, 4, 7, 50, 65536])
@pytest.mark.parametrize("kappa", [0.0, 0.3, 3.0, 85.0, 1e4])
def test_marginal_in_depth(
    dim: int, kappa: float, generator: Generator, budget: AlphaBudget
) -> None:
    mu = direction(dim)
    count = 1_000_000 if dim < 1000 else 3000
    parts = [
        angles(draw(mu, kappa, min(count, 50_000), generator), mu) for _ in range(0, count, 50_000)
    ]
    budget.check(f"angle {dim} {kappa}", angle_pvalue(np.concatenate(parts), dim, kappa))


@pytest.mark.parametrize("dim", [2, 3, 4, 10, 128])
@pytest.mark.parametrize("sign", [1.0, -1.0, 0.0])
def test_the_tangent_direction_is_uniform(
    dim: int, sign: float, generator: Generator, budget: AlphaBudget
) -> None:
    """Rayleigh's test, two projections, and independence of the angle."""
    mu = axis(dim, 0, sign) if sign else direction(dim)
    x = draw(mu, 5.0, 8000, generator)
    t = x @ mu
    xi = x - t.unsqueeze(-1) * mu
    xi = xi / torch.linalg.vector_norm(xi, dim=-1, keepdim=True)
    n, free = len(x), dim - 1
    rayleigh = free * n * xi.mean(0).square().sum().item()
    budget.check("Rayleigh", stats.chi2.sf(rayleigh, free))
    special = axis(dim) if sign == 0 else axis(dim, dim - 1)  # the plane of mu and e_1, or an axis
    for b in (special, direction(dim, seed=21)):
        b = b - (b @ mu) * mu
        s = (xi @ (b / torch.linalg.vector_norm(b))).numpy()
        far = (t > t.median()).numpy()
        if dim == 2:
            budget.check("side", stats.binomtest(int((s > 0).sum()), n).pvalue)
            budget.check(
                "side, far", stats.binomtest(int((s > 0)[far].sum()), int(far.sum())).pvalue
            )
            continue
        half = 0.5 * (dim - 2)  # (s + 1)/2 is Beta(half, half)
        cdf = stats.beta(half, half).cdf
        budget.check("projection", dkw_pvalue(0.5 * (s + 1.0), cdf))
        budget.check("projection, far", dkw_pvalue(0.5 * (s[far] + 1.0), cdf))


@pytest.mark.parametrize("kappa", [0.0, 1e-300, 1e-12, 1e8, 1e12, 1e300])
@pytest.mark.parametrize("dim", [2, 3, 4, 128])
def test_draws_at_extreme_concentrations(dim: int, kappa: float, generator: Generator) -> None:
    for dtype in (F32, F64):
        mu = direction(dim).to(dtype)
        wanted = min(kappa, 1e38) if dtype == F32 else kappa
        x = VonMisesFisher(mu, wanted).sample((2000,), generator=generator)
        assert torch.isfinite(x).all()
        spread = torch.linalg.vector_norm(x.double() - mu.double(), dim=-1)
        limit = 20.0 * math.sqrt(dim / kappa) if kappa > 1 else 2.0
        assert spread.max() <= limit + (1e-6 if dtype == F32 else 1e-15)


def z_pvalue(values: Tensor, want: float) -> float:
    """p-value of "the mean is `want`": 5.5 standard errors are about 4e-8."""
    error = (values.mean().item() - want) / (values.std().item() / math.sqrt(len(values)))
    return float(2.0 * stats.norm.sf(abs(error)))


@pytest.mark.parametrize("dim", [2, 3, 4, 5, 10, 20, 128])
@pytest.mark.parametrize("kappa", [0.0, 0.5, 2.0, 10.0, 85.0, 1000.0])
def test_pathwise_gradients_are_unbiased(dim: int, kappa: float, budget: AlphaBudget) -> None:
    """d/dkappa of E t and E t^2; tangent d/dmu of E <b, x> and E <b, x>^2."""
    n = 10_000
    mu = direction(dim)
    k = torch.full((n,), kappa, dtype=F64, requires_grad=True)
    m = mu.expand(n, dim).clone().requires_grad_()
    x = VonMisesFisher(m, k).rsample()
    t = x @ mu
    exact = torch.tensor(kappa, dtype=F64, requires_grad=True)
    ratio = bessel_ratio(exact, dim)
    (slope,) = torch.autograd.grad(ratio, exact)
    a, slope = ratio.item(), slope.item()
    (first,) = torch.autograd.grad(t.sum(), k, retain_graph=True)
    budget.check(f"dE t {dim} {kappa}", z_pvalue(first, slope))
    # E t^2 = 1 - (d-1) A / kappa, hence 1/d at kappa 0, where its slope is zero
    second_slope = -(dim - 1) * (slope / kappa - a / kappa**2) if kappa else 0.0
    (second,) = torch.autograd.grad(t.square().sum(), k, retain_graph=True)
    budget.check(f"dE t^2 {dim} {kappa}", z_pvalue(second, second_slope))
    b = direction(dim, seed=13)
    v = b - (b @ mu) * mu
    (along,) = torch.autograd.grad((x @ b).sum(), m, retain_graph=True)
    if kappa:
        budget.check(f"dE bx {dim} {kappa}", z_pvalue(along @ v, a * (b @ v).item()))
    quadratic = (
        1.0 - dim * a / kappa if kappa else 0.0
    )  # E x x' = A/kappa I + (1 - d A/kappa) mu mu'
    (across,) = torch.autograd.grad((x @ b).square().sum(), m)
    if kappa:
        want = 2.0 * quadratic * (b @ mu).item() * (b @ v).item()
        budget.check(f"dE (bx)^2 {dim} {kappa}", z_pvalue(across @ v, want))
    assert (across * mu).sum(-1).abs().max() < 1e-12 * (1 + across.abs().max())  # tangent


def test_gradients_reach_shared_parameters(budget: AlphaBudget) -> None:
    """A shared (mu, kappa) receives the sum over draws; mu comes from a normalised vector."""
    raw = (3.0 * direction(6)).requires_grad_()
    k = torch.tensor(12.0, dtype=F64, requires_grad=True)
    b = direction(6, seed=4)
    means = []
    for seed in range(50):
        mu = raw / torch.linalg.vector_norm(raw)
        x = VonMisesFisher(mu, k).rsample((200,), generator=Generator().manual_seed(seed))
        means.append(
            torch.cat([g.reshape(-1) for g in torch.autograd.grad((x @ b).mean(), (raw, k))])
        )
    mu = raw / torch.linalg.vector_norm(raw)
    target = bessel_ratio(k, 6) * (b @ mu)
    want = torch.cat([g.reshape(-1) for g in torch.autograd.grad(target, (raw, k))])
    seen = torch.stack(means)
    for column, value in zip(seen.T, want.tolist(), strict=True):
        t = (column.mean() - value) / (column.std() / math.sqrt(50))
        budget.check("shared gradient", float(2 * stats.t(49).sf(abs(t.item()))))


@pytest.mark.parametrize("dim", [2, 3, 4, 5, 8, 9, 20, 128])
@pytest.mark.parametrize("kappa", [0.3, 5.0, 85.0, 1e4])
def test_the_velocity_of_the_quantiles(dim: int, kappa: float) -> None:
    """g = (1/f) int_t^1 (s - A) f ds / (1 - t^2) against 30-digit quadrature over the angle."""
    grid, density = arc_grid(dim, kappa, 2001)
    mass = integrate.cumulative_simpson(density, x=grid, initial=0.0)
    theta = np.interp([0.001, 0.1, 0.5, 0.9, 0.999], mass / mass[-1], grid)
    want = []
    with mpmath.workdps(30):
        half, k = mpmath.mpf(dim) / 2, mpmath.mpf(kappa)
        a = mpmath.besseli(half, k) / mpmath.besseli(half - 1, k)
        for end in map(mpmath.mpf, theta.tolist()):

            def moment(u: mpmath.mpf, end: mpmath.mpf = end) -> mpmath.mpf:
                ring = (mpmath.sin(u) / mpmath.sin(end)) ** (dim - 2)
                return (
                    (mpmath.cos(u) - a) * ring * mpmath.exp(k * (mpmath.cos(u) - mpmath.cos(end)))
                )

            start = max(mpmath.mpf(0), end - 12 / mpmath.sqrt(k))
            tau = mpmath.quad(moment, mpmath.linspace(start, end, 6))
            want.append(float(tau / mpmath.sin(end)))  # f in t is f in the angle over its sine
    v = torch.tensor(2.0 * np.sin(0.5 * theta) ** 2)
    scale = torch.tensor(kappa, dtype=F64)
    got = stein_ratio(v, scale, dim, polar_plan(scale, dim) if dim > 3 else None)
    tolerance = 1e-6 if dim == 4 else 1e-8
    torch.testing.assert_close(got, torch.tensor(want, dtype=F64), rtol=tolerance, atol=0)


@pytest.mark.parametrize("dim", [2, 3, 4, 9, 50])
def test_the_velocity_at_zero_concentration(dim: int) -> None:
    v = torch.tensor([0.01, 0.5, 1.0, 1.7, 1.99], dtype=F64)
    for kappa in (0.0, 1e-300):
        scale = torch.tensor(kappa, dtype=F64)
        got = stein_ratio(v, scale, dim, polar_plan(scale, dim) if dim > 3 else None)
        want = torch.full_like(v, 1.0 / (dim - 1))
        torch.testing.assert_close(got, want, rtol=1e-6 if dim == 4 else 1e-10, atol=0)


def test_only_once_differentiable() -> None:
    k = torch.tensor(3.0, dtype=F64, requires_grad=True)
    x = VonMisesFisher(axis(4), k).rsample((3,))
    (grad,) = torch.autograd.grad(x[:, 0].square().sum(), k, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.backward()


def test_blocks_do_not_show() -> None:
    """A draw of many blocks is one stream: its halves are told apart only by their size."""
    law = VonMisesFisher(direction(40), 9.0)
    x = law.sample((5000,), seed=1)
    assert torch.equal(x, law.sample((5000,), seed=1))
    assert len(torch.unique(x[:, 0])) == 5000
    assert torch.equal(law.sample((50, 100), seed=1).reshape(-1, 40), x)


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("dim", "kappa"), [(2, 0.5), (3, 5.0), (5, 10.0), (128, 85.0), (2048, 1e5)]
)
def test_marginal_on_cuda(dim: int, kappa: float, budget: AlphaBudget) -> None:
    mu = direction(dim)
    for dtype in (F32, F64):
        law = VonMisesFisher(mu.to("cuda", dtype), kappa)
        x = law.sample((_DRAWS,), seed=3)
        assert x.device.type == "cuda"
        assert torch.equal(x, law.sample((_DRAWS,), seed=3))
        budget.check(f"cuda {dim}", angle_pvalue(angles(x.cpu(), mu), dim, kappa))
        k = torch.full((64,), kappa, dtype=dtype, device="cuda", requires_grad=True)
        VonMisesFisher(mu.to("cuda", dtype), k).rsample()[..., 0].sum().backward()
        assert torch.isfinite(k.grad).all()
