"""KL of codes to their prior: the compiled loops against quadrature, a table and tensor code."""

import math

import numpy as np
import pytest
import torch
from reference_tables import vmf_dims, vmf_rows
from sphere_cases import axis, direction
from torch import Generator, Tensor
from torch.distributions import kl_divergence

from probact.distributions import SphereUniform, VonMisesFisher
from probact.distributions.sphere_latent import rsample_with_kl, with_tensors

F64 = torch.float64


@pytest.mark.parametrize("dim", vmf_dims())
def test_kl_to_uniform_against_the_table(dim: int) -> None:
    rows = vmf_rows(dim)
    loc = axis(dim).expand(len(rows["kappa"]), dim)
    _, kl = rsample_with_kl(loc, rows["kappa"])
    torch.testing.assert_close(kl, rows["kl_to_uniform"], rtol=1e-12, atol=0)


@pytest.mark.parametrize("kappa", [0.0, 0.4, 9.0, 300.0])
@pytest.mark.parametrize("other", [0.0, 1.5, 40.0])
def test_kl_by_quadrature_on_the_circle(kappa: float, other: float) -> None:
    """Trapezium rule over the whole circle, spectrally exact."""
    mu, m = direction(2), direction(2, seed=8)
    angle = np.arange(4000) * 2.0 * math.pi / 4000
    x = np.stack([np.cos(angle), np.sin(angle)], -1)
    log_p = kappa * (x @ mu.numpy() - 1.0)
    log_q = other * (x @ m.numpy() - 1.0)
    p, q = np.exp(log_p), np.exp(log_q)
    want = (p / p.sum() * (log_p - math.log(p.sum()) - log_q + math.log(q.sum()))).sum()
    _, kl = rsample_with_kl(mu[None], torch.tensor([kappa], dtype=F64), m[None], other)
    assert kl.item() == pytest.approx(want, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("kappa", [0.0, 0.4, 9.0])
@pytest.mark.parametrize("other", [0.0, 1.5, 40.0])
def test_kl_by_quadrature_on_the_sphere(kappa: float, other: float) -> None:
    """Gauss-Legendre in the height, trapezium rule around."""
    mu, m = axis(3, 2), direction(3, seed=8)
    height, weight = np.polynomial.legendre.leggauss(120)
    turn = np.arange(200) * 2.0 * math.pi / 200
    t, a = np.meshgrid(height, turn, indexing="ij")
    ring = np.sqrt(1.0 - t * t)
    x = np.stack([ring * np.cos(a), ring * np.sin(a), t], -1)
    w = np.broadcast_to(weight[:, None], t.shape)
    log_p, log_q = kappa * (x @ mu.numpy() - 1.0), other * (x @ m.numpy() - 1.0)
    p, q = w * np.exp(log_p), w * np.exp(log_q)
    want = (p / p.sum() * (log_p - math.log(p.sum()) - log_q + math.log(q.sum()))).sum()
    _, kl = rsample_with_kl(mu[None], torch.tensor([kappa], dtype=F64), m[None], other)
    assert kl.item() == pytest.approx(want, rel=1e-9, abs=1e-12)


GRID = [0.0, 1e-6, 0.1, 1.0, 4.9, 5.0, 5.1, 60.0, 1e3, 1e6]


@pytest.mark.parametrize("dim", [2, 3, 4, 10, 41, 128, 1024])
def test_compiled_loops_against_tensor_code(dim: int) -> None:
    """KL and its gradients in all four parameters, for a prior of each row and for one of all."""
    k = torch.tensor(GRID, dtype=F64)
    first, second = (a.reshape(-1).clone() for a in torch.meshgrid(k, k, indexing="ij"))
    rows = len(first)
    mu, m = direction(dim, rows), direction(dim, rows, seed=8)
    for prior in (second, torch.tensor(5.0, dtype=F64), torch.tensor(0.0, dtype=F64)):
        ours = [p.clone().requires_grad_() for p in (mu, first, m, prior)]
        theirs = [p.clone().requires_grad_() for p in (mu, first, m, prior)]
        _, kl = rsample_with_kl(*ours)
        want = kl_divergence(
            VonMisesFisher(theirs[0], theirs[1]), VonMisesFisher(theirs[2], theirs[3])
        )
        scale = 1e-12 * torch.maximum(first, prior)
        assert ((kl - want).abs() <= 1e-10 * want.abs() + scale).all()
        weight = torch.rand(rows, dtype=F64)
        got = torch.autograd.grad(kl, ours, weight)
        expected = torch.autograd.grad(want, theirs, weight)
        for a, b in zip(got, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)
    free = first.clone().requires_grad_()
    _, kl = rsample_with_kl(mu, free)
    want = kl_divergence(VonMisesFisher(mu, free), SphereUniform(dim, dtype=F64))
    torch.testing.assert_close(kl, want, rtol=1e-12, atol=0)
    a, b = (torch.autograd.grad(v.sum(), free)[0] for v in (kl, want))
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-24)


def test_tensor_code_of_other_devices() -> None:
    """What a GPU runs, here on the CPU."""
    mu, m, k = direction(5, 3), direction(5, 3, seed=2), torch.tensor([0.0, 2.0, 30.0], dtype=F64)
    for prior in ((None, None), (m, torch.tensor(4.0, dtype=F64))):
        z, kl = with_tensors(mu, k, *prior, Generator().manual_seed(3))
        again, _ = with_tensors(mu, k, *prior, Generator().manual_seed(3))
        torch.testing.assert_close(kl, rsample_with_kl(mu, k, *prior)[1], rtol=1e-12, atol=0)
        assert torch.equal(z, again)
        assert z.shape == (3, 5)


def test_kl_gradients_by_finite_differences() -> None:
    mu, m = direction(4, 3).requires_grad_(), direction(4, 3, seed=5).requires_grad_()
    k = torch.tensor([0.7, 3.0, 40.0], dtype=F64, requires_grad=True)
    other = torch.tensor([2.0, 2.9, 6.0], dtype=F64, requires_grad=True)
    shared = torch.tensor(5.0, dtype=F64, requires_grad=True)

    def kl(mu: Tensor, k: Tensor, m: Tensor | None, other: Tensor | None) -> Tensor:
        def unit(x: Tensor | None) -> Tensor | None:
            return None if x is None else torch.nn.functional.normalize(x, dim=-1)

        return rsample_with_kl(unit(mu), k, unit(m), other)[1]

    options = {"nondet_tol": 0.0, "eps": 1e-6, "atol": 1e-7}
    assert torch.autograd.gradcheck(kl, (mu, k, m, other), **options)
    assert torch.autograd.gradcheck(kl, (mu, k, m, shared), **options)
    assert torch.autograd.gradcheck(kl, (mu, k, None, None), **options)


def test_kl_vanishes_between_equal_laws() -> None:
    mu = direction(6, 4).requires_grad_()
    k = torch.tensor([0.0, 1e-3, 7.0, 1e5], dtype=F64, requires_grad=True)
    _, kl = rsample_with_kl(mu, k, mu.detach(), k.detach())
    assert kl.abs().max() == 0
    assert all(g.abs().max() == 0 for g in torch.autograd.grad(kl.sum(), (mu, k)))
