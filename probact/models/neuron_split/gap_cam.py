r"""Smooth Grad-CAM++ from the moments of a gradient, and its closed form under average pooling.

Symbols: A (N, C, H, W) output of the target layer; s the score, a number per image and node;
g_p = mean over noisy inputs of (ds / dA)^p for p = 1, 2, 3; v (N, M, C) signed weights of M nodes.

    alpha = g_2 / (2 g_2 + g_3 sum_hw A)
    w_c   = sum_hw alpha relu(g_1)
    map   = relu(sum_c w_c A_c)

Omeiza, Speakman, Cintas & Weldermariam (2019), with the numerator of Grad-CAM++ (Chattopadhay et
al. 2018). If the score is sum_c v_c mean_hw A_c, of a linear head on averages, ds / dA_c is
v_c / (HW) at every position whatever the input, noise changes nothing, and

    w_c = relu(v_c) / (2 + v_c mean_hw A_c)
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["gap_cam", "largest_one", "moment_cam"]


def gap_cam(maps: Tensor, values: Tensor) -> Tensor:
    """Maps (N, M, H, W) of the scores sum_c v_c mean_hw A_c, for v = values (N, M, C).

    `maps` is A (N, C, H, W). In float64, not scaled. A channel whose v is not positive takes no
    part: a node of negative weights needs its sign turned, or its map is zero.

    Raises: ValueError if the shapes do not fit.

    >>> maps = torch.tensor([[[[1.0, 0.0]], [[0.0, 2.0]]]])  # two channels, 1 x 2 pixels
    >>> gap_cam(maps, torch.tensor([[[2.0, 0.0], [0.0, -1.0]]]))
    tensor([[[[0.6667, 0.0000]],
    <BLANKLINE>
             [[0.0000, 0.0000]]]], dtype=torch.float64)
    """
    if maps.ndim != 4 or values.ndim != 3 or values.shape[::2] != maps.shape[:2]:
        raise ValueError(
            f"maps (N, C, H, W) and values (N, M, C) must agree in N and C, got "
            f"{tuple(maps.shape)} and {tuple(values.shape)}"
        )
    a, v = maps.double(), values.double()
    weights = _ratio(v.clamp(min=0.0), 2.0 + v * a.mean((2, 3))[:, None])  # (N, M, C)
    return torch.einsum("nmc,nchw->nmhw", weights, a).relu()


def moment_cam(maps: Tensor, moments: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Maps (N, M, H, W) from A = maps (N, C, H, W) and g_1, g_2, g_3, each (N, M, C, H, W).

    >>> g = torch.full((1, 1, 1, 1, 2), 0.5)  # v = 1 over two pixels
    >>> moment_cam(torch.tensor([[[[1.0, 3.0]]]]), (g, g**2, g**3))  # 1 / (2 + 2) of A
    tensor([[[[0.2500, 0.7500]]]], dtype=torch.float64)
    """
    a = maps.double()
    first, second, third = (g.double() for g in moments)
    sums = a.sum((2, 3))[:, None, :, None, None]
    alpha = _ratio(second, 2.0 * second + third * sums)
    weights = (alpha * first.relu()).sum((3, 4))  # (N, M, C)
    return torch.einsum("nmc,nchw->nmhw", weights, a).relu()


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    """above / below, zero where either is: no weight, or the pole that negative channels allow."""
    zero = (above == 0.0) | (below == 0.0)
    return torch.where(zero, 0.0, above) / torch.where(zero, 1.0, below)


def largest_one(maps: Tensor) -> Tensor:
    """Maps (..., H, W) over their own largest value; a map of zeros stays one.

    >>> largest_one(torch.tensor([[[0.0, 4.0]], [[0.0, 0.0]]]))
    tensor([[[0., 1.]],
    <BLANKLINE>
            [[0., 0.]]])
    """
    top = maps.amax((-2, -1), keepdim=True)
    return maps / torch.where(top == 0.0, 1.0, top)
