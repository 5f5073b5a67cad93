"""Encoders and decoders of images by name, or the caller's own, once they fit the shapes.

Symbols: x (N, C, H, W) images; h (N, features) features; z (N, d) codes.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from probact.capturing.passes import place, run, undisturbed
from probact.nn.conv_autoencoder import (
    ConvDecoder,
    ConvEncoder,
    SmallConvDecoder,
    SmallConvEncoder,
)
from probact.nn.mlp_autoencoder import MLPDecoder, MLPEncoder

__all__ = ["build_decoder", "build_encoder"]

_ENCODERS: dict[str, Callable[..., nn.Module]] = {
    "mlp": MLPEncoder,
    "conv": ConvEncoder,
    "conv-small": SmallConvEncoder,
}
_DECODERS: dict[str, Callable[..., nn.Module]] = {
    "mlp": MLPDecoder,
    "conv": ConvDecoder,
    "conv-small": SmallConvDecoder,
}


def build_encoder(
    encoder: str | nn.Module, image_shape: tuple[int, int, int]
) -> tuple[nn.Module, int]:
    """The encoder, and how many features it gives for an image of that shape.

    Raises: ValueError for an unknown name, or a module that does not map images (N, C, H, W) to
    features (N, features).

    >>> build_encoder("mlp", (1, 8, 8))[1]
    128
    """
    net = encoder
    if not isinstance(net, nn.Module):
        net = _known("encoder", net, _ENCODERS)(image_shape)
    features = _probe("encoder", net, (2, *image_shape))
    if features.ndim != 2 or len(features) != 2:
        raise ValueError(
            f"encoder must map images (N, {', '.join(map(str, image_shape))}) to features"
            f" (N, features), it maps two of them to {tuple(features.shape)}"
        )
    return net, features.shape[1]


def build_decoder(
    decoder: str | nn.Module, latent_dim: int, image_shape: tuple[int, int, int]
) -> nn.Module:
    """The decoder.

    Raises: ValueError for an unknown name, or a module that does not map codes (N, d) to logits
    (N, C, H, W).
    """
    net = decoder
    if not isinstance(net, nn.Module):
        net = _known("decoder", net, _DECODERS)(latent_dim, image_shape)
    logits = _probe("decoder", net, (2, latent_dim))
    if tuple(logits.shape) != (2, *image_shape):
        raise ValueError(
            f"decoder must map codes (N, {latent_dim}) to logits"
            f" (N, {', '.join(map(str, image_shape))}),"
            f" it maps two of them to {tuple(logits.shape)}"
        )
    return net


def _known(
    name: str, part: str, parts: dict[str, Callable[..., nn.Module]]
) -> Callable[..., nn.Module]:
    """What builds the part of that name."""
    if part not in parts:
        raise ValueError(f"{name} must be one of {', '.join(parts)} or a module, got {part!r}")
    return parts[part]


def _probe(name: str, net: nn.Module, shape: tuple[int, ...]) -> Tensor:
    """What the network makes of zeros."""
    with undisturbed(net):
        out = run(net, [place(torch.zeros(shape), net)], {}, "zeros")
    if not isinstance(out, Tensor):
        raise ValueError(f"{name} must give one tensor, it gives {type(out).__name__}")
    return out
