"""A layer as one max-affine map of the rows that its units see.

Symbols: x (N, channels, H, W) images; D = channels * kernel height * kernel width; L positions;
K units, for a convolution its output channels; R regions.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from probact.arrays import check_finite
from probact.nn.affine.affine_maps import affine_steps, fold_batch_norm
from probact.nn.affine.max_affine import MaxAffine

__all__ = ["as_linear", "layer_patches", "slopes_and_offsets"]


def slopes_and_offsets(layer: nn.Module, activation: Any, **options: Any) -> tuple[Tensor, Tensor]:
    """A (K, R, D) and B (K, R) of `MaxAffine.from_layer`, detached.

    A convolution, alone or with the BatchNorm2d behind it, is read on its patches, unless
    `input_shape` or `max_pool` is among the options. A `MaxAffine` is taken as it is.

    >>> slopes_and_offsets(nn.Conv2d(3, 4, 3), "relu")[0].shape
    torch.Size([4, 2, 27])
    """
    if isinstance(layer, MaxAffine):
        return layer.slopes.detach(), layer.offsets.detach()
    whole = any(options.get(name) is not None for name in ("input_shape", "max_pool"))
    on_patches = _filters(layer) is not None and not whole
    flat = as_linear(layer) if on_patches else layer
    maso = MaxAffine.from_layer(flat, activation, **options)
    return maso.slopes.detach(), maso.offsets.detach()


def layer_patches(layer: nn.Module, x: Tensor) -> Tensor:
    """Patches (N, L, D) of images x (N, channels, H, W) that a convolution lies on, padded.

    L counts the output positions row by row: `layer(x)` is one linear map of each patch.

    Raises:
        TypeError: layer is no Conv2d, nor one with a BatchNorm2d behind it; x is no tensor of
            floating type.
        ValueError: a grouped convolution, or x of another shape or not finite.

    >>> conv, x = nn.Conv2d(3, 4, 3, padding=1), torch.randn(2, 3, 8, 8)
    >>> patches = layer_patches(conv, x)  # (2, 64, 27)
    >>> torch.allclose(as_linear(conv)(patches).mT.reshape(2, 4, 8, 8), conv(x), atol=1e-5)
    True
    """
    conv = _convolution(layer)
    if not isinstance(x, Tensor) or not x.is_floating_point():
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"x must be a tensor of floating type, got {kind}")
    if x.ndim != 4 or x.shape[1] != conv.in_channels:
        wanted = f"(N, {conv.in_channels}, H, W)"
        raise ValueError(f"x must be {wanted} for this layer, got shape {tuple(x.shape)}")
    check_finite(x, "x")
    mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
    try:
        padded = F.pad(x, conv._reversed_padding_repeated_twice, mode=mode)
    except RuntimeError as error:
        raise ValueError(f"x is too small for the layer's {mode} padding: {error}") from error
    reach = [d * (k - 1) + 1 for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
    if padded.shape[2] < reach[0] or padded.shape[3] < reach[1]:
        size = f"{padded.shape[2]} x {padded.shape[3]}"
        raise ValueError(f"x is {size} with its padding, smaller than the filters, {reach}")
    kernel, dilation, stride = conv.kernel_size, conv.dilation, conv.stride
    return F.unfold(padded, kernel, dilation, stride=stride).mT  # (N, L, D)


def as_linear(layer: nn.Module) -> nn.Linear:
    """The linear map of one patch (D,) to all channels, BatchNorm folded in; a copy.

    Raises: TypeError or ValueError as `layer_patches`; BatchNorm in training mode.

    >>> as_linear(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4).eval()))
    Linear(in_features=27, out_features=4, bias=True)
    """
    conv = _convolution(layer)
    rows = conv.weight.detach().flatten(1)  # (K, D)
    bias = rows.new_zeros(len(rows)) if conv.bias is None else conv.bias.detach()
    for norm in affine_steps(layer)[1:]:
        assert isinstance(norm, nn.BatchNorm2d)
        gain, shift = (part.detach() for part in fold_batch_norm(norm))
        rows, bias = gain[:, None] * rows, gain * bias + shift
    linear: nn.Linear = nn.utils.skip_init(nn.Linear, rows.shape[1], len(rows))
    linear.weight, linear.bias = (nn.Parameter(torch.clone(part)) for part in (rows, bias))
    return linear


def _filters(layer: nn.Module) -> nn.Conv2d | None:
    """The convolution of a layer that is one, or one with BatchNorm2d behind it."""
    steps = list(layer) if isinstance(layer, nn.Sequential) else [layer]
    first, rest = (steps[0], steps[1:]) if steps else (None, [])
    alone = all(isinstance(step, nn.BatchNorm2d) for step in rest)
    return first if isinstance(first, nn.Conv2d) and alone else None


def _convolution(layer: nn.Module) -> nn.Conv2d:
    conv = _filters(layer)
    if conv is None:
        wanted = "a Conv2d, or a Sequential of one and a BatchNorm2d"
        raise TypeError(f"layer must be {wanted}, got {type(layer).__name__}")
    if conv.groups != 1:
        raise ValueError(f"layer must have groups=1 to share its patches, got {conv.groups}")
    return conv
