"""Wide ResNets: published parameter counts, pre-activation, any image, head and activations."""

import pytest
import torch
from torch import Tensor, nn

import probact as pa
from probact.nn import WideResNet


def penultimate(net: WideResNet, x: Tensor) -> Tensor:
    return nn.Sequential(*list(net)[:-1])(x)


def expected_parameters(depth: int, k: int, classes: int, channels: int) -> int:
    """Counted from the paper's table 1: convolutions without bias, two norms a block."""
    total, before, blocks = 16 * channels * 9, 16, (depth - 4) // 6
    for width in (16 * k, 32 * k, 64 * k):
        for block in range(blocks):
            inner = before if block == 0 else width
            total += 9 * inner * width + 9 * width * width + 2 * inner + 2 * width
            if block == 0 and (inner != width or width > 16 * k):
                total += inner * width
        before = width
    return total + 2 * before + before * classes + classes


@pytest.mark.parametrize(
    ("depth", "k", "classes", "millions"),
    # Zagoruyko & Komodakis 2016, tables 2 to 4 (CIFAR-10), and Tian et al. 2020 (CIFAR-100)
    [(40, 1, 10, 0.6), (16, 4, 10, 2.7), (40, 2, 10, 2.2), (16, 2, 100, 0.70), (40, 2, 100, 2.26)],
)
def test_published_parameter_counts(depth: int, k: int, classes: int, millions: float) -> None:
    net = WideResNet((3, 32, 32), classes, depth=depth, widening=k)
    count = sum(p.numel() for p in net.parameters())
    assert count == expected_parameters(depth, k, classes, 3)
    digits = 2 if classes == 100 else 1
    assert abs(count / 1e6 - millions) <= (0.5 if digits == 2 else 0.6) * 10**-digits + 1e-9
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.kernel_size[0] == 3]
    assert len(convolutions) == depth - 3  # and three of 1x1 on shortcuts


@pytest.mark.parametrize("in_shape", [(1, 8, 8), (3, 32, 32), (2, 5, 7), (4, 1, 1)])
def test_any_image(in_shape: tuple[int, int, int]) -> None:
    net = WideResNet(in_shape, 5, depth=10, widening=1).eval()
    x = torch.rand(3, *in_shape)
    a = penultimate(net, x)
    assert a.shape == (3, 64)
    assert (a >= 0).all()  # an average after a ReLU
    torch.testing.assert_close(net(x), a @ net.head.weight.T + net.head.bias)


def test_head_and_activations_are_found() -> None:
    net = WideResNet((3, 16, 16), 7, depth=10, widening=2)
    head = pa.find_head(net)
    assert head.weight.shape == (7, 128)
    assert torch.equal(head.weight, net.head.weight)
    x = torch.rand(6, 3, 16, 16)
    features = pa.capture(net, (x, torch.arange(6)))
    with torch.no_grad():
        torch.testing.assert_close(features.x, penultimate(net.eval(), x))


def test_blocks_add_to_what_they_are_given() -> None:
    """With the second convolutions at zero, a block of equal width is the identity."""
    net = WideResNet((3, 8, 8), 4, depth=16).eval()
    block = net.group2[1]
    assert block.shortcut is None
    nn.init.zeros_(block.convolution2.weight)
    x = torch.randn(2, 32, 4, 4)
    assert torch.equal(block(x), x)
    first = net.group2[0]
    nn.init.zeros_(first.convolution2.weight)
    y = torch.randn(2, 16, 8, 8)
    expected = first.shortcut(torch.relu(first.norm1(y)))  # of the activated input
    assert torch.equal(first(y), expected)
    assert expected.shape == (2, 32, 4, 4)
    assert net.group1[0].shortcut is None  # WRN-16-1 keeps its 16 channels


def test_gradients_reach_every_parameter() -> None:
    torch.manual_seed(0)
    net = WideResNet((3, 12, 12), 4, depth=10, widening=2)
    nn.functional.cross_entropy(net(torch.rand(8, 3, 12, 12)), torch.arange(8) % 4).backward()
    for name, parameter in net.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("depth", [4, 9, 11, 15, 18, 20, -2, 10.0, True])
def test_depth_is_refused(depth: object) -> None:
    with pytest.raises(ValueError, match="depth must be"):
        WideResNet((3, 8, 8), 10, depth=depth)  # type: ignore[arg-type]


def test_other_refusals() -> None:
    for shape, words in (((0, 8, 8), "channels of in_shape"), ((3, 8, 0), "W of in_shape")):
        with pytest.raises(ValueError, match=words):
            WideResNet(shape, 10, depth=10)
    with pytest.raises(ValueError, match="in_shape must be"):
        WideResNet((3, 8), 10, depth=10)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="num_classes"):
        WideResNet((3, 8, 8), 0, depth=10)
    with pytest.raises(ValueError, match="widening"):
        WideResNet((3, 8, 8), 10, depth=10, widening=0)
