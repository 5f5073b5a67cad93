"""Convolutional networks in layers: the paper's widths, shapes, dropout, training, refusals."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import probact as pa
from probact.nn import Layer, LayeredConvNet, nesterov, paper_layers, train_classifier

# as printed in the paper's code, (kernels, stride)
PRINTED_11X512 = [
    *[(64, 1), (64, 1)],
    *[(128, 2), (128, 1), (128, 1)],
    *[(256, 2), (256, 1), (256, 1)],
    *[(512, 2), (512, 1), (512, 1)],
]
MEAN, SCALE = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def small(seed: int = 0, **options: Any) -> LayeredConvNet:
    torch.manual_seed(seed)
    return LayeredConvNet((1, 8, 8), num_classes=3, layers=paper_layers(5, 8), **options)


def stripes(count: int) -> tuple[Tensor, Tensor]:
    """8x8 images of noise with one of three rows lit, which is the label."""
    labels = torch.arange(count) % 3
    images = 0.3 * torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    images[torch.arange(count), 0, 2 * labels] += 0.7
    return images, labels


def test_layers_of_the_paper() -> None:
    assert list(paper_layers(11, 512)) == PRINTED_11X512
    for widest in (384, 256, 192, 128):
        scaled = [(width * widest // 512, stride) for width, stride in PRINTED_11X512]
        assert list(paper_layers(11, widest)) == scaled
    for widest in (256, 192, 128):
        scaled = [(width * widest // 256, stride) for width, stride in PRINTED_11X512[:8]]
        assert list(paper_layers(8, widest)) == scaled
    assert paper_layers(2, 5) == (Layer(5, 1), Layer(5, 1))


@pytest.mark.parametrize(
    ("depth", "widest", "in_shape", "last"),
    [
        (11, 16, (3, 32, 32), (16, 4, 4)),
        (8, 8, (3, 32, 32), (8, 8, 8)),
        (8, 8, (3, 42, 42), (8, 11, 11)),  # 42 -> 21 -> 11
        (5, 4, (1, 7, 9), (4, 4, 5)),
        (2, 3, (2, 1, 1), (3, 1, 1)),
    ],
)
def test_shapes(depth: int, widest: int, in_shape: tuple[int, int, int], last: Any) -> None:
    net = LayeredConvNet(in_shape, num_classes=6, layers=paper_layers(depth, widest)).eval()
    x = torch.rand(2, *in_shape)
    assert net(x).shape == (2, 6)
    assert net.head.in_features == math.prod(last)
    assert len(net.response_names) == depth
    shape = (2, *last)
    seen: list[Tensor] = []
    hook = net.get_submodule(net.response_names[-1]).register_forward_hook(
        lambda *call: seen.append(call[2])
    )
    net(x)
    hook.remove()
    assert seen[0].shape == shape
    widths = [m.out_channels for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert widths == [layer.width for layer in paper_layers(depth, widest)]


def test_any_list_of_layers() -> None:
    net = LayeredConvNet((2, 9, 6), num_classes=4, layers=[(5, 3), (7, 1)])
    assert net(torch.rand(3, 2, 9, 6)).shape == (3, 4)
    assert net.head.in_features == 7 * 3 * 2


def test_parameters_of_8x256_on_cifar10() -> None:
    layers = paper_layers(8, 256)
    net = LayeredConvNet((3, 32, 32), num_classes=10, layers=layers)
    before = [3, *(layer.width for layer in layers[:-1])]
    count = sum(9 * a * w + w + 2 * w for a, (w, _) in zip(before, layers, strict=True))
    count += 256 * 8 * 8 * 10 + 10
    assert sum(p.numel() for p in net.parameters()) == count


def test_response_is_the_convolution_of_the_standardised_image() -> None:
    torch.manual_seed(1)
    net = LayeredConvNet((3, 6, 6), num_classes=2, layers=[(4, 2), (5, 1)], mean=MEAN, scale=SCALE)
    x = torch.rand(7, 3, 6, 6)
    first = net.layer1.convolution
    standard = (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(SCALE)[:, None, None]
    expected = nn.functional.conv2d(standard, first.weight, first.bias, stride=2, padding=1)
    found = pa.capture(net, x, layer=net.response_names[0], batch_size=3).x
    torch.testing.assert_close(found, expected.mean((2, 3)).detach())
    assert bool((found < 0).any())  # before the ReLU


def test_dropout_drops_whole_maps_in_training_only() -> None:
    net = small(dropout=0.5)
    maps = net.layer1(torch.rand(64, 1, 8, 8) + 1.0).flatten(2)  # (64, 2, 64)
    dropped = (maps == 0.0).all(2)
    assert 0.2 < float(dropped.double().mean()) < 0.8
    x = torch.rand(4, 1, 8, 8)
    net.eval()
    assert torch.equal(net(x), net(x))
    assert not any(isinstance(m, nn.Dropout2d) for m in small().modules())


def test_training_by_the_paper_learns_and_repeats() -> None:
    def trained(seed: int) -> tuple[Tensor, list[float]]:
        net = small(seed=3, dropout=0.2)
        steps = train_classifier(
            net, *stripes(48), epochs=6, batch_size=8, seed=seed, optimiser=nesterov
        )
        return net.head.weight.detach(), [epoch.loss for epoch in steps][1:]

    first, again, other = trained(1), trained(1), trained(2)
    assert torch.equal(first[0], again[0])
    assert first[1] == again[1]
    assert not torch.equal(first[0], other[0])
    assert first[1][-1] < 0.5 * math.log(3.0)  # the loss of a guess


def test_nesterov_takes_the_step_of_its_definition() -> None:
    weight = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    optimiser = nesterov([weight])
    value, velocity = 2.0, 0.0
    for _ in range(5):  # of w^2 / 2, whose gradient is w
        optimiser.zero_grad()
        (0.5 * weight**2).sum().backward()
        optimiser.step()
        gradient = value + 1e-6 * value
        velocity = 0.9 * velocity + gradient
        value -= 0.01 * (gradient + 0.9 * velocity)
    np.testing.assert_allclose(weight.item(), value, rtol=1e-14)


def test_own_optimiser_keeps_its_rate() -> None:
    made: list[torch.optim.Optimizer] = []

    def watched(parameters: Any) -> torch.optim.Optimizer:
        made.append(nesterov(parameters, learning_rate=0.03))
        return made[0]

    steps = train_classifier(small(), *stripes(12), epochs=2, batch_size=4, optimiser=watched)
    assert [made[0].param_groups[0]["lr"] for _ in steps] == [0.03] * 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((7, 64), "depth must be 2 and a number of threes, got 7"),
        ((1, 64), "depth must be an integer of at least 2, got 1"),
        ((8, 6), "widest must be a multiple of 4, got 6"),
        ((8, 0), "widest must be an integer of at least 1, got 0"),
    ],
)
def test_what_paper_layers_refuses(arguments: tuple[int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        paper_layers(*arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": []}, "at least one convolution"),
        ({"layers": [(0, 1)]}, "width must be an integer of at least 1, got 0"),
        ({"layers": [(4, 0)]}, "stride must be an integer of at least 1, got 0"),
        ({"in_shape": (3, 0, 8)}, "H must be an integer of at least 1, got 0"),
        ({"num_classes": 0}, "num_classes must be an integer of at least 1, got 0"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1.0"),
        ({"dropout": -0.1}, "dropout must lie in"),
        ({"mean": [0.5]}, "mean must hold 3 numbers, one a channel, got 1"),
        ({"scale": [1.0, 0.0, 1.0]}, "scale must be positive"),
        ({"scale": [1.0, math.nan, 1.0]}, "scale must be positive"),
    ],
)
def test_what_the_network_refuses(change: dict[str, Any], message: str) -> None:
    options = {"in_shape": (3, 8, 8), "num_classes": 4, "layers": [(4, 1)], **change}
    with pytest.raises(ValueError, match=message):
        LayeredConvNet(**options)
