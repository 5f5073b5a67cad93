"""Softened networks: limits, shared tensors, checkpoints, functional calls, and refusals."""

import copy
from typing import Any

import pytest
import torch
import torchvision
from torch import nn
from torch.nn.utils import parametrizations

from probact.nn import ConvNet, WideResNet
from probact.nn.beta.beta_activations import BetaAbs, BetaLeakyReLU, BetaReLU
from probact.nn.beta.softening import harden, soften

HARD = 1.0 - 1e-7


def conv_net() -> nn.Module:
    return ConvNet((3, 16, 16), 10, 8, width=4).eval()


IMAGES = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


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
