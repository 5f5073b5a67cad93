r"""The components behind the draws of a Dirichlet-process Gaussian mixture.

Symbols: x (N, D) data; z (N,) labels; n_k the size of component k of K; alpha concentration; base
prior NIW(m_0, kappa_0, nu_0, s S_0). Given z, the parameters of component k follow NIW(m_k,
kappa_k, nu_k, S_k) with (Murphy 2012, eqs. 4.210 to 4.214; xbar the mean of the rows X_k)

    kappa_k = kappa_0 + n_k,  nu_k = nu_0 + n_k,  m_k = (kappa_0 m_0 + n_k xbar) / kappa_k,
    S_k = s S_0 + sum_i (x_i - xbar)(x_i - xbar)' + kappa_0 n_k / kappa_k (xbar - m_0)(xbar - m_0)'

K differs between draws, so the group holds one row per component of every draw, one draw after the
other: a contiguous ragged array of the CF conventions.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from probact.inference.arviz_bridge import Posterior, dataset, groups_of
from probact.inference.dirichlet.problem import Problem

__all__ = ["Components", "component_group", "components"]


class Components(NamedTuple):
    """The K components of one draw, in the caller's units and the order of its labels.

    Component k's mean and covariance follow NIW(mean_k, kappa_k, df_k, scale_k). For a diagonal
    prior scale_k is diagonal, and each coordinate has df_k - D + 1 degrees of freedom.
    """

    size: Tensor  # (K,) int64, n_k
    weight: Tensor  # (K,) n_k / (alpha + N); alpha / (alpha + N) is left for a new component
    mean: Tensor  # (K, D) m_k
    scale: Tensor  # (K, D, D) S_k
    kappa: Tensor  # (K,)
    df: Tensor  # (K,) nu_k


def component_group(
    problem: Problem, draws: Mapping[str, Any], attributes: Mapping[str, Any]
) -> xr.Dataset:
    """The group `components` of draws z (chain, draw, N) whose labels count from 0 without gaps.

    Variables: row_chain, row_draw, row_label, size (row,) and mean (row, feature), m_k in the
    caller's units. Whatever else a component has follows from z and the data: see `components`.
    """
    z = torch.as_tensor(draws["z"])  # (chain, draw, N)
    x = problem.x.cpu()
    prior_sum = (problem.kappa * problem.loc).cpu()  # (D,)
    sizes, means = [], []
    for labels in z.flatten(0, 1):
        slots = labels.to(torch.int64)
        size = torch.bincount(slots)  # (K,)
        sums = prior_sum.repeat(len(size), 1).index_add_(0, slots, x)  # (K, D)
        sizes.append(size)
        means.append(sums / (problem.kappa + size.double()).unsqueeze(1))
    rows = torch.cat(means) * problem.unit.cpu() + problem.centre.cpu()  # (row, D)
    return _ragged(z.shape[:2], sizes, rows, attributes)


def _ragged(
    shape: torch.Size, sizes: list[Tensor], means: Tensor, attributes: Mapping[str, Any]
) -> xr.Dataset:
    """Rows with where each is from."""
    num_components = np.array([len(size) for size in sizes])
    place = np.repeat(np.arange(len(sizes)), num_components)
    variables = {
        "row_chain": (place // shape[1]).astype(np.int32),
        "row_draw": (place % shape[1]).astype(np.int32),
        "row_label": np.concatenate([np.arange(k, dtype=np.int32) for k in num_components]),
        "size": torch.cat(sizes).int().numpy(),
    }
    dims: dict[str, tuple[str, ...]] = dict.fromkeys(variables, ("row",))
    dims["mean"] = ("row", "feature")
    # no sample_dims, ArviZ's mark of a group with draws along its axes: a row is a part of one
    return dataset({**variables, "mean": means.numpy()}, dims, None, attributes)


def components(posterior: Posterior, chain: int, draw: int) -> Components:
    """The components of one draw, rebuilt from its labels, the data and the prior; float64, CPU.

    chain and draw are the posterior's labels of these axes, as for `xarray.Dataset.sel`.

    Raises: ValueError for a posterior that is not of a Dirichlet-process Gaussian mixture with its
    data and its prior, or a draw that is not there.
    >>> from probact.inference.arviz_bridge import to_arviz
    >>> sites = {"z": np.zeros((1, 1, 3), dtype=np.int16), "alpha": np.ones((1, 1))}
    >>> prior = {"loc": [0.0], "scale": [[1.0]], "kappa": 1.0, "df": 3.0, "diagonal": False}
    >>> group = {f"prior_{name}": np.array(value) for name, value in prior.items()}
    >>> axes = {name: ("feature", "feature_bis")[: value.ndim] for name, value in group.items()}
    >>> names = {"z": ("chain", "draw", "obs"), "alpha": ("chain", "draw")}
    >>> x = dataset({"x": np.array([[1.0], [2.0], [3.0]])}, {"x": ("obs", "feature")})
    >>> groups = {"posterior": dataset(sites, names), "constant_data": dataset(group, axes)}
    >>> found = components(to_arviz(groups | {"observed_data": x}), 0, 0)
    >>> found.mean.item(), found.scale.item(), found.df.item()  # S = 1 + 2 + 3/4 * 2^2
    (1.5, 6.0, 6.0)
    """
    groups = groups_of(posterior)
    sites = _one_draw(groups, chain, draw)
    z = torch.from_numpy(sites["z"].values).to(torch.int64)
    x = _variable(groups, "observed_data", "x")  # (N, D)
    prior = {
        name: _variable(groups, "constant_data", f"prior_{name}")
        for name in ("loc", "scale", "kappa", "df", "diagonal")
    }
    if x.shape != (len(z), len(prior["loc"])):
        shapes = f"x {tuple(x.shape)}, z {tuple(z.shape)}, prior_loc {tuple(prior['loc'].shape)}"
        raise ValueError(f"posterior must hold x (N, D), z (N,) and prior_loc (D,), got {shapes}")
    s0 = prior["scale"] if prior["scale"].ndim == 2 else torch.diag(prior["scale"])
    if "scale_factor" in sites:
        s0 = s0 * float(sites["scale_factor"])
    sums = _update(x, z, prior["loc"], s0, float(prior["kappa"]))
    if bool(prior["diagonal"]):
        sums = sums._replace(scale=torch.diag_embed(sums.scale.diagonal(dim1=1, dim2=2)))
    share = sums.size.double()  # float64 before any sum: int64 and a number make float32
    weight = share / (float(sites["alpha"]) + len(z))
    return sums._replace(weight=weight, df=share + float(prior["df"]))


def _one_draw(groups: Mapping[str, xr.Dataset], chain: int, draw: int) -> xr.Dataset:
    """The posterior group at one draw."""
    group = groups.get("posterior", xr.Dataset())
    missing = sorted({"z", "alpha"} - set(map(str, group.data_vars)))
    if missing:
        raise ValueError(f"posterior must hold draws of z and alpha, it lacks {missing}")
    for name, label in (("chain", chain), ("draw", draw)):
        labels = group[name].values
        if label not in labels:
            raise ValueError(f"{name} must be one of {labels[0]} .. {labels[-1]}, got {label!r}")
    return group.sel(chain=chain, draw=draw)


def _variable(groups: Mapping[str, xr.Dataset], group: str, name: str) -> Tensor:
    """A variable in float64."""
    if group not in groups or name not in groups[group].data_vars:
        raise ValueError(f"posterior must hold {name!r} in the group {group}, it does not")
    return torch.from_numpy(np.asarray(groups[group][name].values, dtype=np.float64))


def _update(x: Tensor, z: Tensor, loc: Tensor, s0: Tensor, kappa0: float) -> Components:
    """Size, mean, scale and kappa; sums about the component's own mean, so nothing cancels."""
    size = torch.bincount(z)
    count = size.double()
    kappa = kappa0 + count
    centre = x.mean(0)
    sums = torch.zeros(len(size), x.shape[1], dtype=x.dtype).index_add_(0, z, x - centre)
    inner = sums / count.unsqueeze(1) + centre  # (K, D) xbar
    gap = inner - loc
    scale = s0 + torch.einsum("k,kd,ke->kde", kappa0 * count / kappa, gap, gap)
    for k, rows in enumerate(x[z.argsort(stable=True)].split(size.tolist())):
        scale[k] += (rows - inner[k]).T @ (rows - inner[k])
    mean = loc + (count / kappa).unsqueeze(1) * gap
    return Components(size, count, mean, scale, kappa, kappa)
