"""Soft poolings: against a loop over windows, torch's own poolings, and limits."""

import copy
import itertools

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from probact.nn.beta.beta_pooling import BetaChannelPool, BetaMaxPool2d

SHAPES = [  # kernel, stride, padding, dilation, ceil_mode
    (2, None, 0, 1, False),
    (3, 2, 1, 1, False),
    (3, 2, 1, 1, True),
    ((2, 3), (1, 2), (1, 1), (2, 1), True),
    (2, 3, 0, 1, True),
    (3, 1, 0, 2, False),
]
shapes = pytest.mark.parametrize("shape", SHAPES)


def windows(u: Tensor, shape: tuple) -> list[list[list[Tensor]]]:
    """Numbers of the windows of one channel (H, W), as `F.max_pool2d` reads it, one by one."""
    kernel, stride, padding, dilation = (
        (x, x) if isinstance(x, int) else x for x in (shape[0], shape[1] or shape[0], *shape[2:4])
    )
    rows, columns = F.max_pool2d(u[None], *shape).shape[-2:]
    found = []
    for y, x in itertools.product(range(rows), range(columns)):
        numbers = []
        for i, j in itertools.product(range(kernel[0]), range(kernel[1])):
            at_y = y * stride[0] - padding[0] + i * dilation[0]
            at_x = x * stride[1] - padding[1] + j * dilation[1]
            if 0 <= at_y < u.shape[0] and 0 <= at_x < u.shape[1]:
                numbers.append(u[at_y, at_x])
        found.append(torch.stack(numbers))
    return [found[i * columns : (i + 1) * columns] for i in range(rows)]


@shapes
@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("beta", [0.01, 0.5, 0.95])
def test_against_a_loop(shape: tuple, scale: float, beta: float) -> None:
    u = scale * torch.randn(2, 3, 9, 7, dtype=torch.float64)
    layer = BetaMaxPool2d(*shape, beta=beta).double()
    eta = layer.eta.detach()
    z, free = layer(u), BetaMaxPool2d(*shape, beta=beta, readout="free_energy").double()(u)
    t = BetaMaxPool2d(*shape, beta=beta, readout="probability").double()(u)
    hard = BetaMaxPool2d(*shape, readout="hard")(u)
    assert torch.equal(hard, F.max_pool2d(u, *shape))
    assert t.shape[:-1] == z.shape == free.shape == hard.shape
    torch.testing.assert_close(t.sum(-1), torch.ones_like(z))
    for n, c in itertools.product(range(2), range(3)):
        for y, row in enumerate(windows(u[n, c], shape)):
            for x, numbers in enumerate(row):
                weights = torch.softmax(eta * numbers, 0)
                own = t[n, c, y, x]
                torch.testing.assert_close(z[n, c, y, x], (weights * numbers).sum())
                torch.testing.assert_close(free[n, c, y, x], (eta * numbers).logsumexp(0) / eta)
                torch.testing.assert_close(own.sort()[0][-len(numbers) :], weights.sort()[0])


@shapes
def test_limits_of_beta(shape: tuple) -> None:
    u = torch.randn(2, 3, 9, 7, dtype=torch.float64)
    hard = BetaMaxPool2d(*shape, beta=torch.tensor(1.0 - 1e-10, dtype=torch.float64))(u)
    torch.testing.assert_close(hard, F.max_pool2d(u, *shape), atol=1e-8, rtol=0)
    if shape[3] == 1:  # torch's average knows no dilation
        average = F.avg_pool2d(u, *shape[:3], ceil_mode=shape[4], count_include_pad=False)
        soft = BetaMaxPool2d(*shape, beta=torch.tensor(1e-10, dtype=torch.float64))(u)
        torch.testing.assert_close(soft, average, atol=1e-8, rtol=0)


@shapes
@pytest.mark.parametrize("channels", [None, 2])
@pytest.mark.parametrize("readout", ["expectation", "free_energy"])
def test_derivatives(shape: tuple, channels: int | None, readout: str) -> None:
    layer = BetaMaxPool2d(*shape, beta=0.6, num_channels=channels, readout=readout).double()
    u = torch.randn(1, 2, 6, 5, dtype=torch.float64, requires_grad=True)

    def call(u: Tensor, log_eta: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"log_eta": log_eta}, (u,))

    assert torch.autograd.gradcheck(call, (u, layer.log_eta))
    assert torch.autograd.gradgradcheck(call, (u, layer.log_eta), fast_mode=True)
    assert torch.autograd.gradcheck(call, (u[0], layer.log_eta), fast_mode=True)


def test_derivatives_of_many_images() -> None:
    """More than one block of images, with a gradient that is not contiguous."""
    u = torch.randn(9, 8, 64, 64, dtype=torch.float64, requires_grad=True)
    layer = BetaMaxPool2d(2, beta=0.7, num_channels=8).double()
    pull = torch.randn(8, 9, 32, 32, dtype=torch.float64).transpose(0, 1)
    got = torch.autograd.grad(layer(u), (u, layer.log_eta), pull)
    blocks = u.unflatten(2, (32, 2)).unflatten(4, (32, 2)).transpose(3, 4).flatten(4)
    t = (layer.eta.view(-1, 1, 1, 1) * blocks).softmax(-1)
    wanted = torch.autograd.grad((t * blocks).sum(-1), (u, layer.log_eta), pull)
    torch.testing.assert_close(got, wanted)


def test_a_detached_gate() -> None:
    u = torch.randn(2, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    plain = BetaMaxPool2d(3, 2, 1, beta=0.7).double()
    detached = BetaMaxPool2d(3, 2, 1, beta=0.7, detach_gate=True).double()
    torch.testing.assert_close(plain(u), detached(u))
    slope, moved = torch.autograd.grad(detached(u).sum(), (u, detached.log_eta))
    t = BetaMaxPool2d(3, 2, 1, beta=0.7, readout="probability").double()(u)
    assert slope.sum().item() == pytest.approx(t.sum().item())
    assert float(slope.min()) >= 0.0
    torch.testing.assert_close(moved, torch.autograd.grad(plain(u).sum(), plain.log_eta)[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_precision(dtype: torch.dtype) -> None:
    u = (20.0 * torch.randn(2, 3, 8, 8)).to(dtype)
    for layer in (BetaMaxPool2d(3, 2, 1), BetaChannelPool(1)):
        got, wanted = layer(u), copy.deepcopy(layer).double()(u.double())
        assert got.dtype == dtype
        eps = max(torch.finfo(dtype).eps, 2e-6)
        torch.testing.assert_close(got.double(), wanted, rtol=eps, atol=1e-5)


@pytest.mark.parametrize("layer", [BetaMaxPool2d(3, 2, 1, beta=0.7), BetaChannelPool(2, beta=0.7)])
def test_compile_and_export(layer: torch.nn.Module) -> None:
    u = torch.randn(2, 4, 8, 8, requires_grad=True)
    exported = torch.export.export(layer, (u.detach(),)).module()
    torch.testing.assert_close(exported(u.detach()), layer(u.detach()))
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    wanted = torch.autograd.grad(layer(u).square().sum(), (u, layer.log_eta))
    got = torch.autograd.grad(compiled(u).square().sum(), (u, layer.log_eta))
    torch.testing.assert_close(got, wanted)


def test_channel_pool() -> None:
    u = torch.randn(2, 6, 3, dtype=torch.float64, requires_grad=True)
    layer = BetaChannelPool(2, beta=0.7).double()
    eta, groups = layer.eta.detach(), u.detach().reshape(2, 2, 3, 3)
    t = torch.softmax(eta * groups, 2)
    torch.testing.assert_close(layer(u), (t * groups).sum(2))
    torch.testing.assert_close(BetaChannelPool(2, beta=0.7, readout="probability").double()(u), t)
    free = BetaChannelPool(2, beta=0.7, readout="free_energy").double()(u)
    torch.testing.assert_close(free, (eta * groups).logsumexp(2) / eta)
    assert torch.equal(BetaChannelPool(2, readout="hard")(u), groups.amax(2))
    softmax = BetaChannelPool(1, readout="probability", learnable=False)
    torch.testing.assert_close(softmax(u)[:, 0], u.softmax(1))
    assert torch.autograd.gradcheck(layer, (u,))
    each = BetaChannelPool(2, beta=torch.tensor([0.2, 0.9]), num_channels=2).double()
    assert torch.autograd.gradgradcheck(each, (u,))
    torch.testing.assert_close(each(u)[:, :1], BetaChannelPool(1, beta=0.2).double()(u[:, :3]))


def test_state_and_copies() -> None:
    layer = BetaMaxPool2d(2, beta=torch.tensor([0.2, 0.9]), num_channels=2)
    other = BetaMaxPool2d(2, num_channels=2)
    other.load_state_dict(layer.state_dict())
    u = torch.randn(3, 2, 4, 4)
    assert torch.equal(other(u), layer(u))
    assert torch.equal(copy.deepcopy(layer)(u), layer(u))
    assert torch.allclose(layer(u[0]), layer(u)[0])
    assert "kernel_size=(2, 2), stride=(2, 2)" in repr(layer)
    assert "groups=2" in repr(BetaChannelPool(2))


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="kernel_size must be an integer"):
        BetaMaxPool2d(0)
    with pytest.raises(ValueError, match="kernel_size must be an integer or a pair"):
        BetaMaxPool2d((1, 2, 3))
    with pytest.raises(ValueError, match="each of stride"):
        BetaMaxPool2d(2, (0, 1))
    with pytest.raises(ValueError, match="padding must be at most half"):
        BetaMaxPool2d(2, padding=2)
    with pytest.raises(ValueError, match="smaller than a window"):
        BetaMaxPool2d(5)(torch.randn(1, 1, 4, 4))
    with pytest.raises(ValueError, match=r"must be \(N, C, H, W\)"):
        BetaMaxPool2d(2)(torch.randn(4, 4))
    with pytest.raises(ValueError, match="beta must lie in"):
        BetaMaxPool2d(2, beta=1.0)
    with pytest.raises(TypeError, match="floating-point"):
        BetaMaxPool2d(2)(torch.ones(1, 1, 4, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="groups must be an integer"):
        BetaChannelPool(0)
    with pytest.raises(ValueError, match="num_channels must be groups"):
        BetaChannelPool(2, num_channels=3)
    with pytest.raises(ValueError, match="multiple of 2 channels"):
        BetaChannelPool(2)(torch.randn(1, 3))


@pytest.mark.gpu
def test_cuda_equals_cpu() -> None:
    for channels, shape in itertools.product((None, 3), SHAPES):
        layer = BetaMaxPool2d(*shape, beta=0.7, num_channels=channels).double()
        u = torch.randn(4, 3, 9, 8, dtype=torch.float64, requires_grad=True)
        wanted = torch.autograd.grad(layer(u).square().sum(), (u, layer.log_eta))
        on_gpu, v = copy.deepcopy(layer).cuda(), u.detach().cuda().requires_grad_()
        got = torch.autograd.grad(on_gpu(v).square().sum(), (v, on_gpu.log_eta))
        torch.testing.assert_close([g.cpu() for g in got], list(wanted))
