"""Draws of sites in a posterior of either ArviZ, or in a plain dictionary of tensors."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probact.arrays import as_tensor, check_count

__all__ = ["posterior_draws"]


def posterior_draws(
    posterior: Any, shapes: Mapping[str, tuple[int, ...]], *, max_draws: int | None = None
) -> dict[str, Tensor]:
    """At most max_draws draws (S, *shape) of every site, float64, spread evenly; None takes all.

    posterior is what `probact.sample` or `Fit.to_arviz` returns, chains one after the other, or a
    mapping of tensors (S, *shape).

    Raises: ValueError for something else, a site that is not there, draws of other shapes or not
    finite, or max_draws < 1.
    >>> posterior_draws({"w": torch.arange(3.0)}, {"w": ()}, max_draws=2)
    {'w': tensor([0., 2.], dtype=torch.float64)}
    """
    if max_draws is not None:
        check_count(max_draws, "max_draws")
    found = {name: _values(posterior, name, tuple(shape)) for name, shape in shapes.items()}
    counts = {name: len(value) for name, value in found.items()}
    if len(set(counts.values())) > 1 or 0 in counts.values():
        raise ValueError(f"posterior must hold equally many draws of each, got {counts}")
    total = next(iter(counts.values()))
    if max_draws is not None and max_draws < total:
        kept = np.linspace(0, total - 1, max_draws).round().astype(int)
        found = {name: value[kept] for name, value in found.items()}
    return found


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
