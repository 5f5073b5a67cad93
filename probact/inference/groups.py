"""The ArviZ groups of a Pyro program: draws, statistics and data, with named axes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from torch import Tensor

from probact.inference.arviz_bridge import SAMPLE_DIMS, as_array, dataset
from probact.inference.layout import Model, Site, axis_names, model_table

__all__ = ["constant_group", "observed_group", "posterior_group", "sampled", "stats_group"]


def posterior_group(
    model: Model,
    sites: Mapping[str, Site],
    values: Mapping[str, Tensor | np.ndarray],
    attributes: Mapping[str, Any],
) -> xr.Dataset:
    """Draws (chain, draw, ...) of sites, and of what a kernel records besides, as one group.

    Raises: ValueError for names of dims that contradict each other.
    >>> import torch
    >>> group = posterior_group(lambda: None, {}, {"alpha": torch.zeros(2, 3)}, {})
    >>> dict(group.sizes)
    {'chain': 2, 'draw': 3}
    """
    named = model_table(model, "dims")
    # an array is the caller's gift: draws are not held twice
    arrays = {k: v if isinstance(v, np.ndarray) else as_array(v) for k, v in values.items()}
    dims = {
        name: sites[name].dims
        if name in sites
        else axis_names(name, array.ndim - 2, named.get(name))
        for name, array in arrays.items()
    }
    dims = {name: (*SAMPLE_DIMS, *rest) for name, rest in dims.items()}
    return dataset(arrays, dims, model_table(model, "coords"), sampled(attributes))


def stats_group(stats: Mapping[str, np.ndarray], attributes: Mapping[str, Any]) -> xr.Dataset:
    """Statistics (chain, draw) of the steps as one group.

    >>> dict(stats_group({"lp": np.zeros((2, 3))}, {}).sizes)
    {'chain': 2, 'draw': 3}
    """
    return dataset(stats, dict.fromkeys(stats, SAMPLE_DIMS), None, sampled(attributes))


def observed_group(
    model: Model, sites: Mapping[str, Site], attributes: Mapping[str, Any]
) -> xr.Dataset:
    """Values of the observed sites as one group."""
    arrays = {name: as_array(site.value) for name, site in sites.items()}
    dims = {name: site.dims for name, site in sites.items()}
    return dataset(arrays, dims, model_table(model, "coords"), attributes)


def constant_group(model: Model, attributes: Mapping[str, Any]) -> xr.Dataset:
    """The model's `constant_data` (name -> tensor or array) as one group."""
    arrays = {k: as_array(v) for k, v in model_table(model, "constant_data").items()}
    named = model_table(model, "dims")
    dims = {name: axis_names(name, array.ndim, named.get(name)) for name, array in arrays.items()}
    return dataset(arrays, dims, model_table(model, "coords"), attributes)


def sampled(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of a group that has draws: ArviZ 1.x reads `sample_dims`.

    >>> sampled({})
    {'sample_dims': ['chain', 'draw']}
    """
    return {**attributes, "sample_dims": list(SAMPLE_DIMS)}
