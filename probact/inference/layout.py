"""What a Pyro program looks like from outside: its sites, and a name for each of their axes.

One run of the program gives the table. An axis inside `pyro.plate("class", C)` is called "class";
the axes without a plate take the names in the model's attribute `dims` (site -> names, left to
right), else "<site>_dim_0", "<site>_dim_1", ... The model's attribute `coords` (dim -> sequence)
labels the entries of a dim; without it they count from 0.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pyro.distributions as dist
import pyro.poutine as poutine
import torch
from numpy.random import SeedSequence
from torch import Tensor

from probact.inference.randomness import seeded

__all__ = [
    "Model",
    "Site",
    "axis_names",
    "latent_sites",
    "model_table",
    "observed_sites",
    "read_sites",
]

Model = Callable[..., Any]


class Site(NamedTuple):
    """One sample statement: its law, its value (*batch, *event) and a name per axis.

    plates holds the plates around it; scaled says that its log density is weighted.
    """

    name: str
    fn: Any  # the Pyro distribution
    value: Tensor
    dims: tuple[str, ...]
    plates: frozenset[str]
    observed: bool
    scaled: bool


def read_sites(model: Model, args: tuple[Any, ...], seed: int = 0) -> dict[str, Site]:
    """Sites of one run of `model(*args)`, in its order; the caller's random streams stay put.

    Plates, `pyro.deterministic` and `pyro.factor` statements are not sites here.
    Raises: ValueError when `model.dims` names too many or too few axes.
    >>> import pyro
    >>> list(read_sites(lambda: pyro.sample("mu", dist.Normal(0.0, 1.0)), ()))
    ['mu']
    """
    names = model_table(model, "dims")
    with seeded(SeedSequence(seed)), torch.no_grad(), poutine.block():
        try:
            trace = poutine.trace(model).get_trace(*args)
        except ValueError as error:  # without the table of shapes that Pyro appends
            text = str(error).split("\nTrace Shapes:")[0].rstrip()
            raise ValueError(text) from error
    return {
        name: _read_site(node, names.get(name))
        for name, node in trace.nodes.items()
        if _is_statement(node)
    }


def _is_statement(node: dict[str, Any]) -> bool:
    """True for a sample statement with a density: no plate, no deterministic, no factor."""
    if node["type"] != "sample" or poutine.util.site_is_subsample(node):
        return False
    return not (node["infer"].get("_deterministic") or isinstance(node["fn"], dist.Unit))


def _read_site(node: dict[str, Any], names: Sequence[str] | None) -> Site:
    """The row of one trace node."""
    fn, frames = node["fn"], [f for f in node["cond_indep_stack"] if f.vectorized]
    batch_rank = len(fn.batch_shape)
    shape = (*fn.batch_shape, *fn.event_shape)
    plates: dict[int, str] = {batch_rank + f.dim: f.name for f in frames}
    return Site(
        name=node["name"],
        fn=fn,
        value=node["value"].expand(shape),
        dims=axis_names(node["name"], len(shape), names, plates),
        plates=frozenset(f.name for f in frames),
        observed=bool(node["is_observed"]),
        scaled=bool((torch.as_tensor(node["scale"]) != 1).any()),
    )


def axis_names(
    name: str, rank: int, names: Sequence[str] | None, plates: Mapping[int, str] | None = None
) -> tuple[str, ...]:
    """Names (rank,) of the axes of a variable: its plates by position, `names` for the other axes.

    Raises: ValueError when there are more or fewer `names` than axes without a plate.
    >>> axis_names("w", 2, None, {0: "class"})
    ('class', 'w_dim_0')
    """
    plates = plates or {}
    free = [axis for axis in range(rank) if axis not in plates]
    if names is None:
        names = [f"{name}_dim_{i}" for i in range(len(free))]
    if isinstance(names, str) or len(names) != len(free):
        raise ValueError(
            f"dims of {name!r} must name its {len(free)} axes without a plate, got {names!r}"
        )
    by_axis = {**plates, **dict(zip(free, names, strict=True))}
    return tuple(by_axis[axis] for axis in range(rank))


def model_table(model: Model, attribute: str) -> Mapping[str, Any]:
    """The model's dictionary `dims`, `coords` or `constant_data`; empty where it has none.

    Raises: ValueError when the attribute is not a dictionary.
    >>> model_table(lambda: None, "coords")
    {}
    """
    table = getattr(model, attribute, {})
    if not isinstance(table, Mapping):
        raise ValueError(f"model.{attribute} must be a dictionary, got {table!r}")
    return table


def latent_sites(sites: Mapping[str, Site]) -> dict[str, Site]:
    """The sites that inference has to fill in.

    >>> latent_sites({})
    {}
    """
    return {name: site for name, site in sites.items() if not site.observed}


def observed_sites(sites: Mapping[str, Site]) -> dict[str, Site]:
    """The sites whose value is data.

    >>> observed_sites({})
    {}
    """
    return {name: site for name, site in sites.items() if site.observed}
