"""Components rebuilt from labels agree with the textbook update, one point after the other."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from probact.inference import components, from_netcdf, to_netcdf
from probact.inference.arviz_bridge import Posterior, convergence, dataset, groups_of, to_arviz
from probact.inference.dirichlet.components import component_group
from probact.inference.dirichlet.problem import pose

F64 = torch.float64
N, D = 30, 3
ALPHA = np.array([[0.5, 1.0, 2.0], [1.5, 3.0, 0.1]])


def data() -> Tensor:
    spread = torch.tensor([1.0, 10.0, 0.1], dtype=F64)
    return torch.randn(N, D, generator=torch.Generator().manual_seed(0), dtype=F64) * spread + 100


def labels() -> Tensor:
    """(2 chains, 3 draws, N), numbered by first appearance."""
    z = torch.zeros(2, 3, N, dtype=torch.int16)
    z[0, 1, 5:] = 1
    z[0, 2] = torch.arange(N) % 4
    z[1, 0] = torch.arange(N)
    z[1, 2, 20:] = 1
    z[1, 2, 25:] = 2
    return z


def base(diagonal: bool = False) -> SimpleNamespace:
    x = data()
    scale = torch.diag(x.var(0)) if diagonal else torch.cov(x.T) * 1.5
    return SimpleNamespace(loc=x.mean(0) + 1.0, kappa=0.3, scale=scale, df=6.5, diagonal=diagonal)


def posterior(prior: SimpleNamespace, scale_factor: np.ndarray | None = None) -> Posterior:
    x, z = data(), labels()
    model = SimpleNamespace(base=prior, concentration=1.0, scale_factor=None)
    sites: dict[str, Any] = {"alpha": ALPHA, "z": z.numpy()}
    dims = {"alpha": ("chain", "draw"), "z": ("chain", "draw", "obs")}
    if scale_factor is not None:
        sites["scale_factor"], dims["scale_factor"] = scale_factor, ("chain", "draw")
    constant = {f"prior_{name}": np.asarray(value) for name, value in vars(prior).items()}
    features = ("feature", "feature_bis")
    axes = {name: features[: value.ndim] for name, value in constant.items()}
    return to_arviz(
        {
            "posterior": dataset(sites, dims),
            "observed_data": dataset({"x": x.numpy()}, {"x": ("obs", "feature")}),
            "constant_data": dataset(constant, axes),
            "components": component_group(pose(model, x), {"z": z}, {"seed": 0}),
        }
    )


def one_by_one(rows: np.ndarray, prior: SimpleNamespace, factor: float) -> tuple[Any, ...]:
    """m, S, kappa, nu after each row in turn: Murphy 2012, section 4.6.3.3, with N = 1."""
    m, s = prior.loc.numpy(), factor * prior.scale.numpy()
    kappa, df = prior.kappa, prior.df
    for row in rows:
        gap = row - m
        s = s + kappa / (kappa + 1.0) * np.outer(gap, gap)
        m = (kappa * m + row) / (kappa + 1.0)
        kappa, df = kappa + 1.0, df + 1.0
    return m, s, kappa, df


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("factors", [None, np.array([[1.0, 2.0, 0.5], [3.0, 0.1, 4.0]])])
def test_components_follow_the_update_point_by_point(
    diagonal: bool, factors: np.ndarray | None
) -> None:
    prior, x, z = base(diagonal), data().numpy(), labels()
    post = posterior(prior, factors)
    for chain in range(2):
        for draw in range(3):
            factor = 1.0 if factors is None else float(factors[chain, draw])
            got = components(post, chain, draw)
            own = z[chain, draw].numpy()
            assert got.size.tolist() == np.bincount(own).tolist()
            for k in range(len(got.size)):
                m, s, kappa, df = one_by_one(x[own == k], prior, factor)
                s = np.diag(np.diag(s)) if diagonal else s
                np.testing.assert_allclose(got.mean[k], m, rtol=1e-12)
                np.testing.assert_allclose(got.scale[k], s, rtol=1e-9, atol=1e-10)
                assert float(got.kappa[k]) == pytest.approx(kappa)
                assert float(got.df[k]) == pytest.approx(df)
            rest = ALPHA[chain, draw] / (ALPHA[chain, draw] + N)
            assert float(got.weight.sum()) == pytest.approx(1.0 - rest)


def test_rows_are_the_components_of_every_draw() -> None:
    post = posterior(base())
    group = groups_of(post)["components"]
    assert not set(map(str, group.data_vars)) & set(map(str, group.dims))
    row = 0
    for chain in range(2):
        for draw in range(3):
            want = components(post, chain, draw)
            here = slice(row, row + len(want.size))
            assert set(group["row_chain"].values[here]) == {chain}
            assert set(group["row_draw"].values[here]) == {draw}
            assert group["row_label"].values[here].tolist() == list(range(len(want.size)))
            assert group["size"].values[here].tolist() == want.size.tolist()
            np.testing.assert_allclose(group["mean"].values[here], want.mean, rtol=1e-12)
            row = here.stop
    assert row == group.sizes["row"]
    assert group.attrs == {"seed": 0}


def test_components_survive_the_file_and_a_selection_of_draws(tmp_path: Path) -> None:
    post = posterior(base())
    read = from_netcdf(to_netcdf(post, tmp_path / "post.nc"))
    groups = groups_of(read)
    convergence(groups["posterior"][["alpha"]])  # ArviZ reads the file's groups as ever
    groups["posterior"] = groups["posterior"].isel(draw=[2])
    late = components(to_arviz(groups), 1, 2)
    for got, want in zip(late, components(post, 1, 2), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=0)


def without(post: Posterior, group: str, name: str) -> Posterior:
    groups = groups_of(post)
    groups[group] = groups[group].drop_vars(name)
    return to_arviz(groups)


@pytest.mark.parametrize(
    ("group", "name", "message"),
    [
        ("posterior", "z", r"draws of z and alpha, it lacks \['z'\]"),
        ("observed_data", "x", "must hold 'x' in the group observed_data"),
        ("constant_data", "prior_df", "must hold 'prior_df' in the group constant_data"),
    ],
)
def test_refuses_a_posterior_that_lacks_something(group: str, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        components(without(posterior(base()), group, name), 0, 0)


def test_refuses_what_is_not_there() -> None:
    post = posterior(base())
    with pytest.raises(ValueError, match=r"draw must be one of 0 \.\. 2, got 3"):
        components(post, 0, 3)
    with pytest.raises(ValueError, match=r"chain must be one of 0 \.\. 1, got -1"):
        components(post, -1, 0)
    with pytest.raises(ValueError, match="posterior must be what"):
        components({"posterior": 1}, 0, 0)


def test_refuses_data_of_another_size() -> None:
    groups = groups_of(posterior(base()))
    groups["observed_data"] = groups["observed_data"].isel(obs=slice(5))
    with pytest.raises(ValueError, match=r"must hold x \(N, D\), z \(N,\)"):
        components(to_arviz(groups), 0, 0)
