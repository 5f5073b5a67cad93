"""Patterns of ResNet-18, VGG-11-BN and the ResNet-20 of CIFAR-10: replays exact at 1e-12."""

import os
from pathlib import Path

import pytest
import torch
from pattern_checks import check_jacobian, replayed
from pattern_networks import ResNet20, stirred
from safetensors.torch import load_file
from torch import nn
from torchvision.models import resnet18, vgg11_bn

SHARED = Path(os.environ.get("PROBACT_SHARED") or "PROBACT_SHARED")


def narrow_vgg():
    """VGG-11-BN with a narrow classifier: the wide one has 120 of its 130 million weights."""
    with torch.device("meta"):
        net = vgg11_bn(num_classes=10)
        net.classifier[0], net.classifier[3] = nn.Linear(25088, 32), nn.Linear(32, 32)
        net.classifier[6] = nn.Linear(32, 10)
    net = net.to_empty(device="cpu")
    for module in net.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return net


@pytest.mark.parametrize(("make", "count"), [(resnet18, 18), (narrow_vgg, 15)])
def test_torchvision_networks(make, count):
    torch.manual_seed(1)
    net = stirred(make()).double()
    x = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    pattern = replayed(net, x)
    assert len(pattern.gates) == count
    assert pattern.curved == ()
    check_jacobian(net, pattern, x)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


@pytest.mark.slow
def test_the_whole_vgg():
    net, x = stirred(vgg11_bn()).double(), torch.randn(1, 3, 64, 64, dtype=torch.float64)
    pattern = replayed(net, x)
    assert pattern.names[-2:] == ("classifier.1", "classifier.4")
    check_jacobian(net, pattern, x)


@pytest.mark.parametrize("trained", [False, True])
def test_cifar_resnet20(trained):
    net = ResNet20()
    if trained:
        path = SHARED / "data" / "weights" / "cifar10_resnet20.safetensors"
        if not path.is_file():
            pytest.skip(f"no file {path}; set PROBACT_SHARED")
        net.load_state_dict(load_file(path))
        net.eval()
    else:
        net = stirred(net)
    net = net.double()
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    pattern = replayed(net, x)
    assert len(pattern.gates) == 19
    assert pattern.names[:4] == ("relu", "layer1.0/relu", "layer1.0/relu#2", "layer1.1/relu")
    assert pattern.bits().shape == (2, 188416)
    check_jacobian(net, pattern, x)
