"""Functions that a forward pass calls, modules that are not known, and what may be kept."""

import copy
import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from probact.nn import ConvNet
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


def test_compile_and_export_of_softened_nets() -> None:
    soft = soften(Functional(), 0.7)
    compiled = torch.compile(soft, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(IMAGES), soft(IMAGES))
    for net in (soft, soften(conv_net(), 0.7)):
        exported = torch.export.export(net, (IMAGES,)).module()
        torch.testing.assert_close(exported(IMAGES), net(IMAGES))
