"""The border of models on the sphere: unit activations a (N, D), labels y (N,), priors, counts."""

import torch
from torch import Tensor
from torch.distributions import Distribution

from probact.arrays import check_finite
from probact.distributions.sphere_parameters import unit_vector

__all__ = [
    "check_labelled",
    "check_labels",
    "check_prior",
    "check_unit_rows",
]


def check_unit_rows(x: Tensor, name: str, dim: int) -> None:
    """Refuse anything but finite unit vectors (N, dim).

    Raises:
        ValueError: says the shape, or the first row and its norm.
    """
    if not isinstance(x, Tensor) or x.ndim != 2 or x.shape[1] != dim or len(x) == 0:
        got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"{name} must be a tensor (N, {dim}) with N >= 1, got {got}")
    if x.is_meta:
        raise ValueError(f"{name} is on the meta device: it has a shape but no values")
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
    """Refuse labels that are not int64 (rows,) in 0 .. num_classes - 1.

    No other type will do: torch reads uint8 as a mask when it indexes.

    Raises:
        ValueError: says the type and shape, or the first label out of range.
    """
    known = isinstance(labels, Tensor)
    if not known or labels.dtype != torch.int64 or labels.ndim != 1:
        got = f"{labels.dtype} {tuple(labels.shape)}" if known else repr(labels)
        raise ValueError(f"labels must be an int64 tensor (N,), got {got}")
    if rows is not None and len(labels) != rows:
        raise ValueError(f"labels must be one per row: {len(labels)} labels for {rows} rows")
    wrong = (labels < 0) | (labels >= num_classes)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise ValueError(
            f"labels must be in 0 .. {num_classes - 1}, got {int(labels[row])} at row {row}"
        )


def check_labelled(activations: Tensor, labels: Tensor, dim: int, num_classes: int) -> None:
    """Refuse anything but unit activations (N, dim) with a label each in 0 .. num_classes - 1.

    Raises:
        ValueError: as `check_unit_rows` and `check_labels`.
    """
    check_unit_rows(activations, "activations", dim)
    check_labels(labels, num_classes, len(activations))


def check_prior(prior: Distribution, name: str, num_classes: int) -> None:
    """Refuse a prior of concentrations that is neither () nor (num_classes,) of numbers.

    Raises:
        ValueError: names the argument, and says the shapes.
    """
    if prior.event_shape or tuple(prior.batch_shape) not in ((), (num_classes,)):
        raise ValueError(
            f"{name} must be univariate with batch shape () or ({num_classes},), got event shape "
            f"{tuple(prior.event_shape)} and batch shape {tuple(prior.batch_shape)}"
        )
    support = prior.support
    below = bool(support.check(torch.tensor(-1.0))) if support is not None else True
    if below or (support is not None and support.is_discrete):
        raise ValueError(f"{name} must be a law of positive numbers, got {type(prior).__name__}")
