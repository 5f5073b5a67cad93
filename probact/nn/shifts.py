"""Shifts of the domain of images: photometric and of resolution (Seo, Lee & Han 2021, table 3).

Symbols: x (N, channels, H, W) images in [0, 1]. A student that is trained on shifted images has a
teacher that never saw such; class-wise distillation shows it none.
"""

import torch
from torch import Generator, Tensor
from torch.nn import functional

from probact.arrays import as_number, check_finite

__all__ = ["downsample", "photometric"]

_LUMA = (0.2989, 0.587, 0.114)  # ITU-R BT.601, as torchvision's


def photometric(x: Tensor, strength: float, generator: Generator) -> Tensor:
    """Brightness, contrast and, of three channels, saturation of each image, changed at random.

    Each image of x (N, channels, H, W) is scaled, then mixed with its mean grey, then with its own
    grey image, by factors uniform on [max(0, 1 - strength), 1 + strength]; after each step values
    are cut to [0, 1]. The steps are those of torchvision's `ColorJitter` without hue, in one
    order. All draws come from `generator`, the same for one channel as for three.

    Raises: ValueError if x is not (N, 1 or 3, H, W) within [0, 1], or strength is negative.

    >>> x = torch.full((2, 1, 4, 4), 0.5)
    >>> torch.equal(photometric(x, 0.0, Generator().manual_seed(0)), x)
    True
    """
    _check_images(x)
    if x.shape[1] not in (1, 3):
        raise ValueError(f"x must have 1 or 3 channels, got {x.shape[1]}")
    strength = as_number(strength, "strength", inclusive=True)
    if not isinstance(generator, Generator):
        raise ValueError(f"generator must be a torch.Generator, got {type(generator).__name__}")
    low, high = max(0.0, 1.0 - strength), 1.0 + strength
    draws = torch.rand(3, len(x), generator=generator, device=generator.device)
    factors = (low + (high - low) * draws).to(x)[:, :, None, None, None]  # (3, N, 1, 1, 1)
    x = (factors[0] * x).clamp(0.0, 1.0)
    grey = _grey(x).mean((2, 3), keepdim=True)  # (N, 1, 1, 1)
    x = torch.lerp(grey.expand_as(x), x, factors[1]).clamp(0.0, 1.0)
    if x.shape[1] == 1:
        return x
    return torch.lerp(_grey(x).expand_as(x), x, factors[2]).clamp(0.0, 1.0)


def downsample(x: Tensor, fraction: float) -> Tensor:
    """x (N, channels, H, W) reduced to `fraction` of its height and width, and enlarged again.

    Both ways bilinear, the first with antialiasing; the size stays, detail goes.

    Raises: ValueError if x is not (N, channels, H, W) within [0, 1], or the fraction is not in
    (0, 1] or leaves no pixel.

    >>> downsample(torch.rand(2, 3, 32, 32), 0.25).shape
    torch.Size([2, 3, 32, 32])
    """
    _check_images(x)
    if not 0.0 < as_number(fraction, "fraction", inclusive=True) <= 1.0:
        raise ValueError(f"fraction must be in (0, 1], got {fraction!r}")
    height, width = x.shape[2:]
    small = round(fraction * height), round(fraction * width)
    if min(small) < 1:
        raise ValueError(f"fraction {fraction} leaves no pixel of {height}x{width}")
    if small == (height, width):
        return x.clone()
    less = functional.interpolate(x, small, mode="bilinear", antialias=True)
    return functional.interpolate(less, (height, width), mode="bilinear").clamp(0.0, 1.0)


def _grey(x: Tensor) -> Tensor:
    """Luma (N, 1, H, W)."""
    if x.shape[1] == 1:
        return x
    return (x * x.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)


def _check_images(x: Tensor) -> None:
    if not isinstance(x, Tensor) or x.ndim != 4 or 0 in x.shape:
        got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"x must be a tensor (N, channels, H, W), none zero, got {got}")
    if not x.is_floating_point():
        raise ValueError(f"x must be floating point, got {x.dtype}")
    check_finite(x, "x")
    low, high = (float(v) for v in x.aminmax())
    if low < 0.0 or high > 1.0:
        raise ValueError(f"x must be within [0, 1], got {low:.4g} to {high:.4g}")
