"""Draws of a partition in a posterior of either ArviZ: read by name, thinned evenly."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

from probact.arrays import as_matrix, check_count

__all__ = ["PartitionDraws", "check_positive_law", "partition_draws"]


class PartitionDraws(NamedTuple):
    """x (N, D) in float64; z (S, N), alpha (S,), scale_factor (S,), ones where it has no prior."""

    x: Tensor
    z: Tensor
    alpha: Tensor
    scale_factor: Tensor


def partition_draws(
    posterior: Any,
    max_draws: int,
    fixed_alpha: float | None,
    constants: Mapping[str, Tensor],
) -> PartitionDraws:
    """At most max_draws draws of `posterior`, spread evenly over its chains and draws.

    posterior is what `probact.sample` returns: its groups answer to names, `posterior` with z
    (chain, draw, obs) and alpha (chain, draw), `observed_data` with x (obs, feature). alpha may
    lack where it is fixed. Its `constant_data` must be `constants`, those of the model that reads.

    Raises: ValueError for something else than such a posterior, another prior, or max_draws < 1.
    """
    check_count(max_draws, "max_draws")
    _check_same(_group(posterior, "constant_data"), constants)
    draws, observed = _group(posterior, "posterior"), _group(posterior, "observed_data")
    x = as_matrix(_variable(observed, "x", ("obs", "feature")), "x").double()
    z = _variable(draws, "z", ("chain", "draw", "obs"))
    z = z.reshape(-1, z.shape[-1])
    if z.shape[1] != len(x):
        raise ValueError(f"posterior has labels of {z.shape[1]} points, its x has {len(x)}")
    kept = np.unique(np.linspace(0, len(z) - 1, min(max_draws, len(z))).round().astype(int))

    def numbers(name: str, default: float | None) -> Tensor:
        if default is not None and name not in draws:
            return torch.full((len(kept),), default, dtype=torch.float64)
        values = _variable(draws, name, ("chain", "draw")).reshape(-1)[kept]
        return torch.from_numpy(values.astype(np.float64))

    labels = torch.from_numpy(z[kept].astype(np.int64))
    return PartitionDraws(x, labels, numbers("alpha", fixed_alpha), numbers("scale_factor", 1.0))


def _check_same(group: Any, constants: Mapping[str, Tensor]) -> None:
    """Refuse a posterior that was drawn under other constants."""
    for name, value in constants.items():
        there = group[name].values if name in group else None
        if there is None or not np.array_equal(there, value.cpu().numpy()):
            raise ValueError(
                f"posterior is of another model: its {name} is not that of this model's base"
            )


def check_positive_law(law: Any, name: str) -> None:
    """Refuse what is not a Pyro distribution of one positive number.

    Raises: ValueError naming the argument.
    >>> import pyro.distributions as dist
    >>> check_positive_law(dist.Gamma(1.0, 1.0), "concentration")
    """
    if not isinstance(law, TorchDistributionMixin):
        raise ValueError(f"{name} must be a Pyro distribution, got {type(law).__name__}")
    if tuple(law.batch_shape) or tuple(law.event_shape):
        shapes = tuple(law.batch_shape), tuple(law.event_shape)
        raise ValueError(f"{name} must be a law of one number, got batch and event shape {shapes}")
    support = law.support
    if support.is_discrete or bool(support.check(torch.tensor(-1.0))):
        raise ValueError(f"{name} must be a law of positive numbers, got {type(law).__name__}")


def _group(posterior: Any, name: str) -> Any:
    """A group by its name. Raises: ValueError where there is none."""
    try:
        return posterior[name]
    except (KeyError, TypeError, IndexError, AttributeError):
        kind = type(posterior).__name__
        raise ValueError(
            f"posterior must be what probact.sample returns, with a group {name!r}, got {kind}"
        ) from None


def _variable(group: Any, name: str, dims: tuple[str, ...]) -> np.ndarray:
    """Values of a variable with these axes, in this order."""
    if name not in group or set(group[name].dims) != set(dims):
        raise ValueError(f"posterior must hold {name!r} with dims {dims}, there are {list(group)}")
    values: np.ndarray = group[name].transpose(*dims).values
    return values
