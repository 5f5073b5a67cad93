"""The all-convolutional network: layers of the paper, options, training, refusals."""

import pytest
import torch
from torch import nn

from probact.nn import train_classifier
from probact.nn.large_cnn import LargeCNN
from probact.nn.orthogonal.network import orthogonalize_network

# channels in units of 96, kernel, stride, side of the maps of a 32x32 image; as printed
PRINTED = [
    *[(1, 3, 1, 32), (1, 3, 1, 32), (1, 3, 2, 16)],
    *[(2, 3, 1, 16), (2, 3, 1, 16), (2, 3, 2, 8)],
    *[(2, 3, 1, 6), (2, 1, 1, 6)],
]


@pytest.mark.parametrize("width", [96, 5])
def test_layers_of_the_paper(width: int) -> None:
    net = LargeCNN((3, 32, 32), num_classes=10, width=width)
    x = torch.zeros(1, 3, 32, 32)
    before, expected = 3, 0
    for number, (units, kernel, stride, side) in enumerate(PRINTED, start=1):
        layer = net.get_submodule(f"layer{number}")
        assert [type(part) for part in layer] == [nn.Conv2d, nn.ReLU]
        assert layer.convolution.stride == (stride, stride)
        x = layer(x)
        assert x.shape == (1, units * width, side, side)
        expected += units * width * (before * kernel**2 + 1)
        before = units * width
    expected += 10 * (before + 1)
    assert sum(p.numel() for p in net.parameters()) == expected
    if width == 96:
        assert round(expected / 1e6, 2) == 1.37  # as the paper says


def test_start() -> None:
    net = LargeCNN((3, 12, 12), num_classes=10, width=24)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            assert bool((module.bias == 0.0).all())
            fans = (module.in_channels + module.out_channels) * module.kernel_size[0] ** 2
            limit = (6.0 / fans) ** 0.5  # Glorot & Bengio 2010, eq. (16)
            assert 0.9 * limit < float(module.weight.detach().abs().max()) <= limit


@pytest.mark.parametrize("shape", [(1, 9, 9), (3, 16, 16), (1, 14, 28)])
def test_options_and_sizes(shape: tuple[int, int, int]) -> None:
    seen: list[int] = []

    def swish(channels: int) -> nn.Module:
        seen.append(channels)
        return nn.SiLU()

    net = LargeCNN(shape, 7, width=4, activation=swish, batch_norm=True)
    assert seen == [4, 4, 4, 8, 8, 8, 8, 8]
    assert [type(part) for part in net.layer1] == [nn.Conv2d, nn.BatchNorm2d, nn.SiLU]
    assert net(torch.rand(2, *shape)).shape == (2, 7)


def test_it_learns_with_orthogonal_filters() -> None:
    """Bars down or across."""
    torch.manual_seed(0)
    labels = torch.arange(40) % 2
    images = 0.1 * torch.rand(40, 1, 12, 12)
    for i, label in enumerate(labels.tolist()):
        place = int(torch.randint(12, ()))
        images[i, 0, place if label else slice(None), slice(None) if label else place] += 1.0
    net = LargeCNN((1, 12, 12), 2, width=6, batch_norm=True)
    record = orthogonalize_network(net, skip=["classifier"])
    assert record.left == {"classifier": "skipped"}
    assert len(record.taken) == 8
    *_, last = train_classifier(net, images, labels, epochs=8, batch_size=10, learning_rate=0.01)
    assert last.loss < 0.3 < 0.69
    assert float((net(images).argmax(1) == labels).float().mean()) > 0.9  # of the last batches


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        ((3, 32), {}, r"in_shape must be \(channels, H, W\)"),
        ((0, 32, 32), {}, "channels of in_shape must be an integer of at least 1"),
        ((3, 32, 8), {}, "W of in_shape must be an integer of at least 9, got 8"),
        ((3, 32, 32), {"width": 0}, "width must be"),
        ((3, 32, 32), {"width": 9.6}, "width must be"),
    ],
)
def test_refusals(shape: tuple[int, ...], options: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        LargeCNN(shape, 10, **options)
