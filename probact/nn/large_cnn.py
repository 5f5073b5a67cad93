"""The largeCNN of Balestriero & Baraniuk (2019), Table 2: nine convolutions and an average.

Symbols: x (N, channels, H, W) images; width w = 96. Convolutions (channels, side, stride), all but
the seventh padded to keep the size: (w, 3), (w, 3), (w, 3, 2), (2w, 3), (2w, 3), (2w, 3, 2),
(2w, 3, no padding), (2w, 1), and (C, 1), the classifier, whose maps are averaged over positions.
"""

from collections.abc import Callable

from torch import Tensor, nn

from probact.arrays import check_count

__all__ = ["LargeCNN"]

# width in units of w, kernel, stride, padding
_LAYERS = (
    *((1, 3, 1, 1), (1, 3, 1, 1), (1, 3, 2, 1)),
    *((2, 3, 1, 1), (2, 3, 1, 1), (2, 3, 2, 1)),
    *((2, 3, 1, 0), (2, 1, 1, 0)),
)


class LargeCNN(nn.Sequential):
    """All-convolutional network; 1.37 million parameters at ten classes and the paper's width.

    Modules are `layer1` to `layer8`, each `convolution`, `normalisation` where there is one and
    `activation`, then `classifier`, `pool` and `flatten`. Weights start Xavier-uniform, offsets
    at zero.

    Args:
        in_shape: (channels, H, W) of an image, H and W >= 9.
        num_classes: C.
        width: w, channels of the first three layers; 96 in the paper.
        activation: makes the activation of a layer from the number of its channels; ReLU if None.
        batch_norm: whether batch-norm stands before each activation.

    Raises: ValueError for sizes below those.

    >>> net = LargeCNN((3, 32, 32), num_classes=10)
    >>> sum(parameter.numel() for parameter in net.parameters())
    1369738
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        num_classes: int,
        *,
        width: int = 96,
        activation: Callable[[int], nn.Module] | None = None,
        batch_norm: bool = False,
    ) -> None:
        if not isinstance(in_shape, tuple | list) or len(in_shape) != 3:
            raise ValueError(f"in_shape must be (channels, H, W), got {in_shape!r}")
        check_count(in_shape[0], "channels of in_shape")
        for side, name in zip(in_shape[1:], ("H", "W"), strict=True):
            check_count(side, f"{name} of in_shape", smallest=9)
        check_count(num_classes, "num_classes")
        check_count(width, "width")
        super().__init__()
        channels = in_shape[0]
        for number, (units, side, stride, padding) in enumerate(_LAYERS, start=1):
            layer = nn.Sequential()
            wide = units * width
            layer.add_module("convolution", _convolution(channels, wide, side, stride, padding))
            if batch_norm:
                layer.add_module("normalisation", nn.BatchNorm2d(wide))
            layer.add_module("activation", nn.ReLU() if activation is None else activation(wide))
            self.add_module(f"layer{number}", layer)
            channels = wide
        self.classifier = _convolution(channels, num_classes, 1, 1, 0)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()


def _convolution(channels: int, wide: int, side: int, stride: int, padding: int) -> nn.Conv2d:
    layer = nn.Conv2d(channels, wide, side, stride, padding)
    nn.init.xavier_uniform_(layer.weight)
    bias: Tensor | None = layer.bias
    assert bias is not None
    nn.init.zeros_(bias)
    return layer
