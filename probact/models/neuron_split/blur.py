"""A blurred image: what insertion begins with."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from probact.arrays import as_number, as_tensor, check_finite

__all__ = ["blurred"]


def blurred(x: Tensor, sigma: float = 5.0) -> Tensor:
    """Images (N, C, H, W) under a Gaussian of sigma pixels, cut at 4 sigma, edges repeated.

    Raises: TypeError, ValueError if x is no finite float images, or sigma not positive.

    >>> blurred(torch.ones(2, 1, 3, 3)).shape
    torch.Size([2, 1, 3, 3])
    """
    x = as_tensor(x, "x")
    if x.ndim != 4 or not x.is_floating_point():
        raise ValueError(f"x must be float images (N, C, H, W), got {tuple(x.shape)} {x.dtype}")
    check_finite(x, "x")
    reach = int(4.0 * as_number(sigma, "sigma") + 0.5)
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum()).to(x)
    n, channels, height, width = x.shape
    y = x.reshape(n * channels, 1, height, width)
    y = functional.pad(y, (reach,) * 4, mode="replicate")
    y = functional.conv2d(y, kernel[None, None, :, None])
    y = functional.conv2d(y, kernel[None, None, None, :])
    return y.reshape(x.shape)
