"""Pointwise log densities of the data under every draw, for `az.loo` and `az.compare`.

Latent labels that the draws hold are conditioned on, which the group's attribute `conditional_on`
says; leave-one-out from such conditional densities is misleading for mixtures.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyro.poutine as poutine
import torch
import xarray as xr
from numpy.random import SeedSequence
from torch import Tensor

from probact.inference.arviz_bridge import (
    SAMPLE_DIMS,
    Posterior,
    dataset,
    draws,
    groups_of,
    to_arviz,
)
from probact.inference.batches import as_args
from probact.inference.groups import sampled
from probact.inference.layout import (
    Model,
    Site,
    latent_sites,
    model_table,
    observed_sites,
    read_sites,
)
from probact.inference.parameters import empty_store
from probact.inference.randomness import seeded
from probact.inference.threads import threads_for

__all__ = ["log_likelihood"]


def log_likelihood(model: Model, posterior: Posterior, data: Any = None) -> Posterior:
    """The posterior with a group `log_likelihood` (chain, draw, *plates) added, in nats.

    The program is conditioned on one draw after the other, so memory beside the result stays that
    of one run. Plate scaling (mini-batches) is not applied; masks are. `pyro.factor` terms have no
    data point and are left out.

    Raises: ValueError when the model observes nothing, or has latent sites without draws (NUTS
    sums discrete ones out).
    >>> import pyro, pyro.distributions as dist
    >>> from probact.inference.arviz_bridge import from_draws
    >>> def model(x):
    ...     mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    ...     return pyro.sample("x", dist.Normal(mu, 1.0), obs=x)
    >>> post = log_likelihood(model, from_draws({"mu": torch.zeros(3)}), torch.tensor(0.0))
    >>> float(post.log_likelihood["x"][0, 0])
    -0.918938...
    """
    args, groups = as_args(data), groups_of(posterior)
    if "posterior" not in groups:
        raise ValueError(f"posterior has no group 'posterior', it has {sorted(groups)}")
    with empty_store(), threads_for(args):
        sites = read_sites(model, args)
        group = _pointwise_group(model, args, sites, posterior, groups["posterior"])
    return to_arviz({**groups, "log_likelihood": group})


def _pointwise_group(
    model: Model,
    args: tuple[Any, ...],
    sites: Mapping[str, Site],
    posterior: Posterior,
    group: xr.Dataset,
) -> xr.Dataset:
    """The group of pointwise log densities."""
    observed, latent = observed_sites(sites), latent_sites(sites)
    missing = sorted(set(latent) - {str(name) for name in group.data_vars})
    if not observed:
        raise ValueError("model observes nothing at this data: there is no log likelihood")
    if missing:
        raise ValueError(f"posterior holds no draws of the latent sites {missing}")
    device = next((arg.device for arg in args if isinstance(arg, Tensor)), torch.device("cpu"))
    values = {name: draws(posterior, name).to(device) for name in latent}
    chain_draw = (group.sizes["chain"], group.sizes["draw"])
    ranks = {name: len(site.fn.batch_shape) for name, site in observed.items()}
    arrays = {
        name: np.empty((chain_draw[0] * chain_draw[1], *site.value.shape[: ranks[name]]))
        for name, site in observed.items()
    }
    for s, densities in enumerate(_each_draw(model, args, values, list(observed))):
        for name, log_prob in densities.items():
            arrays[name][s] = log_prob.cpu().numpy()
    arrays = {name: a.reshape(*chain_draw, *a.shape[1:]) for name, a in arrays.items()}
    dims = {n: (*SAMPLE_DIMS, *site.dims[: ranks[n]]) for n, site in observed.items()}
    marks = sampled({**group.attrs, "conditional_on": ", ".join(latent)})
    return dataset(arrays, dims, model_table(model, "coords"), marks)


def _each_draw(
    model: Model, args: tuple[Any, ...], values: Mapping[str, Tensor], names: list[str]
) -> Iterator[dict[str, Tensor]]:
    """Log density (*plates) of the sites `names` at draw after draw of `values` (S, ...)."""
    count = len(next(iter(values.values()))) if values else 0
    for s in range(count):
        point = {name: value[s] for name, value in values.items()}
        with seeded(SeedSequence(0)), torch.no_grad(), poutine.block():
            trace = poutine.trace(poutine.condition(model, point)).get_trace(*args)
            trace.compute_log_prob(lambda name, site: name in names)
        yield {name: trace.nodes[name]["unscaled_log_prob"] for name in names}
