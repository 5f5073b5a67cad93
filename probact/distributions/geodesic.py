"""Shortest paths on the unit sphere."""

import torch
from torch import Tensor

from probact.arrays import check_count
from probact.distributions.sphere_parameters import first_index, unit_vector

__all__ = ["geodesic"]

_ANTIPODAL = 1e-6  # |start + end| below which the shortest path is not determined


def geodesic(start: Tensor, end: Tensor, num_points: int) -> Tensor:
    """Points (num_points, ..., d) at equal distances on the great circle from start to end.

    start and end (..., d) are unit vectors, both ends included; equal ends give equal points.

    Raises:
        ValueError: other shapes, vectors that are not unit, opposite ends, fewer than two points.

    >>> path = geodesic(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), 3)
    >>> path[1]
    tensor([0.7071, 0.7071])
    """
    check_count(num_points, "num_points", smallest=2)
    for name, end_point in (("start", start), ("end", end)):
        if not isinstance(end_point, Tensor) or end_point.ndim < 1 or end_point.shape[-1] < 2:
            got = tuple(end_point.shape) if isinstance(end_point, Tensor) else end_point
            raise ValueError(f"{name} must be unit vectors (..., d) with d >= 2, got {got}")
        if not end_point.is_floating_point():
            raise ValueError(f"{name} must be floating, got {end_point.dtype}")
        wrong = ~unit_vector.check(end_point)
        if wrong.any():
            raise ValueError(f"{name} must be unit vectors, not so at index {first_index(wrong)}")
    if start.shape[-1] != end.shape[-1]:
        raise ValueError(f"start and end differ in d: {start.shape[-1]} and {end.shape[-1]}")
    try:
        a, b = torch.broadcast_tensors(start, end)
    except RuntimeError:
        shapes = f"{tuple(start.shape)} and {tuple(end.shape)}"
        raise ValueError(f"start and end must broadcast, got {shapes}") from None
    apart, together = _norm(a - b), _norm(a + b)
    if (together < _ANTIPODAL).any():
        raise ValueError("start and end are opposite: every great circle through them is shortest")
    angle = 2.0 * torch.atan2(apart, together)  # (..., 1), accurate at both ends
    share = torch.linspace(0.0, 1.0, num_points, dtype=a.dtype, device=a.device)
    share = share.reshape(-1, *[1] * a.ndim)
    # sin(s w) / sin(w) by sinc, which is s at w = 0
    weight_b = share * torch.sinc(share * angle / torch.pi) / torch.sinc(angle / torch.pi)
    rest = 1.0 - share
    weight_a = rest * torch.sinc(rest * angle / torch.pi) / torch.sinc(angle / torch.pi)
    path = weight_a * a + weight_b * b
    unit: Tensor = path / _norm(path)
    return unit


def _norm(x: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return length
