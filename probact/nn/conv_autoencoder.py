"""Convolutional encoders and decoders of images, in the two sizes of Jamroz et al. (2020).

Symbols: x (N, C, H, W) images; h (N, features) what the encoder sees in them; z (N, d) codes. An
encoder ends in features: a VAE puts its own linear heads on them. A decoder ends in logits.

The large pair is the paper's: at 64x64 pixels 5x5 convolutions to 32, 16, 8 and 4, with
batch-norm. The small pair is the one of many beta-VAE studies: 4x4 convolutions, no batch-norm.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from probact.arrays import check_count
from probact.nn.mlp_autoencoder import check_image_shape

__all__ = ["ConvDecoder", "ConvEncoder", "SmallConvDecoder", "SmallConvEncoder"]

_WIDTHS = (128, 256, 512, 1024)
_SMALL_WIDTHS = (32, 32, 64, 64, 256)  # the fifth at 128x128 pixels and beyond
_SMALL_UNITS = 256


class ConvEncoder(nn.Sequential):
    """Images to features (N, 1024 H/16 W/16): 5x5 convolutions with stride 2, 128 to 1024 maps.

    Each is followed by batch-norm and a ReLU; H and W are multiples of 16.

    Raises: ValueError for other sizes.

    >>> import torch
    >>> ConvEncoder((3, 32, 32), widths=(4, 8, 16, 32))(torch.zeros(5, 3, 32, 32)).shape
    torch.Size([5, 128])
    """

    def __init__(self, image_shape: Sequence[int], widths: Sequence[int] = _WIDTHS) -> None:
        shape, widths = _divisible(image_shape, 2 ** len(widths)), _checked(widths)
        layers: list[nn.Module] = []
        for before, after in zip((shape[0], *widths), widths, strict=False):
            layers += [nn.Conv2d(before, after, 5, 2, padding=2, bias=False), *_normalised(after)]
        super().__init__(*layers, nn.Flatten())


class ConvDecoder(nn.Sequential):
    """Codes to logits: a linear map to 1024 maps of H/8 x W/8, transposed 5x5 convolutions.

    Three of them double the sides, to 512, 256 and 128 maps with batch-norm and a ReLU each; the
    last, with stride 1, gives the image.

    Raises: ValueError for sides that are no multiples of 8.

    >>> import torch
    >>> ConvDecoder(10, (3, 32, 32), widths=(32, 16, 8, 4))(torch.zeros(5, 10)).shape
    torch.Size([5, 3, 32, 32])
    """

    def __init__(
        self, latent_dim: int, image_shape: Sequence[int], widths: Sequence[int] = _WIDTHS[::-1]
    ) -> None:
        check_count(latent_dim, "latent_dim")
        widths = _checked(widths)
        factor = 2 ** (len(widths) - 1)
        channels, height, breadth = _divisible(image_shape, factor)
        first = (widths[0], height // factor, breadth // factor)
        layers: list[nn.Module] = [_linear(latent_dim, first), nn.Unflatten(1, first)]
        for before, after in pairwise(widths):
            layers += [
                nn.ConvTranspose2d(before, after, 5, 2, padding=2, output_padding=1, bias=False),
                *_normalised(after),
            ]
        super().__init__(*layers, nn.ConvTranspose2d(widths[-1], channels, 5, padding=2))


class SmallConvEncoder(nn.Sequential):
    """Images to features (N, 256): 4x4 convolutions with stride 2, then a dense layer; all ReLU.

    The sides are halved while the shorter is at least 8: at 64x64 pixels four times, with 32, 32,
    64 and 64 maps, and the dense layer is the 4x4 convolution of the original; at 128x128 a fifth
    time, with 256; below 64 fewer times.

    Raises: ValueError for sides below 8, or that cannot be halved so often.

    >>> import torch
    >>> SmallConvEncoder((1, 28, 28))(torch.zeros(5, 1, 28, 28)).shape
    torch.Size([5, 256])
    """

    def __init__(self, image_shape: Sequence[int]) -> None:
        widths, last = _small_widths(image_shape)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 4, 2, padding=1), nn.ReLU()]
        dense = nn.Linear(last[0] * last[1] * last[2], _SMALL_UNITS)
        super().__init__(*layers, nn.Flatten(), dense, nn.ReLU())


class SmallConvDecoder(nn.Sequential):
    """Codes to logits: the layers of `SmallConvEncoder` in the opposite order.

    Raises: ValueError as there.

    >>> import torch
    >>> SmallConvDecoder(10, (1, 28, 28))(torch.zeros(5, 10)).shape
    torch.Size([5, 1, 28, 28])
    """

    def __init__(self, latent_dim: int, image_shape: Sequence[int]) -> None:
        check_count(latent_dim, "latent_dim")
        widths, first = _small_widths(image_shape)
        layers: list[nn.Module] = [nn.Linear(latent_dim, _SMALL_UNITS), nn.ReLU()]
        layers += [_linear(_SMALL_UNITS, first), nn.Unflatten(1, first)]
        upwards = widths[::-1]
        for before, after in pairwise(upwards):
            layers += [nn.ReLU(), nn.ConvTranspose2d(before, after, 4, 2, padding=1)]
        super().__init__(*layers)


def _normalised(width: int) -> tuple[nn.Module, nn.Module]:
    return nn.BatchNorm2d(width), nn.ReLU()


def _linear(size: int, maps: tuple[int, int, int]) -> nn.Linear:
    return nn.Linear(size, maps[0] * maps[1] * maps[2])


def _checked(widths: Sequence[int]) -> tuple[int, ...]:
    if not widths:
        raise ValueError("widths must name one layer or more")
    for width in widths:
        check_count(width, "widths")
    return tuple(widths)


def _divisible(image_shape: Sequence[int], factor: int) -> tuple[int, int, int]:
    """The shape, whose sides must be multiples of the factor."""
    channels, height, breadth = check_image_shape(image_shape)
    if height % factor or breadth % factor:
        raise ValueError(
            f"image_shape must have sides that are multiples of {factor}, got {height}x{breadth}"
        )
    return channels, height, breadth


def _small_widths(image_shape: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, int, int]]:
    """Channels of the image and of each halved map, and the shape of the last one."""
    channels, height, breadth = check_image_shape(image_shape)
    halvings = min((min(height, breadth) // 4).bit_length() - 1, len(_SMALL_WIDTHS))
    if halvings < 1:
        raise ValueError(f"image_shape must have sides of at least 8, got {height}x{breadth}")
    _divisible(image_shape, 2**halvings)
    widths = (channels, *_SMALL_WIDTHS[:halvings])
    return widths, (widths[-1], height >> halvings, breadth >> halvings)
