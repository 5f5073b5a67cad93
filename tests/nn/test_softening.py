"""Softened networks: limits, shared tensors, checkpoints, functional calls, and refusals."""

import copy
import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from probact.nn import ConvNet, WideResNet
from probact.nn.beta.beta_activations import BetaAbs, BetaLeakyReLU, BetaReLU
from probact.nn.beta.beta_pooling import BetaChannelPool, BetaMaxPool2d
from probact.nn.beta.softening import harden, soften

HARD = 1.0 - 1e-7


def conv_net() -> nn.Module:
    return ConvNet((3, 16, 16), 10, 8, width=4).eval()


IMAGES = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Functional(nn.Module):
    """Calls activations in every way torch has, and one module twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.act = nn.ReLU()
        self.also = self.act
        self.listed = [self.act]

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x), inplace=True)
        x = F.max_pool2d(torch.relu(x - 0.1), 2, stride=1)
        x = F.leaky_relu(self.second(x), 0.2) + x[..., 1:-1, 1:-1].sub(0.1).relu()
        return self.listed[0](self.also(self.act(x) - 0.2) - 0.1)


class Branching(Functional):
    """Cannot be traced."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.sum() > 0 else x


def test_hard_limit_of_resnet18() -> None:
    net, x = torchvision.models.resnet18().eval(), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        wanted = net(x)
        torch.testing.assert_close(soften(net, HARD)(x), wanted, atol=1e-5, rtol=0)
        soft = soften(net)
        assert (soft(x) - wanted).abs().max() > 1e-3
        assert torch.equal(harden(soft)(x), wanted)


@pytest.mark.parametrize("make", [conv_net, lambda: WideResNet((3, 16, 16), 10, depth=10).eval()])
def test_hard_limit(make: Any) -> None:
    net = make()
    with torch.no_grad():
        torch.testing.assert_close(soften(net, HARD)(IMAGES), net(IMAGES), atol=1e-5, rtol=0)


def test_one_half_is_the_net_with_silu() -> None:
    net = conv_net()
    twin = copy.deepcopy(net)
    for at, module in enumerate(twin.features):
        if isinstance(module, nn.ReLU):
            twin.features[at] = nn.SiLU()
    for learnable in (True, False):
        soft = soften(net, 0.5, learnable=learnable, keep=["MaxPool2d"])
        assert torch.equal(soft(IMAGES), twin(IMAGES))


def test_tensors_are_shared_and_the_net_unchanged() -> None:
    net = torchvision.models.resnet18()
    before = [(name, type(m)) for name, m in net.named_modules()]
    modes = [m.training for m in net.modules()]
    net.bn1.eval()
    soft = soften(net)
    assert [(name, type(m)) for name, m in net.named_modules()] == before
    assert sum(modes) - 1 == sum(m.training for m in net.modules())
    assert not soft.bn1.training
    own = dict(soft.named_parameters(remove_duplicate=False))
    for name, parameter in net.named_parameters():
        assert own.pop(name) is parameter
    assert all(name.endswith("log_eta") for name in own)
    buffers = dict(soft.named_buffers())
    assert all(buffers[name] is buffer for name, buffer in net.named_buffers())
    assert len([m for m in soft.modules() if isinstance(m, BetaReLU)]) == 9  # as many as ReLUs
    hard = harden(soft)
    assert {k: v.data_ptr() for k, v in hard.state_dict().items()} == {
        k: v.data_ptr() for k, v in net.state_dict().items()
    }
    assert [(name, type(m)) for name, m in hard.named_modules()] == before


def test_checkpoints() -> None:
    net, other = conv_net(), conv_net()
    plain = copy.deepcopy(other.state_dict())
    soft = soften(net, 0.7)
    with pytest.raises(RuntimeError, match="log_eta"):
        soft.load_state_dict(plain)
    missing, unexpected = soft.load_state_dict(plain, strict=False)
    assert not unexpected
    assert len(missing) == 6
    assert all(key.endswith("log_eta") for key in missing)
    assert torch.equal(net(IMAGES), other(IMAGES))
    harden(soften(conv_net())).load_state_dict(plain)
    with torch.no_grad():
        soft.features[2].log_eta.fill_(1.5)
    again = soften(conv_net())
    again.load_state_dict(soft.state_dict())
    assert torch.equal(again(IMAGES), soft(IMAGES))
    conv_net().load_state_dict(harden(again).state_dict())


def test_functions_in_a_forward_pass() -> None:
    net = Functional()
    soft = soften(net, 0.5)
    functions = soft.soft_functions
    assert sorted(functions) == ["leaky_relu_0_2", "max_pool2d_2_1_0_1_False", "relu"]
    assert isinstance(functions["max_pool2d_2_1_0_1_False"], BetaMaxPool2d)
    x = F.silu(net.first(IMAGES))
    x = BetaMaxPool2d(2, 1)(F.silu(x - 0.1))
    x = BetaLeakyReLU(0.2)(net.second(x)) + F.silu(x[..., 1:-1, 1:-1] - 0.1)
    x = F.silu(F.silu(F.silu(x) - 0.2) - 0.1)
    torch.testing.assert_close(soft(IMAGES), x)
    assert soft.act is soft.also is soft.listed[0]
    assert type(soft.act) is BetaReLU
    assert type(net) is Functional
    assert isinstance(soft, Functional)
    torch.testing.assert_close(soften(net, HARD)(IMAGES), net(IMAGES), atol=1e-5, rtol=0)
    hard = harden(soft)
    assert type(hard) is Functional
    assert torch.equal(hard(IMAGES), net(IMAGES))
    assert list(hard.state_dict()) == list(net.state_dict())
    soft(IMAGES).sum().backward()
    assert functions["relu"].log_eta.grad.abs() > 0
    twin = copy.deepcopy(soft)
    assert torch.equal(twin(IMAGES), soft(IMAGES))
    assert twin.first.weight is not soft.first.weight


def test_a_net_that_cannot_be_traced() -> None:
    net = Branching()
    with pytest.raises(ValueError, match="pass inputs="):
        soften(net)
    soft = soften(net, HARD, inputs=(IMAGES,))
    torch.testing.assert_close(soft(IMAGES), net(IMAGES), atol=1e-5, rtol=0)
    assert net.training


def test_a_call_that_appears_later() -> None:
    class Late(nn.Module):
        steep = False

        def forward(self, x: Tensor) -> Tensor:
            return F.leaky_relu(x, 0.5) if self.steep else F.relu(x)

    soft = soften(Late())
    soft.steep = True
    with pytest.raises(RuntimeError, match="leaky_relu"):
        soft(IMAGES)


@pytest.mark.parametrize("find", [{}, {"inputs": (torch.rand(2, 3),)}])
def test_unknown_ones_are_listed(find: dict[str, Any]) -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.GELU(), nn.ReLU6(), nn.ELU(), nn.SiLU(), nn.PReLU())
    with pytest.raises(ValueError, match=r"1 \(GELU\), 2 \(ReLU6\), 3 \(ELU\), 5 \(PReLU\)"):
        soften(net, **find)
    with pytest.raises(ValueError, match=r"know 3 \(ELU\), 5 \(PReLU\)"):
        soften(net, keep=["1", nn.ReLU6], **find)
    soft = soften(net, keep=["GELU", "ReLU6", "3", "PReLU"], **find)
    assert [type(m) for m in soft] == [type(m) for m in net]

    class Gelu(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.gelu(x) + F.max_pool2d(x, 1, return_indices=True)[0].max()

    with pytest.raises(ValueError, match="gelu in Gelu"):
        soften(Gelu(), **({"inputs": (IMAGES,)} if find else {}))
    with pytest.raises(ValueError, match=r"MaxPool2d"):
        soften(nn.Sequential(nn.MaxPool2d(2, return_indices=True)))


class Calling(nn.Module):
    """One function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.mark.parametrize("find", [{}, {"inputs": (IMAGES,)}])
@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("selu", torch.selu),
        ("celu", torch.celu),
        ("prelu", lambda x: x.prelu(torch.tensor([0.1]))),
        ("threshold", lambda x: torch.threshold(x, 0.0, 0.0)),
        ("rrelu", torch.rrelu),
        ("hardshrink", lambda x: x.hardshrink()),
        ("max_pool1d", lambda x: torch.max_pool1d(x.flatten(1, 2), 2)),
        ("fractional_max_pool2d", lambda x: F.fractional_max_pool2d(x, 2, output_size=4)),
    ],
)
def test_unknown_calls_are_listed(name: str, function: Any, find: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"know these calls: {name} in Calling"):
        soften(Calling(function), **find)


def test_windows_of_the_size_of_the_image() -> None:
    net = Calling(lambda x: F.max_pool2d(x, x.shape[2:]))
    with pytest.raises(ValueError, match=r"max_pool2d is a number only when .* pass inputs="):
        soften(net)
    soft = soften(net, HARD, inputs=(IMAGES,))
    torch.testing.assert_close(soft(IMAGES), net(IMAGES), atol=1e-5, rtol=0)


def test_softened_again() -> None:
    """Soft layers stay as they are, and forward passes keep the names of their arguments."""
    soft = soften(Functional(), 0.6)
    torch.testing.assert_close(soften(soft, 0.9)(IMAGES), soft(IMAGES))
    assert list(inspect.signature(soft.forward).parameters) == ["x"]


def test_hard_layers_below_functions() -> None:
    """A parent's softened functions leave alone those that a layer with a beta calls."""

    class Parent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act, self.pool = nn.ReLU(), nn.MaxPool2d(2)

        def forward(self, x: Tensor) -> Tensor:
            return F.max_pool2d(self.pool(self.act(x)) + F.relu(x - 1.0)[..., ::2, ::2], 2)

    soft, x = soften(Parent(), 0.5), torch.randn(2, 3, 8, 8)
    soft.act.readout = soft.pool.readout = "hard"
    below = F.max_pool2d(F.relu(x), 2) + F.silu(x - 1.0)[..., ::2, ::2]
    torch.testing.assert_close(soft(x), BetaMaxPool2d(2)(below))


def test_hard_readouts_are_softened() -> None:
    layers = [BetaReLU(), BetaLeakyReLU(0.2), BetaAbs(), BetaMaxPool2d(2, 1), BetaChannelPool(3)]
    wanted = [layer(IMAGES) for layer in layers]
    for layer, value in zip(layers, wanted, strict=True):
        layer.readout = "hard"
        soft = soften(nn.Sequential(layer), 0.5)
        torch.testing.assert_close(soft(IMAGES), value)
        again = soften(harden(soft), 0.5)
        torch.testing.assert_close(again(IMAGES), value)


def test_what_keep_and_inputs_must_be() -> None:
    net = conv_net()
    for keep in ("ReLU", nn.ReLU, [3]):
        with pytest.raises(TypeError, match="keep must be a list"):
            soften(net, keep=keep)
    with pytest.raises(ValueError, match=r"keep names Relu, features\.99: no such"):
        soften(net, keep=["features.99", "Relu", "GELU", "gelu", "features.2"])
    with pytest.raises(TypeError, match="inputs must be a tuple"):
        soften(net, inputs=IMAGES)


def test_keep_inside_a_module_that_calls_functions() -> None:
    with pytest.raises(ValueError, match="keep cannot hold"):
        soften(Functional(), keep=["act"])


def test_own_absolute_values_and_leaky_relu() -> None:
    net = nn.Sequential(BetaAbs(readout="hard", learnable=False), nn.LeakyReLU(0.3))
    soft = soften(net, 0.8)
    assert [type(m) for m in soft] == [BetaAbs, BetaLeakyReLU]
    x = torch.randn(5)
    assert torch.equal(harden(soft)(x), net(x))
    assert isinstance(soften(nn.ReLU()), BetaReLU)
    with pytest.raises(ValueError, match="negative_slope"):
        soften(nn.LeakyReLU(1.5))


def test_parametrized_weights_stay_so() -> None:
    net = nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 4)), nn.ReLU())
    soft = soften(net, HARD)
    x = torch.randn(5, 3)
    torch.testing.assert_close(soft(x), net(x), atol=1e-5, rtol=0)
    with torch.no_grad():
        net[0].parametrizations.weight.original0.mul_(2.0)
    torch.testing.assert_close(soft(x), net(x), atol=1e-5, rtol=0)
    assert list(harden(soft).state_dict()) == list(net.state_dict())


def test_hooks_are_kept() -> None:
    net, seen = conv_net(), []
    handle = net.features[2].register_forward_hook(lambda m, i, o: seen.append(type(m)))
    soft = soften(net)
    soft(IMAGES)
    assert seen == [BetaReLU]
    handle.remove()  # from the original only
    soft(IMAGES)
    net(IMAGES)
    assert seen == [BetaReLU, BetaReLU]


def test_compile_and_export_of_softened_nets() -> None:
    soft = soften(Functional(), 0.7)
    compiled = torch.compile(soft, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(IMAGES), soft(IMAGES))
    for net in (soft, soften(conv_net(), 0.7)):
        exported = torch.export.export(net, (IMAGES,)).module()
        torch.testing.assert_close(exported(IMAGES), net(IMAGES))


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0])
def test_beta_outside_its_range(beta: float) -> None:
    with pytest.raises(ValueError, match="beta"):
        soften(conv_net(), beta)


def test_what_is_no_network() -> None:
    for function in (soften, harden):
        with pytest.raises(TypeError, match="net must be a Python module"):
            function(torch.relu)


@pytest.mark.gpu
def test_softened_on_its_device() -> None:
    net = conv_net().cuda()
    soft = soften(net, HARD)
    assert all(p.is_cuda for p in soft.parameters())
    torch.testing.assert_close(soft(IMAGES.cuda()), net(IMAGES.cuda()), atol=1e-4, rtol=0)
