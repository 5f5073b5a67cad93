"""The border of the normal-inverse-Wishart law: numbers, vectors, matrices, column spreads."""

from typing import Any

import torch
from torch import Tensor

from probact.arrays import as_tensor, check_finite

__all__ = ["as_scale", "as_vector", "column_variance", "cholesky_of_scale"]


def as_vector(value: Any, name: str) -> Tensor:
    """A finite float64 vector (D,), D >= 1, in memory of its own.

    >>> as_vector([1, 2], "loc")
    tensor([1., 2.], dtype=torch.float64)
    """
    vector = as_tensor(value, name).to(torch.float64, copy=True)
    if vector.ndim != 1 or not len(vector):
        raise ValueError(f"{name} must be (D,) with D >= 1, got shape {tuple(vector.shape)}")
    check_finite(vector, name)
    return vector


def as_scale(value: Any, dim: int, diagonal: bool) -> Tensor:
    """A positive definite scale as float64 (D, D), or with `diagonal` its diagonal (D,).

    Raises: ValueError for another shape, a matrix that is not symmetric to 1e-10 of its diagonal,
    not positive definite, or with `diagonal` not diagonal.
    >>> as_scale([[2.0, 0.0], [0.0, 3.0]], 2, True)
    tensor([2., 3.], dtype=torch.float64)
    """
    scale = as_tensor(value, "scale").to(torch.float64, copy=True)
    shapes = [(dim, dim), (dim,)] if diagonal else [(dim, dim)]
    if tuple(scale.shape) not in shapes:
        raise ValueError(f"scale must be {shapes[0]}, got shape {tuple(scale.shape)}")
    check_finite(scale, "scale")
    if diagonal and scale.ndim == 2:
        if (scale != scale.diagonal().diag()).any():
            raise ValueError("scale must be a diagonal matrix where diagonal=True")
        scale = scale.diagonal().clone()
    entries = scale if scale.ndim == 1 else scale.diagonal()
    if not (entries > 0).all():
        raise ValueError(f"scale must have a positive diagonal, got {float(entries.min())!r}")
    if scale.ndim == 2:
        unit = entries.sqrt()
        relative = (scale / unit) / unit.unsqueeze(1)
        if not ((relative - relative.mT).abs() <= 1e-10).all():
            raise ValueError("scale must be symmetric")
        if torch.linalg.cholesky_ex(relative).info.any():
            raise ValueError("scale must be positive definite")
    return scale


def column_variance(x: Tensor) -> Tensor:
    """Variance (D,) of each column of x (N, D), the mean square about its mean; positive.

    A constant column takes the geometric mean of the others' variances; where no column varies
    all take the mean square of x, and 1 where x is zero.

    Raises: ValueError where a variance overflows or underflows float64.
    >>> column_variance(torch.tensor([[0.0, 5.0], [4.0, 5.0]], dtype=torch.float64))
    tensor([4., 4.], dtype=torch.float64)
    """
    variance = (x - x.mean(0)).square().mean(0)
    constant = x.amax(0) == x.amin(0)
    if not constant.any():
        filled = variance
    elif constant.all():
        square = x.square().mean() if x.any() else x.new_ones(())
        filled = square.expand_as(variance)
    else:
        filled = torch.where(constant, variance[~constant].log().mean().exp(), variance)
    smallest = torch.finfo(torch.float64).tiny
    if not (torch.isfinite(filled) & (filled >= smallest)).all():
        largest = float(x.abs().amax())
        raise ValueError(
            "x must have variances in the range of float64; its squares overflow or underflow"
            f" (largest entry {largest:.3g})"
        )
    return filled.clone()


def cholesky_of_scale(scale: Tensor) -> Tensor:
    """Cholesky factors (..., D, D) of S_0 + A.

    Raises: ValueError where rounding leaves no positive definite matrix.
    >>> cholesky_of_scale(torch.tensor([[4.0]]))
    tensor([[2.]])
    """
    factor: Tensor
    factor, info = torch.linalg.cholesky_ex(scale)
    if info.any() or not torch.isfinite(factor).all():
        raise ValueError("x is too far spread for scale: the Cholesky factorisation fails")
    return factor
