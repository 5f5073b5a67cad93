"""Codes on the sphere: the law of the compiled draws and their gradients."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from sphere_cases import arc_grid, axis, direction, mean_resultant
from statcheck import AlphaBudget, dkw_min_samples, dkw_pvalue
from torch import Generator, Tensor

from probact.distributions.sphere_latent import rsample_with_kl
from probact.distributions.sphere_pathwise import stein_ratio
from probact.distributions.sphere_sampling import polar_plan

F32, F64 = torch.float32, torch.float64
_DRAWS = dkw_min_samples(0.05)  # a CDF error of 0.05 is caught with probability 1 - 1e-6
DIMS = pytest.mark.parametrize("dim", [2, 3, 4, 5, 10, 20, 128])


def draw(mu: Tensor, kappa: float, count: int, generator: Generator | None = None) -> Tensor:
    """(count, d) by the compiled loops."""
    loc, concentration = mu.expand(count, len(mu)), torch.full((count,), kappa, dtype=mu.dtype)
    return rsample_with_kl(loc, concentration, generator=generator)[0]


def z_pvalue(values: Tensor, want: float) -> float:
    error = (values.mean().item() - want) / (values.std().item() / math.sqrt(len(values)))
    return float(2.0 * stats.norm.sf(abs(error)))


@DIMS
@pytest.mark.parametrize("kappa", [0.0, 0.5, 5.0, 85.0, 1000.0])
def test_law_of_the_draws(
    dim: int, kappa: float, generator: Generator, budget: AlphaBudget
) -> None:
    """The angle to loc by quadrature; around loc, Rayleigh's test of the tangents."""
    mu = direction(dim)
    x = draw(mu, kappa, _DRAWS, generator)
    assert (torch.linalg.vector_norm(x, dim=-1) - 1).abs().max() <= 1e-14
    angle = 2.0 * torch.asin((0.5 * torch.linalg.vector_norm(x - mu, dim=-1)).clamp_max(1.0))
    grid, density = arc_grid(dim, kappa)
    mass = integrate.cumulative_simpson(density, x=grid, initial=0.0)
    cdf = dkw_pvalue(angle.numpy(), lambda a: np.interp(a, grid, mass / mass[-1]))
    xi = x - (x @ mu).unsqueeze(-1) * mu
    xi = xi / torch.linalg.vector_norm(xi, dim=-1, keepdim=True)
    rayleigh = (dim - 1) * len(x) * xi.mean(0).square().sum().item()
    ring = float(stats.chi2.sf(rayleigh, dim - 1))
    budget.check(f"angle and tangent {dim} {kappa}", min(1.0, 2.0 * min(cdf, ring)))


@pytest.mark.parametrize("dim", [2, 3, 5, 64])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_law_at_the_axis_of_the_reflection(
    dim: int, sign: float, generator: Generator, budget: AlphaBudget
) -> None:
    """E x = A mu in every coordinate, at mu = +-e_1 and next to it."""
    for mu in (axis(dim, 0, sign), axis(dim, 0, sign) + 1e-9 * axis(dim, 1)):
        x = draw(mu, 4.0, 20_000, generator)
        want = mean_resultant(4.0, dim)[0] * mu
        score = (x.mean(0) - want) / (x.std(0) / math.sqrt(len(x)))
        p = 2.0 * stats.norm.sf(score.abs().max().item()) * dim
        budget.check(f"mean at an axis {dim}", min(1.0, float(p)))


def test_each_row_has_its_own_law(generator: Generator, budget: AlphaBudget) -> None:
    kappa = torch.tensor([0.0, 0.3, 5.0, 85.0, 1e4], dtype=F64)
    mu = direction(7, 5)
    z, _ = rsample_with_kl(mu.repeat(4000, 1), kappa.repeat(4000), generator=generator)
    cosine = (z.reshape(4000, 5, 7) * mu).sum(-1)
    for column, k in zip(cosine.T, kappa.tolist(), strict=True):
        budget.check(f"mean cosine {k}", z_pvalue(column, mean_resultant(k, 7)[0]))


@DIMS
@pytest.mark.parametrize("kappa", [0.0, 0.5, 10.0, 85.0, 1000.0])
def test_pathwise_gradients_are_unbiased(dim: int, kappa: float, budget: AlphaBudget) -> None:
    """d/dkappa of E t and E t^2; d/dmu along the sphere of E <b, x> and E <b, x>^2."""
    n, mu, b = 10_000, direction(dim), direction(dim, seed=13)
    k = torch.full((n,), kappa, dtype=F64, requires_grad=True)
    m = mu.expand(n, dim).clone().requires_grad_()
    z, _ = rsample_with_kl(m, k)
    a, slope = mean_resultant(kappa, dim)
    # E t^2 = 1 - (d-1) A / kappa; its slope is zero at zero
    second = -(dim - 1) * (slope / kappa - a / kappa**2) if kappa else 0.0
    t = z @ mu
    ps = []
    for target, want in ((t, slope), (t.square(), second)):
        (grad,) = torch.autograd.grad(target.sum(), k, retain_graph=True)
        ps.append(z_pvalue(grad, want))
    if kappa:  # E x x^T = A/kappa I + (1 - d A/kappa) mu mu^T
        v = b - (b @ mu) * mu
        along, turned = (b @ v).item(), 2.0 * (1.0 - dim * a / kappa) * (b @ mu).item()
        for target, want in ((z @ b, a * along), ((z @ b).square(), turned * along)):
            (grad,) = torch.autograd.grad(target.sum(), m, retain_graph=True)
            ps.append(z_pvalue(grad @ v, want))
    budget.check(f"gradients {dim} {kappa}", min(1.0, len(ps) * min(ps)))


@pytest.mark.parametrize("dim", [2, 3, 4, 8, 9, 20, 128, 1024])
def test_gradients_of_given_draws(dim: int) -> None:
    """The loops' g and rotation against the tensor code at the same z."""
    kappa = torch.tensor([0.0, 0.3, 5.0, 85.0, 1e4, 1e6], dtype=F64).repeat(40)
    rows = len(kappa)
    mu, weight = direction(dim, rows), direction(dim, rows, seed=3)
    loc, k = mu.clone().requires_grad_(), kappa.clone().requires_grad_()
    z, _ = rsample_with_kl(loc, k)
    grad_loc, grad_kappa = torch.autograd.grad(z, (loc, k), weight)
    z = z.detach()
    v = 0.5 * (z - mu).square().sum(-1)
    g = stein_ratio(v, kappa, dim, polar_plan(kappa, dim) if dim > 3 else None)
    along_mu, along_z = (weight * mu).sum(-1), (weight * z).sum(-1)
    want = g * (along_mu - (1.0 - v) * along_z)
    # on the circle v = 2 - eps is known from z to eps / (2 - v) only
    torch.testing.assert_close(grad_kappa, want, rtol=1e-9, atol=1e-9 * (1 if dim > 2 else 100))
    turned = (1.0 - v).unsqueeze(-1) * weight - along_mu.unsqueeze(-1) * z
    torch.testing.assert_close(grad_loc, turned, rtol=1e-12, atol=1e-13)


def test_shared_parameters_receive_the_sum() -> None:
    mu = direction(5).requires_grad_()
    k, other = (torch.tensor(v, dtype=F64, requires_grad=True) for v in (3.0, 2.0))
    m = direction(5, 6, seed=2).requires_grad_()
    z, kl = rsample_with_kl(mu.expand(6, 5), k.expand(6), m, other)
    (z[:, 0].sum() + kl.sum()).backward()
    assert [p.grad.shape for p in (mu, k, m, other)] == [(5,), (), (6, 5), ()]
    chord = (mu - m).square().sum(-1)
    a1, a2 = mean_resultant(3.0, 5)[0], mean_resultant(2.0, 5)[0]
    want = (a2 - a1 + 0.5 * a1 * chord).sum()
    torch.testing.assert_close(other.grad, want.detach(), rtol=1e-12, atol=0)


def test_only_once_differentiable() -> None:
    k = torch.full((3,), 3.0, dtype=F64, requires_grad=True)
    z, _ = rsample_with_kl(axis(4).expand(3, 4), k)
    (grad,) = torch.autograd.grad(z[:, 0].square().sum(), k, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_codes_changed_in_place_are_noticed() -> None:
    k = torch.full((3,), 3.0, dtype=F64, requires_grad=True)
    z, _ = rsample_with_kl(axis(4).expand(3, 4), k)
    z.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()
