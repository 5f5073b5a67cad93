"""Wide residual networks WRN-d-k (Zagoruyko & Komodakis 2016), the networks of distillation.

Symbols: d = 6 n + 4 depth, n >= 1 blocks a group; k >= 1 widening; groups of 16 k, 32 k and 64 k
channels; x (N, channels, H, W) images; a (N, 64 k) penultimate activations, averages of a ReLU's
output and so >= 0; W (C, 64 k) and b (C,) of the head.
"""

import torch
from torch import Tensor, nn

from probact.arrays import check_count

__all__ = ["WideResNet"]


class WideResNet(nn.Sequential):
    """WRN-depth-widening: a 3x3 convolution, three groups of pre-activated blocks, a linear head.

    The second and third group halve the image. Convolutions start as He et al. 2015 do (fan out).
    Depth counts convolutions: the first, 6 n in blocks, 3 of 1x1 pixel on shortcuts.

    Args:
        in_shape: (channels, H, W) of an image.
        num_classes: C.
        depth: d, one of 10, 16, 22, 28, 34, 40, ...
        widening: k.

    Raises: ValueError for a depth that is not 6 n + 4, or counts below one.

    >>> WideResNet((3, 32, 32), num_classes=100, depth=16, widening=2).head.weight.shape
    torch.Size([100, 128])
    """

    def __init__(
        self, in_shape: tuple[int, int, int], num_classes: int, *, depth: int, widening: int = 1
    ) -> None:
        if not isinstance(in_shape, tuple | list) or len(in_shape) != 3:
            raise ValueError(f"in_shape must be (channels, H, W), got {in_shape!r}")
        for name, value in zip(("channels", "H", "W"), in_shape, strict=True):
            check_count(value, f"{name} of in_shape")
        check_count(num_classes, "num_classes")
        check_count(widening, "widening")
        check_count(depth, "depth")
        if depth < 10 or depth % 6 != 4:
            raise ValueError(f"depth must be 6 n + 4 with n >= 1 (10, 16, ...), got {depth}")
        blocks, (narrow, middle, wide) = (depth - 4) // 6, (c * widening for c in (16, 32, 64))
        super().__init__()
        self.convolution = _convolution(in_shape[0], 16)
        self.group1 = _group(16, narrow, blocks, stride=1)
        self.group2 = _group(narrow, middle, blocks, stride=2)
        self.group3 = _group(middle, wide, blocks, stride=2)
        self.norm = nn.BatchNorm2d(wide)
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(wide, num_classes)
        nn.init.zeros_(self.head.bias)


def _convolution(channels: int, width: int, *, size: int = 3, stride: int = 1) -> nn.Conv2d:
    layer = nn.Conv2d(channels, width, size, stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


def _group(channels: int, width: int, blocks: int, *, stride: int) -> nn.Sequential:
    first = _Block(channels, width, stride)
    return nn.Sequential(first, *(_Block(width, width, 1) for _ in range(blocks - 1)))


class _Block(nn.Module):
    """x + conv(relu(bn(conv(relu(bn(x)))))).

    Where the width changes, a 1x1 convolution of the activated input takes the place of x.
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.convolution1 = _convolution(channels, width, stride=stride)
        self.norm2 = nn.BatchNorm2d(width)
        self.convolution2 = _convolution(width, width)
        same = channels == width and stride == 1
        self.shortcut = None if same else _convolution(channels, width, size=1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        active = torch.relu(self.norm1(x))
        kept = x if self.shortcut is None else self.shortcut(active)
        inner = torch.relu(self.norm2(self.convolution1(active)))
        total: Tensor = kept + self.convolution2(inner)
        return total
