"""Soft activations: against enumeration of the two regions, torch's own functions, and limits."""

import copy
from collections.abc import Callable
from functools import partial

import mpmath
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from probact.nn.beta.beta_activations import BetaAbs, BetaLeakyReLU, BetaReLU
from probact.nn.beta.beta_annealing import anneal_beta, beta_schedule

U = torch.cat(
    [torch.linspace(-6.0, 6.0, 41), torch.tensor([-1e4, -80.0, 1e-9, 80.0, 1e4])]
).double()
FAMILIES: dict[str, tuple[Callable[..., nn.Module], float, float]] = {
    "relu": (BetaReLU, 0.0, 1.0),
    "leaky": (partial(BetaLeakyReLU, 0.1), 0.1, 1.0),
    "decreasing": (partial(BetaLeakyReLU, -0.5), -0.5, 1.0),
    "abs": (BetaAbs, -1.0, 1.0),
}
families = pytest.mark.parametrize("family", FAMILIES)


def exact(u: float, eta: float, p: float, q: float) -> tuple[float, float, float]:
    """Expectation, probability of q and free energy of scores (p u, q u), to 40 digits."""
    with mpmath.workdps(40):
        scores = [mpmath.mpf(p) * u, mpmath.mpf(q) * u]
        weights = [mpmath.exp(eta * (a - max(scores))) for a in scores]
        t = [w / sum(weights) for w in weights]
        z = sum(w * a for w, a in zip(t, scores, strict=True))
        return float(z), float(t[1]), float(max(scores) + mpmath.log(sum(weights)) / eta)


@families
@pytest.mark.parametrize("beta", [0.05, 0.5, 0.8, 0.99])
def test_against_enumeration_of_the_regions(family: str, beta: float) -> None:
    make, p, q = FAMILIES[family]
    layer = make(beta=torch.tensor(beta, dtype=torch.float64))
    eta = float(layer.eta.detach())
    z, t, free = torch.tensor([exact(float(u), eta, p, q) for u in U], dtype=torch.float64).T
    t = 2.0 * t - 1.0 if family == "abs" else t
    for readout, wanted in (("expectation", z), ("probability", t), ("free_energy", free)):
        got = make(beta=torch.tensor(beta, dtype=torch.float64), readout=readout)(U)
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)
    hard = make(readout="hard")(U)
    assert torch.equal(hard, torch.maximum(p * U, q * U))


def test_torch_has_the_usual_ones() -> None:
    """beta = 1/2: to the last bit where torch has a fused function of the same formula."""
    options = {"learnable": False}
    for u in (U, U.float(), U.float().reshape(2, 23).T):
        for learnable in (False, True):
            assert torch.equal(BetaReLU(learnable=learnable)(u), F.silu(u))
        assert torch.equal(BetaReLU(readout="probability", **options)(u), torch.sigmoid(u))
        assert torch.equal(BetaAbs(readout="probability", **options)(u), torch.tanh(u))
        soft = BetaReLU(readout="free_energy", **options)(u)
        assert torch.equal(soft, F.softplus(u, threshold=50.0))
    gini = {"entropy": "gini", "learnable": False}
    quarter, third = torch.tensor([0.25, 1.0 / 3.0], dtype=torch.float64)
    got = {
        F.hardswish: BetaReLU(quarter, **gini),
        F.hardsigmoid: BetaReLU(quarter, readout="probability", **gini),
        F.hardtanh: BetaAbs(third, readout="probability", **gini),
    }
    for function, layer in got.items():
        torch.testing.assert_close(layer(U), function(U), rtol=1e-7, atol=1e-7)


@families
def test_gini_entropy_maximises_what_it_should(family: str) -> None:
    """t maximises <t, a> + H(t) / eta over a fine grid of [0, 1], and F is the maximum."""
    make, p, q = FAMILIES[family]
    beta, u = torch.tensor(0.6, dtype=torch.float64), torch.linspace(-3.0, 3.0, 25).double()
    grid = torch.linspace(0.0, 1.0, 200_001).double()
    entropy = (1.0 - grid**2 - (1.0 - grid) ** 2) / 2.0
    values = (u[:, None] * (p + (q - p) * grid)) + entropy / 1.5
    best, at = values.max(1)
    options = {"beta": beta, "entropy": "gini", "learnable": False}
    torch.testing.assert_close(make(readout="free_energy", **options)(u), best, atol=1e-9, rtol=0)
    t = grid[at]
    torch.testing.assert_close(make(**options)(u), u * (p + (q - p) * t), atol=4e-5, rtol=0)
    t = 2.0 * t - 1.0 if family == "abs" else t
    torch.testing.assert_close(make(readout="probability", **options)(u), t, atol=2e-5, rtol=0)


@families
def test_limits_of_beta(family: str) -> None:
    make, p, q = FAMILIES[family]
    hard = make(beta=torch.tensor(1.0 - 1e-12, dtype=torch.float64))
    torch.testing.assert_close(hard(U), torch.maximum(p * U, q * U), rtol=1e-6, atol=1e-10)
    linear = make(beta=torch.tensor(1e-12, dtype=torch.float64))
    torch.testing.assert_close(linear(U), (p + q) / 2.0 * U, rtol=1e-6, atol=1e-3)


@families
@pytest.mark.parametrize("options", [{}, {"readout": "free_energy"}, {"readout": "probability"}])
@pytest.mark.parametrize("channels", [None, 3])
def test_derivatives(family: str, options: dict[str, str], channels: int | None) -> None:
    u = torch.randn(4, 3, 2, dtype=torch.float64, requires_grad=True)
    layer = FAMILIES[family][0](beta=0.7, num_channels=channels, **options).double()

    def call(u: Tensor, log_eta: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"log_eta": log_eta}, (u,))

    assert torch.autograd.gradcheck(call, (u, layer.log_eta))
    assert torch.autograd.gradgradcheck(call, (u, layer.log_eta))
    assert torch.autograd.gradcheck(
        call, (u.transpose(0, 2).contiguous().transpose(0, 2), layer.log_eta)
    )


def test_derivatives_of_long_inputs() -> None:
    """Longer than a block of the fused pass, with gradients of every layout."""
    u = torch.randn(3, 100_003, dtype=torch.float64)
    pull = torch.randn(100_003, 3, dtype=torch.float64)
    wanted, got = [], []
    for function in (None, BetaReLU(torch.tensor(0.8, dtype=torch.float64))):
        x, log_eta = (
            u.clone().requires_grad_(),
            torch.tensor(4.0, dtype=torch.float64).log().requires_grad_(),
        )
        for g in (pull.T, pull.T.contiguous(), pull[:, :1].T):
            if function is None:
                eta = log_eta.exp()
                z, parameters = x * torch.sigmoid(eta * x), (x, log_eta)
            else:
                z, parameters = function(x), (x, function.log_eta)
            side = wanted if function is None else got
            side += torch.autograd.grad(z, parameters, g.expand_as(z))
    for a, b in zip(wanted, got, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


@families
def test_a_detached_gate(family: str) -> None:
    """The gradient to u is that of the linear factor, the one to log eta is as before."""
    make, p, q = FAMILIES[family]
    u = torch.randn(50, dtype=torch.float64, requires_grad=True)
    plain, detached = make(beta=0.7).double(), make(beta=0.7, detach_gate=True).double()
    torch.testing.assert_close(plain(u), detached(u))
    slope, moved = torch.autograd.grad(detached(u).sum(), (u, detached.log_eta))
    t = torch.sigmoid(plain.eta * (q - p) * u)
    torch.testing.assert_close(slope, (p + (q - p) * t).detach())
    torch.testing.assert_close(moved, torch.autograd.grad(plain(u).sum(), plain.log_eta)[0])


@families
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_precision(family: str, dtype: torch.dtype) -> None:
    """Rounded once: within one unit of the type of the float64 value of the same input."""
    make = FAMILIES[family][0]
    u = torch.linspace(-20.0, 20.0, 333).to(dtype)
    for readout in ("expectation", "probability", "free_energy"):
        got = make(beta=0.7, readout=readout)(u)
        wanted = make(beta=0.7, readout=readout).double()(u.double())
        assert got.dtype == dtype
        eps = torch.finfo(dtype).eps if dtype != torch.float32 else 1e-6
        torch.testing.assert_close(got.double(), wanted, rtol=eps, atol=eps * 1e-2 + 2e-6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = nn.Sequential(nn.Linear(3, 3), make(beta=0.7))(torch.randn(2, 3))
    assert out.dtype == torch.bfloat16
    out.sum().backward()


@families
def test_compile_and_export(family: str) -> None:
    layer, u = FAMILIES[family][0](beta=0.7), torch.randn(5, 7, requires_grad=True)
    exported = torch.export.export(layer, (u.detach(),)).module()
    torch.testing.assert_close(exported(u.detach()), layer(u.detach()))
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    wanted = torch.autograd.grad(layer(u).square().sum(), (u, layer.log_eta))
    got = torch.autograd.grad(compiled(u).square().sum(), (u, layer.log_eta))
    torch.testing.assert_close(got, wanted)


@pytest.mark.slow
def test_compiled_by_inductor() -> None:
    layer, u = BetaReLU(0.7), torch.randn(50, 70, requires_grad=True)
    try:
        out = torch.compile(layer, fullgraph=True)(u)
    except Exception as error:  # no compiler, or one that torch cannot use
        pytest.skip(f"inductor does not work here: {str(error).splitlines()[0]}")
    torch.testing.assert_close(out, layer(u))
    wanted = torch.autograd.grad(layer(u).square().sum(), (u, layer.log_eta))
    torch.testing.assert_close(torch.autograd.grad(out.square().sum(), (u, layer.log_eta)), wanted)


def test_gradients_of_each_example() -> None:
    layer, u = BetaReLU(0.7).double(), torch.randn(4, 6).double()

    def loss(log_eta: Tensor, row: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"log_eta": log_eta}, (row,)).square().sum()

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(layer.log_eta.detach(), u)
    for row, got in zip(u, each, strict=True):
        wanted = torch.autograd.grad(layer(row).square().sum(), layer.log_eta)[0]
        torch.testing.assert_close(got, wanted)


@families
def test_state_and_copies(family: str) -> None:
    layer = FAMILIES[family][0](beta=torch.tensor([0.2, 0.5, 0.9]), num_channels=3)
    other = FAMILIES[family][0](num_channels=3)
    other.load_state_dict(layer.state_dict())
    u = torch.randn(4, 3, 2)
    assert torch.equal(other(u), layer(u))
    twin = copy.deepcopy(layer)
    twin.set_beta(0.5)
    assert torch.allclose(twin.beta, torch.full((3,), 0.5))
    assert torch.allclose(layer.beta, torch.tensor([0.2, 0.5, 0.9]))
    assert torch.allclose(layer.eta, torch.tensor([0.25, 1.0, 9.0]))
    assert [n for n, _ in layer.named_parameters()] == ["log_eta"]
    fixed = FAMILIES[family][0](learnable=False)
    assert not list(fixed.parameters())
    assert list(fixed.state_dict()) == ["log_eta"]
    assert "beta=0.5" in repr(fixed)
    assert "tensor of shape (3,)" in repr(layer)


def test_annealing() -> None:
    net = nn.Sequential(BetaReLU(learnable=False), BetaAbs(num_channels=2))
    schedule = beta_schedule(0.5, 0.99, 4)
    seen = [
        (beta, net[0].beta.item(), *net[1].beta.tolist()) for beta in anneal_beta(net, schedule)
    ]
    for beta, *betas in seen:
        assert betas == pytest.approx([beta] * 3)
    assert len(seen) == 4
    with pytest.raises(ValueError, match="no layer with a beta"):
        anneal_beta(nn.ReLU(), schedule)
    with pytest.raises(ValueError, match="beta must lie in"):
        list(anneal_beta(net, [0.5, 1.0]))
    with pytest.raises(TypeError, match="net must be"):
        anneal_beta(torch.relu, schedule)
    with pytest.raises(TypeError, match="schedule must be"):
        anneal_beta(net, 0.5)
    with pytest.raises(TypeError, match="beta must be a number"):
        list(anneal_beta(net, ["a"]))


@pytest.mark.parametrize("beta", [0.0, 1.0, -0.5, 1.5, float("nan"), float("inf")])
def test_beta_outside_its_range(beta: float) -> None:
    with pytest.raises(ValueError, match="beta"):
        BetaReLU(beta)
    with pytest.raises(ValueError, match="beta"):
        BetaReLU().set_beta(beta)


def test_what_is_refused() -> None:
    with pytest.raises(TypeError, match="beta must be a number"):
        BetaReLU("0.5")
    with pytest.raises(ValueError, match="readout must be one of hard"):
        BetaReLU(readout="soft")
    with pytest.raises(ValueError, match="entropy must be"):
        BetaReLU(entropy="renyi")
    with pytest.raises(ValueError, match="detach_gate needs"):
        BetaReLU(readout="hard", detach_gate=True)
    with pytest.raises(ValueError, match="beta must be a number or"):
        BetaReLU(torch.tensor([0.5, 0.5]))
    with pytest.raises(ValueError, match="num_channels must be"):
        BetaReLU(num_channels=0)
    for slope in (1.0, 1.5):
        with pytest.raises(ValueError, match="negative_slope must be below 1"):
            BetaLeakyReLU(slope)
    with pytest.raises(ValueError, match="3 channels on axis 1"):
        BetaReLU(num_channels=3)(torch.randn(2, 4))
    with pytest.raises(ValueError, match="3 channels on axis 1"):
        BetaReLU(num_channels=3)(torch.randn(3))
    for bad in (torch.arange(3), None, torch.randn(2, dtype=torch.complex64)):
        with pytest.raises(TypeError, match="floating-point tensor"):
            BetaReLU()(bad)


@pytest.mark.gpu
@families
def test_cuda_equals_cpu(family: str) -> None:
    for channels in (None, 3):
        layer = FAMILIES[family][0](beta=0.7, num_channels=channels).double()
        u = torch.randn(4, 3, 5, dtype=torch.float64, requires_grad=True)
        wanted = torch.autograd.grad(layer(u).square().sum(), (u, layer.log_eta))
        on_gpu, v = copy.deepcopy(layer).cuda(), u.detach().cuda().requires_grad_()
        got = torch.autograd.grad(on_gpu(v).square().sum(), (v, on_gpu.log_eta))
        torch.testing.assert_close([g.cpu() for g in got], list(wanted))
