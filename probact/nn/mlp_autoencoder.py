"""The multilayer perceptrons of the hyperspherical VAE (Davidson et al. 2018, section 5.2).

Symbols: x (N, C, H, W) images; h (N, features) what the encoder sees in them; z (N, d) codes. An
encoder ends in features: a VAE puts its own linear heads on them. A decoder ends in logits.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from probact.arrays import check_count

__all__ = ["EncoderClassifier", "MLPDecoder", "MLPEncoder", "check_image_shape"]


def check_image_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """(channels, H, W) of an image as a tuple.

    Raises: ValueError for anything but three positive integers.

    >>> check_image_shape([1, 28, 28])
    (1, 28, 28)
    """
    sides = tuple(shape) if isinstance(shape, Sequence) else ()
    whole = all(isinstance(side, int) and not isinstance(side, bool) for side in sides)
    if len(sides) != 3 or not whole or min(sides) < 1:
        raise ValueError(f"image_shape must be (channels, H, W), got {shape!r}")
    return sides[0], sides[1], sides[2]


class MLPEncoder(nn.Sequential):
    """Images (N, C, H, W) to features (N, hidden[-1]): linear maps, a ReLU after each.

    >>> import torch
    >>> MLPEncoder((1, 28, 28))(torch.zeros(5, 1, 28, 28)).shape
    torch.Size([5, 128])
    """

    def __init__(
        self, image_shape: Sequence[int] = (1, 28, 28), hidden: Sequence[int] = (256, 128)
    ) -> None:
        super().__init__(
            nn.Flatten(), *_layers([math.prod(check_image_shape(image_shape)), *hidden])
        )


class MLPDecoder(nn.Sequential):
    """Codes (N, d) to logits (N, C, H, W): the encoder's layers in the opposite order.

    >>> import torch
    >>> MLPDecoder(10, (1, 28, 28))(torch.zeros(5, 10)).shape
    torch.Size([5, 1, 28, 28])
    """

    def __init__(
        self,
        latent_dim: int,
        image_shape: Sequence[int] = (1, 28, 28),
        hidden: Sequence[int] = (128, 256),
    ) -> None:
        check_count(latent_dim, "latent_dim")
        shape = check_image_shape(image_shape)
        super().__init__(
            *_layers([latent_dim, *hidden]),
            nn.Linear(hidden[-1], math.prod(shape)),
            nn.Unflatten(1, shape),
        )


class EncoderClassifier(nn.Module):
    """A classifier with an encoder's architecture: its head's rows are a prior's directions.

    encoder (N, H'), then a linear map to the code (N, latent_dim) without a nonlinearity, then a
    linear head without bias (Seo, Lee & Han 2021, section 4.2: the learned prior of HVAE-L).

    >>> import torch
    >>> net = EncoderClassifier(MLPEncoder((1, 8, 8)), features=128, latent_dim=3, num_classes=10)
    >>> net(torch.zeros(5, 1, 8, 8)).shape, net.head.weight.shape
    (torch.Size([5, 10]), torch.Size([10, 3]))
    """

    def __init__(
        self, encoder: nn.Module, *, features: int, latent_dim: int, num_classes: int
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.code = nn.Linear(features, latent_dim)
        self.head = nn.Linear(latent_dim, num_classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.code(self.encoder(x)))
        return logits


def _layers(sizes: Sequence[int]) -> list[nn.Module]:
    """Linear maps between the sizes, a ReLU after each."""
    if len(sizes) < 2:
        raise ValueError("hidden must name one layer or more")
    for size in sizes:
        check_count(size, "hidden")
    return [m for n, out in pairwise(sizes) for m in (nn.Linear(n, out), nn.ReLU())]
