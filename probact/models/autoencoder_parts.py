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

__all__ = ["build_decoder", "build_encoder", "counterpart", "head", "part_name", "warm_weight"]

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
) -> tuple[nn.Module, Tensor]:
    """The encoder, and the features (2, F) that it gives for two images of zeros.

    Raises: ValueError for an unknown name, or a module that does not map images (N, C, H, W) to
    features (N, features).

    >>> build_encoder("mlp", (1, 8, 8))[1].shape
    torch.Size([2, 128])
    """
    net = encoder
    if not isinstance(net, nn.Module):
        net = _known("encoder", net, _ENCODERS)(image_shape)
    features = _probe("encoder", net, (2, *image_shape))
    real = features.is_floating_point()
    if features.ndim != 2 or len(features) != 2 or not features.shape[1] or not real:
        raise ValueError(
            f"encoder must map images (N, {', '.join(map(str, image_shape))}) to features"
            f" (N, features), it maps two of them to {features.dtype} {tuple(features.shape)}"
        )
    return net, features


def build_decoder(
    decoder: str | nn.Module,
    latent_dim: int,
    image_shape: tuple[int, int, int],
    dtype: torch.dtype,
) -> nn.Module:
    """The decoder of codes of that dtype, the encoder's; a named one is made in it.

    Raises: ValueError for an unknown name, or a module that does not map codes (N, d) to logits
    (N, C, H, W) of the same dtype.
    """
    net = decoder
    if not isinstance(net, nn.Module):
        net = _known("decoder", net, _DECODERS)(latent_dim, image_shape).to(dtype)
    logits = _probe("decoder", net, (2, latent_dim))
    if tuple(logits.shape) != (2, *image_shape):
        raise ValueError(
            f"decoder must map codes (N, {latent_dim}) to logits"
            f" (N, {', '.join(map(str, image_shape))}),"
            f" it maps two of them to {tuple(logits.shape)}"
        )
    if logits.dtype != dtype:
        raise ValueError(f"decoder gives {logits.dtype}, but the encoder {dtype}: make them one")
    return net


def head(features: Tensor, out: int) -> nn.Linear:
    """A linear map from features (2, F) to `out` numbers, of their dtype and on their device.

    >>> head(torch.zeros(2, 3, dtype=torch.float64), 5).weight.dtype
    torch.float64
    """
    return nn.Linear(features.shape[1], out, dtype=features.dtype, device=features.device)


def counterpart(encoder: str | nn.Module, decoder: str | nn.Module | None) -> str | nn.Module:
    """The decoder, by default that of a named encoder's name, and an MLP for a module.

    >>> counterpart("conv", None), counterpart(nn.Identity(), None)
    ('conv', 'mlp')
    """
    if decoder is not None:
        return decoder
    return encoder if isinstance(encoder, str) else "mlp"


def part_name(part: str | nn.Module) -> str:
    """What settings call a part: its name, or the class and layers of the caller's module.

    >>> part_name("mlp"), part_name(nn.Linear(2, 3))
    ('mlp', 'Linear(in_features=2, out_features=3, bias=True)')
    """
    return part if isinstance(part, str) else repr(part)


def warm_weight(epoch: int | None, warm_up: int) -> float:
    """Weight of the divergence in an epoch, from 0: (epoch + 1) / warm_up until it is one.

    >>> [warm_weight(epoch, 4) for epoch in (0, 2, 9, None)]
    [0.25, 0.75, 1.0, 1.0]
    """
    return 1.0 if epoch is None or not warm_up else min(1.0, (epoch + 1) / warm_up)


def _known(
    name: str, part: str, parts: dict[str, Callable[..., nn.Module]]
) -> Callable[..., nn.Module]:
    """What builds the part of that name."""
    if not isinstance(part, str) or part not in parts:
        raise ValueError(f"{name} must be one of {', '.join(parts)} or a module, got {part!r}")
    return parts[part]


def _probe(name: str, net: nn.Module, shape: tuple[int, ...]) -> Tensor:
    """What the network makes of zeros."""
    with undisturbed(net):
        out = run(net, [place(torch.zeros(shape), net)], {}, f"zeros as {name}")
    if not isinstance(out, Tensor):
        raise ValueError(f"{name} must give one tensor, it gives {type(out).__name__}")
    return out
