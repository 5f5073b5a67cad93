"""The one file that touches ArviZ: arrays in, `InferenceData` (0.x) or `DataTree` (1.x) out.

Groups are `xarray.Dataset`s built here; ArviZ's own converters are not called, because their
signatures changed silently between the versions. Every dimension has a coordinate and no variable
shares a dimension's name (ArviZ's schema).
"""

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import arviz as az
import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor

from probact.inference.atomic import write_atomically
from probact.inference.layout import axis_names

__all__ = [
    "Posterior",
    "compare",
    "convergence",
    "dataset",
    "draws",
    "from_draws",
    "from_netcdf",
    "groups_of",
    "run_attributes",
    "to_arviz",
    "to_netcdf",
]

SCHEMA = 1  # raised when the meaning of a stored group changes
SAMPLE_DIMS = ("chain", "draw")

Posterior: TypeAlias = Any  # InferenceData on ArviZ 0.x, DataTree on 1.x
ON_TREES = int(az.__version__.split(".")[0]) >= 1


def dataset(
    variables: Mapping[str, np.ndarray],
    dims: Mapping[str, Sequence[str]],
    coords: Mapping[str, Sequence[Any]] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """One group: `dims[name]` names the axes of `variables[name]`; a dim without coords counts.

    Raises: ValueError for a dim with two sizes, coords of another length, a dim used twice by one
    variable, or a variable named as a dim.
    >>> dataset({"w": np.zeros((1, 2, 3))}, {"w": ("chain", "draw", "class")}).sizes["class"]
    3
    """
    sizes: dict[str, int] = {}
    for name, array in variables.items():
        if len(set(dims[name])) != len(dims[name]):
            raise ValueError(f"{name!r} names a dim twice: {tuple(dims[name])}")
        for dim, size in zip(dims[name], np.shape(array), strict=True):
            if sizes.setdefault(dim, size) != size:
                raise ValueError(f"dim {dim!r} has size {sizes[dim]} and, in {name!r}, {size}")
    shared = sorted(set(variables) & set(sizes))
    if shared:
        raise ValueError(f"{shared} name both a variable and a dim")
    return xr.Dataset(
        {name: (tuple(dims[name]), array) for name, array in variables.items()},
        coords={dim: _coordinate(dim, size, coords or {}) for dim, size in sizes.items()},
        attrs=dict(attributes or {}),
    )


def _coordinate(dim: str, size: int, coords: Mapping[str, Sequence[Any]]) -> np.ndarray:
    """Labels (size,) of a dim."""
    if dim not in coords:
        return np.arange(size)
    values = as_array(coords[dim])
    if values.shape != (size,):
        raise ValueError(f"coords[{dim!r}] must hold {size} labels, got shape {values.shape}")
    return values


def as_array(value: Any) -> np.ndarray:
    """A tensor or array-like as an array of its own on the CPU, dtype kept.

    >>> as_array(torch.ones(2, dtype=torch.float64))
    array([1., 1.])
    """
    return np.array(value.detach().cpu().numpy() if isinstance(value, Tensor) else value)


def run_attributes(*, seed: int, device: str, seconds: float, tune: int) -> dict[str, Any]:
    """Attributes of every group of a run: who made it, when, on what; times in seconds.

    >>> run_attributes(seed=0, device="cpu", seconds=1.0, tune=10)["inference_library"]
    'probact'
    """
    return {
        "created_at": datetime.now(UTC).isoformat(),
        "inference_library": "probact",
        "inference_library_version": version("probact"),
        "probact_schema": SCHEMA,
        "seed": int(seed),
        "device": device,
        "torch_version": str(torch.__version__),
        "pyro_version": version("pyro-ppl"),
        "sampling_time": float(seconds),
        "tuning_steps": int(tune),
    }


def to_arviz(groups: Mapping[str, xr.Dataset]) -> Posterior:
    """The installed ArviZ's own container of the groups; empty groups are left out.

    >>> group = dataset({"mu": np.zeros((1, 4))}, {"mu": ("chain", "draw")})
    >>> list(groups_of(to_arviz({"posterior": group})))
    ['posterior']
    """
    tree = xr.DataTree.from_dict({f"/{name}": ds for name, ds in groups.items() if ds.data_vars})
    return tree if ON_TREES else az.from_datatree(tree)


def groups_of(posterior: Posterior) -> dict[str, xr.Dataset]:
    """The groups of either container by name.

    Raises: ValueError for anything else.
    """
    if not isinstance(posterior, xr.DataTree if ON_TREES else az.InferenceData):
        kind = type(posterior).__name__
        raise ValueError(f"posterior must be what probact.sample returns, got {kind}")
    tree = posterior if ON_TREES else posterior.to_datatree()
    return {name: child.to_dataset() for name, child in tree.children.items()}


def draws(posterior: Posterior, name: str, *, group: str = "posterior") -> Tensor:
    """Draws (S, ...) of one variable, chains one after the other, on the CPU in the stored dtype.

    Raises: ValueError for a group or variable that is not there.
    >>> draws(from_draws({"mu": torch.arange(3.0)}), "mu")
    tensor([0., 1., 2.])
    """
    groups = groups_of(posterior)
    if group not in groups or name not in groups[group].data_vars:
        there = sorted(map(str, groups[group].data_vars)) if group in groups else sorted(groups)
        raise ValueError(f"{group} holds no {name!r}; there are {there}")
    variable = groups[group][name].transpose(*SAMPLE_DIMS, ...)
    return torch.from_numpy(variable.values.reshape(-1, *variable.shape[2:]).copy())


def from_draws(
    variables: Mapping[str, Tensor | np.ndarray],
    *,
    dims: Mapping[str, Sequence[str]] | None = None,
    coords: Mapping[str, Sequence[Any]] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> Posterior:
    """Independent draws (S, ...) from elsewhere as a posterior of one chain.

    `dims` names the axes after the first; `attributes` go to the group.

    Raises: ValueError when there are no draws, or their numbers S differ.
    >>> list(groups_of(from_draws({"mu": torch.zeros(100)}))["posterior"].data_vars)
    ['mu']
    """
    arrays = {name: as_array(value)[None] for name, value in variables.items()}  # (1, S, ...)
    lengths = {name: a.shape[1] if a.ndim > 1 else 0 for name, a in arrays.items()}
    if not lengths or len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise ValueError(f"variables must hold equally many draws, at least one, got {lengths}")
    names = {
        name: (*SAMPLE_DIMS, *axis_names(name, array.ndim - 2, (dims or {}).get(name)))
        for name, array in arrays.items()
    }
    marks = {**(attributes or {}), "sample_dims": list(SAMPLE_DIMS)}
    return to_arviz({"posterior": dataset(arrays, names, coords, marks)})


def convergence(group: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """Split R-hat and bulk effective sample size of every variable (Vehtari et al. 2021).

    Both are NaN for entries that never move, and R-hat for a single chain.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ess = az.ess(group, method="bulk")
        one_chain = group.sizes["chain"] == 1  # of which ArviZ 0.x complains on stderr
        return (xr.full_like(ess, np.nan) if one_chain else az.rhat(group)), ess


def compare(posteriors: Mapping[str, Posterior], *, var_name: str) -> pd.DataFrame:
    """`az.compare` by PSIS-LOO with the same columns, unrounded, on both generations.

    Columns: elpd and se (nats over all points), behind (elpd below the best) and its dse, p
    (effective parameters), weight (stacking), warning (a Pareto k too large to trust). Best first.

    Raises: ValueError as `az.compare` does, for posteriors without the group log_likelihood.
    """
    if ON_TREES:  # 1.x rounds unless told not to
        table = az.compare(dict(posteriors), var_name=var_name, round_to="none")
        warned = table["diag_elpd"].astype(str).str.strip() != ""
        columns = {"elpd": "elpd", "p": "p"}
    else:
        table = az.compare(dict(posteriors), var_name=var_name)
        warned, columns = table["warning"], {"elpd": "elpd_loo", "p": "p_loo"}
    return pd.DataFrame(
        {
            "elpd": table[columns["elpd"]].astype(float),
            "se": table["se"].astype(float),
            "behind": table["elpd_diff"].astype(float).abs(),  # 1.x counts below zero
            "dse": table["dse"].astype(float),
            "p": table[columns["p"]].astype(float),
            "weight": table["weight"].astype(float),
            "warning": warned.astype(bool),
        }
    )


def to_netcdf(posterior: Posterior, path: str | os.PathLike[str]) -> Path:
    """Write all groups to one netCDF file that either ArviZ reads; a crash leaves the old file.

    Raises: ValueError when posterior is not what the installed ArviZ calls its own.
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as room:
    ...     path = to_netcdf(from_draws({"mu": torch.arange(3.0)}), Path(room) / "run.nc")
    ...     draws(from_netcdf(path), "mu")
    tensor([0., 1., 2.])
    """
    tree = xr.DataTree.from_dict({f"/{name}": ds for name, ds in groups_of(posterior).items()})
    target = Path(path)
    write_atomically(target, lambda part: tree.to_netcdf(part, engine="h5netcdf"))
    return target


def from_netcdf(path: str | os.PathLike[str]) -> Posterior:
    """Read a file of `to_netcdf`, of either ArviZ, into memory.

    Raises: ValueError when there is no such file.
    """
    if not Path(path).is_file():
        raise ValueError(f"path must be a netCDF file, got {os.fspath(path)!r}")
    with xr.open_datatree(path, engine="h5netcdf") as tree:
        return to_arviz({name: child.to_dataset().load() for name, child in tree.children.items()})
