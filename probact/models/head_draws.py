"""Draws of a last layer in a posterior of either ArviZ, or in a plain dictionary of tensors."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from probact.arrays import as_tensor, check_count

__all__ = ["HeadDraws", "head_draws"]


class HeadDraws(NamedTuple):
    """S draws in float64; the variance where the layer has one."""

    weight: Tensor  # (S, R, p)
    bias: Tensor  # (S, R)
    variance: Tensor | None  # (S, R)


def head_draws(
    posterior: Any,
    rows: int,
    num_features: int,
    *,
    variance: bool = False,
    max_draws: int | None = None,
) -> HeadDraws:
    """At most max_draws draws, spread evenly over chains and draws; None takes all.

    posterior is what `probact.sample` returns, what `Fit.to_arviz` returns, or a mapping with
    weight (S, R, p), bias (S, R) and, for a gaussian layer, variance (S, R).

    Raises: ValueError for something else, for draws of other shapes, or max_draws < 1.
    >>> one = {"weight": torch.zeros(1, 2, 3), "bias": torch.zeros(1, 2)}
    >>> head_draws(one, 2, 3).weight.shape
    torch.Size([1, 2, 3])
    """
    if max_draws is not None:
        check_count(max_draws, "max_draws")
    shapes = {"weight": (rows, num_features), "bias": (rows,)}
    if variance:
        shapes["variance"] = (rows,)
    found = {name: _values(posterior, name, shape) for name, shape in shapes.items()}
    counts = {name: len(value) for name, value in found.items()}
    if len(set(counts.values())) > 1 or 0 in counts.values():
        raise ValueError(f"posterior must hold equally many draws of each, got {counts}")
    if max_draws is not None and max_draws < counts["weight"]:
        kept = np.linspace(0, counts["weight"] - 1, max_draws).round().astype(int)
        found = {name: value[kept] for name, value in found.items()}
    return HeadDraws(found["weight"], found["bias"], found.get("variance"))


def _values(posterior: Any, name: str, shape: tuple[int, ...]) -> Tensor:
    """Finite draws (S, *shape) of one site."""
    if isinstance(posterior, Mapping) and name in posterior:
        draws = as_tensor(posterior[name], name).double()
    else:
        draws = _stored(posterior, name)
    if draws.ndim != 1 + len(shape) or tuple(draws.shape[1:]) != shape:
        wanted = ", ".join(("S", *map(str, shape)))
        raise ValueError(f"{name} must be ({wanted}) in the posterior, got {tuple(draws.shape)}")
    if not bool(torch.isfinite(draws).all()):
        raise ValueError(f"posterior has draws of {name} with NaN or infinity")
    return draws


def _stored(posterior: Any, name: str) -> Tensor:
    """Draws (S, ...) of a site, chains one after the other."""
    group = getattr(posterior, "posterior", None)
    if group is None:
        kind = type(posterior).__name__
        raise ValueError(
            "posterior must be what probact.sample returns, or a mapping with"
            f" {name!r}, got {kind}"
        )
    if name not in group:
        raise ValueError(f"posterior must hold {name!r}, there are {sorted(map(str, group))}")
    values = group[name].transpose("chain", "draw", ...).values
    return torch.from_numpy(np.array(values.reshape(-1, *values.shape[2:]), dtype=np.float64))
