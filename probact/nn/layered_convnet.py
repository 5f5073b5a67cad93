"""Plain convolutional networks whose layers are looked into one by one (Jamroz et al. 2020).

Symbols: x (N, channels, H, W) images in [0, 1]. A layer is a 3x3 convolution, batch-norm and
ReLU; its response is what the convolution gives, before the other two. The head is one linear map
of the flattened last layer.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from probact.arrays import check_count

__all__ = ["Layer", "LayeredConvNet", "nesterov", "paper_layers"]


class Layer(NamedTuple):
    """A convolution: how many kernels, and the step between pixels."""

    width: int
    stride: int = 1


def paper_layers(depth: int, widest: int) -> tuple[Layer, ...]:
    """Layers of the networks of Jamroz et al. (2020), called depth x widest there.

    Two layers, then stages of three, each twice as wide as the one before and starting with
    stride 2. The paper's: 11x512, 11x384, 11x256, 11x192, 11x128, 8x256, 8x192, 8x128.

    Raises:
        ValueError: depth is not 2, 5, 8, 11, ..., or widest cannot be halved once a stage.

    >>> [width for width, stride in paper_layers(8, 256)]
    [64, 64, 128, 128, 128, 256, 256, 256]
    """
    check_count(depth, "depth", 2)
    check_count(widest, "widest")
    stages, rest = divmod(depth - 2, 3)
    if rest:
        raise ValueError(f"depth must be 2 and a number of threes, got {depth}")
    if widest % 2**stages:
        raise ValueError(f"widest must be a multiple of {2**stages}, got {widest}")
    first = widest // 2**stages
    layers = [Layer(first), Layer(first)]
    for stage in range(1, stages + 1):
        width = first * 2**stage
        layers += [Layer(width, stride=2), Layer(width), Layer(width)]
    return tuple(layers)


class LayeredConvNet(nn.Sequential):
    """A stack of layers `layer1`, `layer2`, ..., and a linear head on the flattened last one.

    Args:
        in_shape: (channels, H, W) of an image.
        num_classes: C.
        layers: (width, stride) of each.
        dropout: share of whole maps that are dropped after every ReLU in training; the draws
            come from torch's global generator.
        mean, scale: one number a channel; the network sees (x - mean) / scale.

    Raises:
        ValueError: no layers, sizes below one, dropout outside [0, 1), a mean or scale that is
            not one number a channel, a scale that is not positive.

    >>> net = LayeredConvNet((1, 8, 8), num_classes=10, layers=paper_layers(5, 8))
    >>> net(torch.zeros(3, 1, 8, 8)).shape, net.response_names[0]
    (torch.Size([3, 10]), 'layer1.convolution')
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        num_classes: int,
        layers: Sequence[tuple[int, int]],
        *,
        dropout: float = 0.0,
        mean: Sequence[float] | None = None,
        scale: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        names = ("channels", "H", "W", "num_classes")
        for size, name in zip((*in_shape, num_classes), names, strict=True):
            check_count(size, name)
        if not layers:
            raise ValueError("layers must name at least one convolution")
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"dropout must lie in [0, 1), got {dropout}")
        channels, height, breadth = in_shape
        self.standardise = Standardise(
            [0.0] * channels if mean is None else mean,
            [1.0] * channels if scale is None else scale,
            channels,
        )
        for number, (width, stride) in enumerate(layers, start=1):
            check_count(width, "width")
            check_count(stride, "stride")
            self.add_module(f"layer{number}", _layer(channels, width, stride, dropout))
            channels, height, breadth = width, -(-height // stride), -(-breadth // stride)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(channels * height * breadth, num_classes)
        self.response_names = tuple(f"layer{i + 1}.convolution" for i in range(len(layers)))


def _layer(before: int, after: int, stride: int, dropout: float) -> nn.Sequential:
    layer = nn.Sequential()
    layer.add_module("convolution", nn.Conv2d(before, after, 3, stride, padding=1))
    layer.add_module("normalisation", nn.BatchNorm2d(after))
    layer.add_module("relu", nn.ReLU(inplace=True))
    if dropout > 0.0:
        layer.add_module("dropout", nn.Dropout2d(dropout))
    return layer


class Standardise(nn.Module):
    """(x - mean) / scale, one of each a channel."""

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Sequence[float], scale: Sequence[float], channels: int) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("scale", scale)):
            if len(values) != channels:
                raise ValueError(
                    f"{name} must hold {channels} numbers, one a channel, got {len(values)}"
                )
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32)[:, None, None])
        if not bool((self.scale > 0.0).all()):
            raise ValueError(f"scale must be positive, got {list(scale)}")

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.scale


def nesterov(
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: float = 0.01,
    momentum: float = 0.9,
    weight_decay: float = 1e-6,
) -> torch.optim.Optimizer:
    """Stochastic gradient descent with Nesterov's momentum; defaults as in Jamroz et al. (2020).

    >>> nesterov(nn.Linear(2, 3).parameters()).defaults["lr"]
    0.01
    """
    return torch.optim.SGD(
        parameters, learning_rate, momentum=momentum, weight_decay=weight_decay, nesterov=True
    )
