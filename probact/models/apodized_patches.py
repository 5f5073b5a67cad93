r"""Convolutions as mixtures of apodized patches (Balestriero & Baraniuk 2019, appendix B).

Symbols: x (N, C, H, W) images; P_p cuts patch p of k x k pixels out, stride s; h (k, k) window;
x_p = P_p x (C k k); A (J, R, C, k, k) vectors of J channels; M the most patches over a pixel.

    (17)  x = sum_p P_p'(h x_p) where sum_p h = 1; else divided by that sum, the cover
    (18)  |x - sum_p P_p' A_p|^2 = |sum_p P_p' e_p|^2 <= M sum_p |e_p|^2,  e_p = h x_p - A_p  (19)

The right side falls apart into patches: minimised patch by patch it is the layer with filters
h A and offsets -|A|^2 / 2 + s2 log pi. It is a bound for the joint problem on the left.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from probact.arrays import as_number, check_count
from probact.distributions.layer_parameters import require_finite
from probact.distributions.sphere_parameters import as_real_tensor
from probact.models.factorial_mixture import FactorialMixture

__all__ = [
    "apodized_patches",
    "assemble",
    "conv_colours",
    "conv_factorial_mixture",
    "hann_window",
    "layer_filters",
    "most_patches",
    "patch_bound",
    "patch_slopes",
    "site_mean",
    "window_cover",
]


def hann_window(size: int) -> Tensor:
    """h (k, k) float64, periodic Hann: copies at stride k/2 sum to one where k/2 cover.

    Raises: ValueError for size < 1.
    >>> hann_window(4)[1].round(decimals=3)
    tensor([0.0000, 0.2500, 0.5000, 0.2500], dtype=torch.float64)
    """
    check_count(size, "size")
    one = torch.hann_window(size, periodic=True, dtype=torch.float64)
    return one.unsqueeze(1) * one


def most_patches(size: int, stride: int) -> int:
    """M = ceil(k/s)^2, the most patches that cover one pixel.

    >>> most_patches(5, 2)
    9
    """
    check_count(size, "size")
    check_count(stride, "stride")
    return math.ceil(size / stride) ** 2


def window_cover(window: Tensor, image_size: tuple[int, int], stride: int) -> Tensor:
    """sum_p P_p' h, (H, W): one wherever the windows are a partition of unity.

    Raises: ValueError for a window that is no square, or larger than the image.
    >>> window_cover(hann_window(4), (8, 8), 2)[2:6, 2:6].sum().round(decimals=6)
    tensor(16., dtype=torch.float64)
    """
    size = _window_size(window, image_size, stride)
    count = _sites(image_size, size, stride)
    columns = window.flatten().unsqueeze(1).expand(-1, count[0] * count[1])
    return F.fold(columns.unsqueeze(0), image_size, size, stride=stride)[0, 0]


def apodized_patches(x: Tensor, window: Tensor, stride: int) -> Tensor:
    """h x_p, (N, C k k, P), of images x (N, C, H, W). Raises: ValueError as `window_cover`."""
    _check_images(x)
    size = _window_size(window, _image_size(x), stride)
    patches = F.unfold(x, size, stride=stride)
    return patches * window.flatten().to(x).repeat(x.shape[1]).unsqueeze(-1)


def assemble(patches: Tensor, window: Tensor, image_size: tuple[int, int], stride: int) -> Tensor:
    """Images (N, C, H, W) of apodized patches (N, C k k, P): (17) with the cover divided out.

    Pixels that no window reaches are NaN: nothing is known of them.

    Raises: ValueError as `window_cover`, or for patches of another shape.
    >>> x, h = torch.rand(1, 1, 8, 8).double(), hann_window(4)
    >>> back = assemble(apodized_patches(x, h, 2), h, (8, 8), 2)
    >>> bool((back - x)[..., 1:7, 1:7].abs().max() < 1e-12)
    True
    """
    size = _window_size(window, image_size, stride)
    high, wide = _sites(image_size, size, stride)
    _require_floats(patches, "patches")
    if patches.ndim != 3 or patches.shape[1] % size**2 or patches.shape[2] != high * wide:
        wanted = f"(N, C k k, P) with k = {size}, P = {high * wide}"
        raise ValueError(f"patches must be {wanted}, got shape {tuple(patches.shape)}")
    cover = window_cover(window.to(patches), image_size, stride)
    total = F.fold(patches, image_size, size, stride=stride)
    return torch.where(cover > 0, total / torch.where(cover > 0, cover, 1.0), torch.nan)


def patch_bound(x: Tensor, models: Tensor, window: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """The two sides of (18)-(19), (N,) each, for models A_p (N, C k k, P) of the patches.

    The left side is |sum_p P_p' (h x_p - A_p)|^2, which is |x - sum_p P_p' A_p|^2 where the
    windows are a partition of unity; the right one M sum_p |h x_p - A_p|^2.
    """
    patches = apodized_patches(x, window, stride)
    _require_floats(models, "models")
    if models.shape != patches.shape:
        raise ValueError(
            f"models must be (N, C k k, P) = {tuple(patches.shape)}, got {tuple(models.shape)}"
        )
    errors = patches - models
    size = int(window.shape[0])
    joint = F.fold(errors, _image_size(x), size, stride=stride).square().sum((1, 2, 3))
    return joint, most_patches(size, stride) * errors.square().sum((1, 2))


def layer_filters(slopes: Tensor, window: Tensor) -> Tensor:
    """W = h A, the layer's filters (..., k, k) for patch vectors A (..., k, k).

    Raises: TypeError for other than floating tensors; ValueError for a window of another size.
    """
    _check_alike(slopes, "slopes", window)
    return slopes * window.to(slopes)


def patch_slopes(filters: Tensor, window: Tensor, floor: float = 1e-3) -> Tensor:
    """A = W / max(h, floor), the patch vectors (..., k, k) behind a layer's filters W.

    Where h < floor the layer cannot tell A, and `layer_filters` does not give W back.

    Raises: ValueError for a floor that is not positive; and as `layer_filters`.
    >>> patch_slopes(torch.ones(1, 1), torch.full((1, 1), 0.5))
    tensor([[2.]])
    """
    _check_alike(filters, "filters", window)
    smallest = as_number(floor, "floor")
    return filters / window.to(filters).clamp_min(smallest)


def site_mean(codes: Tensor, slopes: Tensor, stride: int) -> Tensor:
    """mu_t = sum_p P_p' A_p,t_p, (N, C, H, W): the mean of the image given codes.

    codes (N, J, H', W') integers, slopes (J, R, C, k, k): one transposed convolution.

    Raises: TypeError or ValueError for other types, shapes or codes, or stride < 1.
    """
    check_count(stride, "stride")
    _require_floats(slopes, "slopes")
    if not isinstance(codes, Tensor):
        raise TypeError(f"codes must be a tensor, got {type(codes).__name__}")
    if slopes.ndim != 5 or codes.ndim != 4 or codes.shape[1] != slopes.shape[0]:
        shapes = tuple(codes.shape), tuple(slopes.shape)
        raise ValueError(f"codes must be (N, J, H', W') and slopes (J, R, C, k, k), got {shapes}")
    num_regions = slopes.shape[1]
    if codes.is_floating_point() or bool(((codes < 0) | (codes >= num_regions)).any()):
        raise ValueError(f"codes must be integers from 0 to {num_regions - 1}")
    held = F.one_hot(codes.long(), num_regions).to(slopes)  # (N, J, H', W', R)
    held = held.movedim(-1, 2).flatten(1, 2)  # (N, J R, H', W')
    return F.conv_transpose2d(held, slopes.flatten(0, 1), stride=stride)


def conv_factorial_mixture(
    slopes: Any, weights: Any, noise: Any, image_size: tuple[int, int], stride: int
) -> FactorialMixture:
    """The factorial mixture of all sites of a convolution: x ~ N(site_mean, s2 I).

    slopes (J, R, C, k, k), weights (J, R). Units run over (channel, row, column) of the H' x W'
    sites, dimensions over (C, H, W), which have to be covered without a rest. The matrix is
    written out, J H' W' R C H W numbers: for small images.

    Raises: TypeError or ValueError for other shapes.
    >>> model = conv_factorial_mixture(torch.ones(1, 2, 1, 2, 2), [[0.5, 0.5]], 1.0, (4, 4), 2)
    >>> model.slopes.shape
    torch.Size([4, 2, 16])
    """
    kernels = as_real_tensor(slopes, "slopes").detach().double()
    if kernels.ndim != 5 or kernels.shape[3] != kernels.shape[4] or 0 in kernels.shape:
        raise ValueError(f"slopes must be (J, R, C, k, k), got shape {tuple(kernels.shape)}")
    require_finite(kernels, "slopes")
    channels, regions, _, size, _ = kernels.shape
    high, wide = _sites(image_size, size, stride)
    if ((high - 1) * stride + size, (wide - 1) * stride + size) != tuple(image_size):
        raise ValueError(f"sites of size {size}, stride {stride} leave a rest of {image_size}")
    each = torch.eye(high * wide, dtype=kernels.dtype, device=kernels.device)
    each = each.reshape(high * wide, 1, high, wide)
    placed = F.conv_transpose2d(each, kernels.reshape(1, -1, size, size), stride=stride)
    placed = placed.reshape(high * wide, channels, regions, -1)  # (P, J, R, C H W)
    pi = as_real_tensor(weights, "weights", like=kernels)
    if pi.shape != (channels, regions):
        raise ValueError(f"weights must be {(channels, regions)}, got shape {tuple(pi.shape)}")
    return FactorialMixture(
        placed.transpose(0, 1).flatten(0, 1), pi.repeat_interleave(high * wide, 0), noise
    )


def conv_colours(
    num_channels: int, sites: tuple[int, int], size: int, stride: int
) -> tuple[int, ...]:
    """Colours (J H' W',) for `FactorialGibbs`: ceil(k/s)^2 a channel, since only patches overlap.

    >>> conv_colours(1, (2, 4), 2, 1)
    (0, 1, 0, 1, 2, 3, 2, 3)
    """
    most_patches(size, stride)
    check_count(num_channels, "num_channels")
    _check_size(sites, "sites", 1)
    reach = math.ceil(size / stride)
    rows, columns = (torch.arange(n) % reach for n in sites)
    place = (reach * rows.unsqueeze(1) + columns).flatten()
    channel = torch.arange(num_channels).unsqueeze(1)
    return tuple((channel * reach**2 + place).flatten().tolist())


def _image_size(x: Tensor) -> tuple[int, int]:
    return int(x.shape[2]), int(x.shape[3])


def _check_images(x: Tensor) -> None:
    _require_floats(x, "x")
    if x.ndim != 4:
        raise ValueError(f"x must be images (N, C, H, W), got shape {tuple(x.shape)}")


def _window_size(window: Tensor, image_size: tuple[int, int], stride: int) -> int:
    check_count(stride, "stride")
    _require_floats(window, "window")
    if window.ndim != 2 or window.shape[0] != window.shape[1] or window.numel() == 0:
        raise ValueError(f"window must be (k, k), got shape {tuple(window.shape)}")
    _sites(image_size, int(window.shape[0]), stride)
    return int(window.shape[0])


def _sites(image_size: tuple[int, int], size: int, stride: int) -> tuple[int, int]:
    """H', W'. Raises: ValueError for patches larger than the image."""
    check_count(stride, "stride")
    _check_size(image_size, "image_size", size)
    return (image_size[0] - size) // stride + 1, (image_size[1] - size) // stride + 1


def _check_size(size: Any, name: str, smallest: int) -> None:
    whole = isinstance(size, tuple | list) and len(size) == 2
    if not whole or not all(type(n) is int and n >= smallest for n in size):
        raise ValueError(f"{name} must be two integers of at least {smallest}, got {size!r}")


def _check_alike(value: Any, name: str, window: Any) -> None:
    _require_floats(value, name)
    _require_floats(window, "window")
    if window.ndim != 2 or value.shape[-2:] != window.shape:
        shapes = f"{tuple(value.shape)} and {tuple(window.shape)}"
        raise ValueError(f"{name} must end in the shape (k, k) of the window, got {shapes}")


def _require_floats(value: Any, name: str) -> None:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"{name} must be a tensor of floating type, got {kind}")
