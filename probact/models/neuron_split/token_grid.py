"""Tokens of a transformer as a map: the patches on their grid, class and register tokens dropped.

Symbols: tokens (N, T, D); an image of (H, W) pixels in square patches of p x p of them, so that
the last HW / p^2 tokens are patches, row by row, and the first ones are no place in the image.
"""

from __future__ import annotations

import math

from torch import Tensor

__all__ = ["token_grid"]

MOST_PREFIX_TOKENS = 16  # class, distillation and register tokens


def token_grid(tokens: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Patches (N, D, H / p, W / p) of tokens (N, T, D) of images of (H, W) pixels.

    p is the smallest patch that divides both sides and leaves no more patches than tokens; at most
    16 tokens, the first ones, are dropped.

    Raises: ValueError if tokens are no (N, T, D), or no such grid leaves 0 to 16 tokens over.

    >>> import torch
    >>> token_grid(torch.zeros(2, 197, 8), (224, 224)).shape
    torch.Size([2, 8, 14, 14])
    """
    if tokens.ndim != 3:
        raise ValueError(f"tokens must be (N, T, D), got shape {tuple(tokens.shape)}")
    height, width = image_size
    count = tokens.shape[1]
    sides = (p for p in range(1, min(image_size) + 1) if math.gcd(height, width) % p == 0)
    grids = ((height // p, width // p) for p in sides)
    rows, columns = next((g for g in grids if g[0] * g[1] <= count), (1, 0))
    prefix = count - rows * columns
    if prefix > MOST_PREFIX_TOKENS or columns == 0:
        raise ValueError(
            f"{count} tokens are no grid of square patches of a {height} x {width} image after at "
            f"most {MOST_PREFIX_TOKENS} others; give reshape= a function to (N, D, H', W')"
        )
    patches = tokens[:, prefix:]
    return patches.transpose(1, 2).reshape(len(tokens), -1, rows, columns)
