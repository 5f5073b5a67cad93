"""The Dirichlet-process mixture as a Pyro program, and its readings, against enumeration."""

import math
import warnings
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from bad_inputs import data_cases, verdict
from partition_oracle import NIW, blocks, demo_data, log_joint, set_partitions
from pyro import poutine
from scipy import stats
from statcheck import AlphaBudget, dkw_pvalue, paired_mean_pvalue
from torch import Tensor

from probact.distributions import NormalInverseWishart
from probact.inference import CollapsedGibbs, sample
from probact.inference.arviz_bridge import dataset, from_netcdf, to_arviz, to_netcdf
from probact.inference.dirichlet.problem import pose
from probact.inference.dirichlet.state import DPState
from probact.inference.dirichlet.state import log_joint as kernel_log_joint
from probact.inference.groups import constant_group, posterior_group
from probact.inference.layout import read_sites
from probact.models import DPGMM

F64 = torch.float64


def tiny(diagonal: bool = False) -> tuple[Tensor, float, NormalInverseWishart, NIW]:
    x, alpha, oracle = demo_data()
    oracle.diagonal = diagonal
    base = NormalInverseWishart(
        oracle.mu0, oracle.kappa0, oracle.psi0, oracle.nu0, diagonal=diagonal
    )
    return torch.tensor(x), alpha, base, oracle


def trace_of(program: Any, x: Tensor, **values: Tensor) -> Any:
    return poutine.trace(poutine.condition(program, values)).get_trace(x)


@pytest.mark.parametrize("diagonal", [False, True])
def test_joint_density_is_the_oracles_and_the_kernels(diagonal: bool) -> None:
    x, _, base, oracle = tiny(diagonal)
    prior, scales = dist.Gamma(2.0, 3.0), dist.LogNormal(0.0, 0.5)
    alpha, s = torch.tensor(0.9, dtype=F64), torch.tensor(1.4, dtype=F64)
    plain = DPGMM(base, concentration=0.9)
    full = DPGMM(base, concentration=prior, scale_factor=scales)
    for z in list(set_partitions(6))[::17]:
        labels = torch.tensor(z)
        found = trace_of(plain, x, z=labels).log_prob_sum().item()
        assert found == pytest.approx(log_joint(z, x.numpy(), 0.9, oracle), rel=1e-12)
        trace = trace_of(full, x, z=labels, alpha=alpha, scale_factor=s)
        assert {"alpha", "scale_factor", "z"} < set(trace.nodes)
        state = DPState(labels, alpha, s, pose(full, x), {})
        expected = kernel_log_joint(state)
        torch.testing.assert_close(trace.log_prob_sum(), expected, rtol=1e-12, atol=0.0)
        state = DPState(labels, alpha, torch.ones((), dtype=F64), pose(plain, x), {})
        assert found == pytest.approx(kernel_log_joint(state).item(), rel=1e-12)


@pytest.mark.parametrize("diagonal", [False, True])
def test_components_written_out(diagonal: bool) -> None:
    """Joint with components - their posterior density = joint without them, at any components."""
    x, _, base, _ = tiny(diagonal)
    model = DPGMM(base, scale_factor=dist.LogNormal(0.0, 0.5))
    z, s = torch.tensor([0, 1, 0, 2, 1, 0]), torch.tensor(1.3, dtype=F64)
    given = {"z": z, "alpha": torch.tensor(0.7, dtype=F64), "scale_factor": s}
    collapsed = trace_of(model, x, **given).log_prob_sum()
    laws = [base.rescaled(s).posterior(x[z == k]) for k in range(3)]
    for seed in range(4):
        parts = [law.sample(seed=seed + 10 * k) for k, law in enumerate(laws)]
        mean = torch.stack([c.mean for c in parts])
        covariance = torch.stack([c.covariance for c in parts])
        spread = "variance" if diagonal else "covariance"
        value = covariance.diagonal(dim1=-2, dim2=-1) if diagonal else covariance
        trace = trace_of(model.with_components, x, mean=mean, **{spread: value}, **given)
        posterior = sum(law.log_prob(*c) for law, c in zip(laws, parts, strict=True))
        torch.testing.assert_close(trace.log_prob_sum() - posterior, collapsed)


@pytest.mark.parametrize("written_out", [False, True])
def test_draws_from_the_prior(written_out: bool, budget: AlphaBudget) -> None:
    """Marginally each row is Student t; the first two share a label with odds 1 : alpha."""
    _, _, base, _ = tiny()
    model = DPGMM(base, concentration=2.0)
    program = model.with_components if written_out else model
    first, together = [], []
    for _ in range(400):
        trace = poutine.trace(program).get_trace(num_points=5)
        assert trace.nodes["x"]["value"].shape == (5, 2)
        z = trace.nodes["z"]["value"]
        first.append(float(trace.nodes["x"]["value"][3, 1]))
        together.append(float(z[0] == z[1]) - 1.0 / 3.0)
    width = math.sqrt(1.25 / (0.25 * 3.0))
    budget.check(f"rows {written_out}", dkw_pvalue(first, stats.t(3.0, 0.0, width).cdf))
    budget.check(f"pairs {written_out}", paired_mean_pvalue(together))


def test_names_of_axes() -> None:
    x, _, base, _ = tiny()
    sites = read_sites(DPGMM(base), (x,))
    assert {k: s.dims for k, s in sites.items()} == {
        "alpha": (), "z": ("obs",), "x": ("obs", "feature"),
    }  # fmt: skip
    assert sites["x"].observed
    written = read_sites(DPGMM(base).with_components, (x,))
    assert written["mean"].dims[0] == "component"
    group = constant_group(DPGMM(base), {})
    np.testing.assert_array_equal(group["prior_scale"], base.scale)
    assert group["prior_loc"].dims == ("feature",)
    assert (float(group["prior_kappa"]), float(group["prior_df"])) == (base.kappa, base.df)
    assert not bool(group["prior_diagonal"])


def density(row: np.ndarray, x: np.ndarray, alpha: float, prior: NIW, z: Any) -> float:
    """p(row | x, z): seats at the tables by size, a new one by alpha."""
    seats = [(alpha, x[:0])] + [(float(len(b)), x[b]) for b in blocks(z)]
    total = sum(size * math.exp(prior.log_predictive(row, rows)) for size, rows in seats)
    return float(total) / (alpha + len(x))


@pytest.mark.parametrize("diagonal", [False, True])
def test_mixture_of_one_state(diagonal: bool) -> None:
    x, _, base, oracle = tiny(diagonal)
    model, new = DPGMM(base), torch.randn(4, 2, dtype=F64)
    s = 1.7
    scaled = NIW(oracle.mu0, oracle.kappa0, oracle.nu0, s * oracle.psi0, diagonal=diagonal)
    for z in ((0, 0, 0, 0, 0, 0), (0, 1, 0, 2, 1, 0)):
        for factor, law in ((1.0, oracle), (s, scaled)):
            found = model.mixture(x, torch.tensor(z), 0.9, factor).log_prob(new).exp()
            expected = [density(row, x.numpy(), 0.9, law, z) for row in new.numpy()]
            np.testing.assert_allclose(found, expected, rtol=1e-11)


def posterior_of(z: Tensor, alpha: Tensor, x: Tensor, model: DPGMM, **more: Tensor) -> Any:
    """What `sample` returns, of draws z (C, S, N) and alpha (C, S)."""
    values = {"alpha": alpha, "z": z.to(torch.int16), **more}
    return to_arviz({
        "posterior": posterior_group(model, {}, values, {}),
        "observed_data": dataset({"x": x.numpy()}, {"x": ("obs", "feature")}),
        "constant_data": constant_group(model, {}),
    })  # fmt: skip


def test_predictive_averages_over_draws(tmp_path: Any) -> None:
    x, _, base, _ = tiny()
    model, parts = DPGMM(base), torch.tensor(list(set_partitions(6)))
    z = parts[torch.randperm(len(parts))[:24]].reshape(2, 12, 6)
    alpha = torch.rand(2, 12, dtype=F64) + 0.1
    post = posterior_of(z, alpha, x, model)
    new = torch.randn(5, 2, dtype=F64)
    states = list(zip(z.reshape(24, 6), alpha.reshape(24), strict=True))
    each = torch.stack([model.mixture(x, *state).log_prob(new).exp() for state in states])
    found = model.predictive(post).log_prob(new).exp()
    torch.testing.assert_close(found, each.mean(0))
    score = model.held_out_log_density(post, new)
    assert score.mean == pytest.approx(each.mean(0).log().mean().item())
    assert score.standard_error == pytest.approx(each.mean(0).log().std().item() / 5**0.5)
    few = model.predictive(post, max_draws=3)
    torch.testing.assert_close(few.log_prob(new).exp(), each[[0, 12, 23]].mean(0))
    reread = from_netcdf(to_netcdf(post, tmp_path / "run.nc"))
    torch.testing.assert_close(model.predictive(reread).log_prob(new).exp(), found)
    factors = torch.rand(2, 12, dtype=F64) + 0.5
    post = posterior_of(z, alpha, x, model, scale_factor=factors)
    one = model.mixture(x, z[0, 0], alpha[0, 0], factors[0, 0])
    first = model.predictive(post, max_draws=1)
    torch.testing.assert_close(first.log_prob(new), one.log_prob(new))


@pytest.mark.parametrize(("name", "make", "expect"), list(data_cases()))
def test_awkward_data(name: str, make: Any, expect: str) -> None:
    def thunk() -> Tensor:
        x = make()
        model = DPGMM(NormalInverseWishart.from_data(x))
        return poutine.trace(model).get_trace(x).log_prob_sum()

    def on_its_own() -> Tensor:
        base = NormalInverseWishart(torch.zeros(4), 1.0, torch.eye(4), 6.0)
        return poutine.trace(DPGMM(base)).get_trace(make()).log_prob_sum()

    assert verdict(thunk, expect, lambda out: bool(out.isfinite())) is None
    assert verdict(on_its_own, "either", lambda out: bool(out.isfinite())) is None
    if expect == "error":
        assert verdict(on_its_own, expect) is None


def test_refusals() -> None:
    x, _, base, _ = tiny()
    model = DPGMM(base)
    z = torch.zeros(6, dtype=torch.int64)
    post = posterior_of(z.expand(2, 3, 6), torch.ones(2, 3), x, model)
    cases: list[tuple[Any, str]] = [
        (lambda: DPGMM(None), "base"),  # type: ignore[arg-type]
        (lambda: DPGMM(base, concentration=0.0), "concentration"),
        (lambda: DPGMM(base, concentration=math.nan), "concentration"),
        (lambda: DPGMM(base, concentration="1"), "concentration"),  # type: ignore[arg-type]
        (lambda: DPGMM(base, concentration=dist.Normal(0.0, 1.0)), "concentration"),
        (lambda: DPGMM(base, concentration=dist.Poisson(1.0)), "concentration"),
        (lambda: DPGMM(base, concentration=dist.Gamma(torch.ones(2), 1.0)), "concentration"),
        (lambda: DPGMM(base, concentration=torch.distributions.Gamma(1.0, 1.0)), "Pyro"),
        (lambda: DPGMM(base, scale_factor=2.0), "scale_factor"),  # type: ignore[arg-type]
        (lambda: model(), "num_points"),
        (lambda: model(num_points=0), "num_points"),
        (lambda: model(x, num_points=7), "num_points"),
        (lambda: model(x[:, :1]), "2 columns"),
        (lambda: model.mixture(x, z[:5], 1.0), "labels"),
        (lambda: model.mixture(x, z, -1.0), "alpha"),
        (lambda: model.mixture(x, z, 1.0, 0.0), "scale_factor"),
        (lambda: model.predictive(post, max_draws=0), "max_draws"),
        (lambda: model.predictive({}), "posterior"),
        (lambda: model.predictive(None), "posterior"),
        (lambda: model.predictive(x), "posterior"),
        (lambda: model.held_out_log_density(post, x[:1]), "x_new"),
        (lambda: model.held_out_log_density(post, x[:, :1]), "x_new"),
        (lambda: DPGMM(base, scale_factor=dist.LogNormal(0.0, 1.0)).truncated(3), "scale_factor"),
    ]
    for call, message in cases:
        with pytest.raises((ValueError, TypeError), match=message):
            call()


def test_program_in_pyros_tools() -> None:
    x, _, base, _ = tiny()
    graph = pyro.infer.inspect.get_dependencies(DPGMM(base), (x,))
    assert set(graph["prior_dependencies"]["x"]) == {"z", "x"}
    assert set(graph["prior_dependencies"]["z"]) == {"alpha", "z"}


@pytest.mark.gpu
def test_on_cuda() -> None:
    x, _, base, _ = tiny()
    given = {"z": torch.tensor([0, 1, 0, 2, 1, 0]), "alpha": torch.tensor(0.7, dtype=F64)}
    expected = trace_of(DPGMM(base), x, **given).log_prob_sum()
    there = {k: v.cuda() for k, v in given.items()}
    found = trace_of(DPGMM(base), x.cuda(), **there).log_prob_sum()
    assert found.device.type == "cuda"
    torch.testing.assert_close(found.cpu(), expected)
    mixture = DPGMM(base.to("cuda")).mixture(x.cuda(), there["z"], 0.7)
    assert mixture.sample((5,), seed=0).device.type == "cuda"
    torch.testing.assert_close(
        DPGMM(base.to("cuda")).mixture(x, given["z"], 0.7).loc, mixture.loc
    )  # data elsewhere than the base follow it
    here = DPGMM(base).mixture(x, given["z"], 0.7)
    torch.testing.assert_close(mixture.log_prob(x.cuda()).cpu(), here.log_prob(x))


def test_a_posterior_of_another_prior_is_refused() -> None:
    x = torch.randn(12, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    model = DPGMM(NormalInverseWishart.from_data(x), concentration=1.0)
    kernel = CollapsedGibbs(start="one cluster")
    with warnings.catch_warnings(action="ignore"):
        post = sample(model, x, kernel=kernel, draws=2, tune=0, chains=1, progress=False)
    assert torch.isfinite(model.predictive(post).log_prob(x)).all()
    other = DPGMM(NormalInverseWishart.from_data(100 * x), concentration=1.0)
    with pytest.raises(ValueError, match="another model: its prior_"):
        other.predictive(post)


def test_without_a_new_component_the_mixture_is_of_the_occupied_ones() -> None:
    x = torch.randn(9, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    model, z = DPGMM(NormalInverseWishart.from_data(x)), torch.tensor([0, 0, 0, 4, 4, 1, 1, 1, 1])
    whole, known = (model.mixture(x, z, 0.7, new_component=new) for new in (True, False))
    torch.testing.assert_close(known.weights, torch.tensor([3, 4, 2], dtype=torch.float64) / 9)
    parts = whole.component_log_prob(x)[:, :-1]
    want = (parts + known.weights.log()).logsumexp(1)
    torch.testing.assert_close(known.log_prob(x), want)
