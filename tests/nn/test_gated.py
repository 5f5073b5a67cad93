"""The compiled gates of float32 against the formula in float64, and where they are not used."""

import math

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from probact.nn.beta.gated import SWISH, Gate, gated

SHAPE = (3, 6, 40, 30)  # rows longer and shorter than a block of the loop
ETAS = {
    "one": torch.tensor(1.7),
    "unit": torch.tensor(1.0),
    "one of rank 3": torch.tensor([0.4]).reshape(1, 1, 1),
    "a channel": torch.linspace(0.2, 5.0, 6).reshape(6, 1, 1),
    "a channel of rank 4": torch.linspace(0.2, 5.0, 6).reshape(1, 6, 1, 1),
    "a column": torch.linspace(0.2, 5.0, 30),
    "a row": torch.linspace(0.2, 5.0, 40).reshape(40, 1),
}


GATES = {"swish": SWISH, "leaky": Gate(0.1, 0.9, 0.0), "absolute": Gate(0.0, 0.0, 1.0)}
gates = pytest.mark.parametrize("gate", GATES.values(), ids=GATES)


def formula(u: Tensor, g: Tensor, gate: Gate) -> Tensor:
    return u * (
        gate.low + gate.rise / (1.0 + torch.exp(-g * u)) + gate.odd * torch.tanh(g * u / 2)
    )


def by_formula(u: Tensor, eta: Tensor, grad: Tensor, gate: Gate) -> tuple[Tensor, Tensor, Tensor]:
    """z, its gradient to u and to eta, in float64."""
    u, eta = u.detach().double().requires_grad_(), eta.detach().double().requires_grad_()
    z = formula(u, eta, gate)
    return z.detach(), *torch.autograd.grad(z, (u, eta), grad.double())


@gates
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", ETAS)
def test_float32_against_float64(name: str, layout: torch.memory_format, gate: Gate) -> None:
    generator = torch.Generator().manual_seed(1)
    u, grad = (torch.randn(SHAPE, generator=generator) for _ in range(2))
    u = (6.0 * u).contiguous(memory_format=layout).requires_grad_()
    eta = ETAS[name].clone().requires_grad_()
    z = gated(u, eta, gate)
    found = (z.detach(), *torch.autograd.grad(z, (u, eta), grad))
    # the last is a sum of thousands of terms of both signs
    exact = by_formula(u, eta, grad, gate)
    for got, want, atol in zip(found, exact, (5e-7, 5e-7, 1e-5), strict=True):
        scale = want.abs().max().clamp_min(1.0)
        torch.testing.assert_close(got.double() / scale, want / scale, rtol=1e-6, atol=atol)


@gates
@pytest.mark.parametrize("shape", [(5,), (7, 6), (2, 6, 63), (2, 6, 64), (0, 6, 80), ()])
def test_any_shape(shape: tuple[int, ...], gate: Gate) -> None:
    u = torch.randn(shape, generator=torch.Generator().manual_seed(2)).requires_grad_()
    etas = [torch.tensor(0.7)] + [torch.linspace(0.2, 5.0, 6).view(6, *(1,) * (u.ndim - 2))] * (
        u.ndim > 1
    )
    for eta in etas:
        z = gated(u, eta.requires_grad_(), gate)
        grad = torch.ones_like(z)
        want = by_formula(u, eta, grad, gate)
        found = (z.detach(), *torch.autograd.grad(z, (u, eta), grad))
        for got, exact in zip(found, want, strict=True):
            torch.testing.assert_close(got.double(), exact, rtol=2e-6, atol=1e-6)


@gates
def test_strided_input_and_gradient(gate: Gate) -> None:
    base = torch.linspace(-8.0, 8.0, 2 * 6 * 80 * 2).reshape(80, 2, 6, 2)
    u = base.permute(1, 2, 0, 3)[..., 0].requires_grad_()  # (2, 6, 80), no layout of its own
    eta = torch.tensor(1.3, requires_grad=True)
    z = gated(u, eta, gate)
    grad = torch.ones(()).expand(z.shape)  # strides of zero
    found = torch.autograd.grad(z, (u, eta), grad)
    for got, want in zip(found, by_formula(u, eta, grad, gate)[1:], strict=True):
        torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-6)
    dense = u.detach().contiguous().requires_grad_()
    z = gated(dense, eta, gate)
    got = torch.autograd.grad(z, dense, grad)[0]
    torch.testing.assert_close(
        got.double(), by_formula(dense, eta, grad, gate)[1], rtol=1e-5, atol=1e-6
    )


def test_ends() -> None:
    """Far from zero the values are those of ReLU; NaN stays NaN in its own place."""
    u = torch.tensor([math.nan, math.inf, 1e30, 200.0, 0.0, -200.0, -1e30], requires_grad=True)
    z = gated(u, torch.tensor(1.5))
    torch.testing.assert_close(z[1:], F.relu(u[1:]), rtol=0, atol=1e-5)
    (slope,) = torch.autograd.grad(z[2:].sum(), u)
    want = torch.tensor([0.0, 0.0, 1.0, 1.0, 0.5, 0.0, 0.0])
    torch.testing.assert_close(slope[2:], want[2:])
    assert z[0].isnan()


@gates
def test_one_result_for_any_number_of_threads(gate: Gate) -> None:
    u = torch.linspace(-9.0, 9.0, 5000).requires_grad_()
    eta, threads = torch.tensor(0.8, requires_grad=True), torch.get_num_threads()
    found = []
    try:
        for count in (1, 3):  # the loop, and tensor operations
            torch.set_num_threads(count)
            z = gated(u, eta, gate)
            found.append((z.detach(), *torch.autograd.grad(z.sum(), (u, eta))))
    finally:
        torch.set_num_threads(threads)
    for loop, plain in zip(*found, strict=True):
        torch.testing.assert_close(loop, plain, rtol=2e-6, atol=1e-6)


@gates
def test_second_derivatives_of_the_loop(gate: Gate) -> None:
    u = torch.linspace(-3.0, 3.0, 100, requires_grad=True)
    eta = torch.tensor(1.7, requires_grad=True)
    (slope,) = torch.autograd.grad(gated(u, eta, gate).sum(), u, create_graph=True)
    curve, turn = torch.autograd.grad(slope.sum(), (u, eta))
    wide, wide_eta = (x.detach().double().requires_grad_() for x in (u, eta))
    plain = formula(wide, wide_eta, gate)
    (slope,) = torch.autograd.grad(plain.sum(), wide, create_graph=True)
    want = torch.autograd.grad(slope.sum(), (wide, wide_eta))
    torch.testing.assert_close(curve.double(), want[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(turn.double(), want[1], rtol=1e-5, atol=1e-5)


@gates
def test_relative_precision_near_zero(gate: Gate) -> None:
    """The soft absolute value is quadratic at zero: nothing may cancel there."""
    u = torch.logspace(-6.0, 0.0, 200).requires_grad_()
    eta = torch.tensor(1.4)
    z = gated(u, eta, gate)
    want = by_formula(u, eta, torch.ones(200), gate)
    torch.testing.assert_close(z.detach().double(), want[0], rtol=1e-6, atol=0)
    (slope,) = torch.autograd.grad(z.sum(), u)
    torch.testing.assert_close(slope.double(), want[1], rtol=2e-6, atol=0)


def test_tensors_without_numbers() -> None:
    with FakeTensorMode():
        u, g = torch.randn(4, 5, requires_grad=True), torch.ones(())
        z = gated(u, g)
    assert z.shape == (4, 5)
