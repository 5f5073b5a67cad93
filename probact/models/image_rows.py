"""The border of models of images: pixels in [0, 1], of the declared shape, with their labels."""

import torch
from torch import Generator, Tensor

from probact.arrays import check_finite

__all__ = ["binarised", "check_images"]


def check_images(
    x: Tensor,
    shape: tuple[int, int, int],
    dtype: torch.dtype | None = None,
    name: str = "images",
) -> None:
    """Refuse anything but float images (N, *shape), N >= 1, with pixels in [0, 1].

    dtype: that of the network, where the images are not converted to it.

    Raises:
        ValueError: says the type, the shape, or the first row out of range and its pixels.

    >>> check_images(torch.full((2, 1, 4, 4), 255.0), (1, 4, 4))
    Traceback (most recent call last):
    ValueError: images must lie in [0, 1], row 0 spans 255 to 255; divide 8-bit pixels by 255
    """
    if not isinstance(x, Tensor) or x.ndim != 4 or tuple(x.shape[1:]) != shape or not len(x):
        got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        wanted = ", ".join(str(side) for side in shape)
        raise ValueError(f"{name} must be a tensor (N, {wanted}) with N >= 1, got {got}")
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"{name} must be float32 or float64 in [0, 1], got {x.dtype}")
    if dtype not in (None, x.dtype):
        raise ValueError(f"{name} must be {dtype} as the network's parameters, got {x.dtype}")
    low, high = x.aminmax()
    if bool((low >= 0.0) & (high <= 1.0)):  # False for NaN
        return
    check_finite(x, name)
    least, most = x.flatten(1).aminmax(dim=1)
    row = int(((least < 0.0) | (most > 1.0)).nonzero()[0])
    span = f"{float(least[row]):.6g} to {float(most[row]):.6g}"
    hint = "; divide 8-bit pixels by 255" if float(high) > 1.0 and float(low) >= 0.0 else ""
    raise ValueError(f"{name} must lie in [0, 1], row {row} spans {span}{hint}")


def binarised(x: Tensor, generator: Generator | None = None) -> Tensor:
    """Pixels drawn afresh as Bernoulli(x), of x's shape and dtype: dynamic binarisation.

    >>> binarised(torch.tensor([0.0, 1.0]))
    tensor([0., 1.])
    """
    noise = torch.rand(x.shape, dtype=x.dtype, device=x.device, generator=generator)
    return noise.lt_(x)
