"""Border checks of labelled unit activations: a (N, D) on the sphere, y (N,) classes."""

import torch
from torch import Tensor

from probact.arrays import check_finite
from probact.distributions.sphere_parameters import unit_vector

__all__ = ["check_labels", "check_unit_rows"]


def check_unit_rows(x: Tensor, name: str, dim: int) -> None:
    """Refuse anything but finite unit vectors (N, dim).

    Raises:
        ValueError: says the shape, or the first row and its norm.
    """
    if not isinstance(x, Tensor) or x.ndim != 2 or x.shape[1] != dim or len(x) == 0:
        got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"{name} must be a tensor (N, {dim}) with N >= 1, got {got}")
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"{name} must be float32 or float64, got {x.dtype}")
    check_finite(x, name)
    wrong = ~unit_vector.check(x)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        norm = torch.linalg.vector_norm(x[row]).item()
        raise ValueError(
            f"{name} must be unit vectors, row {row} has norm {norm:.6g}; "
            "normalise first, as Features.unit() does"
        )


def check_labels(labels: Tensor, num_classes: int, rows: int | None) -> None:
    """Refuse labels that are not integers (rows,) in 0 .. num_classes - 1.

    Raises:
        ValueError: says the shape, or the first label out of range.
    """
    integer = isinstance(labels, Tensor) and not labels.is_floating_point()
    if not integer or labels.dtype == torch.bool or labels.ndim != 1:
        got = f"{labels.dtype} {tuple(labels.shape)}" if isinstance(labels, Tensor) else labels
        raise ValueError(f"labels must be an integer tensor (N,), got {got}")
    if rows is not None and len(labels) != rows:
        raise ValueError(f"labels must be one per row: {len(labels)} labels for {rows} rows")
    wrong = (labels < 0) | (labels >= num_classes)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise ValueError(
            f"labels must be in 0 .. {num_classes - 1}, got {int(labels[row])} at row {row}"
        )
