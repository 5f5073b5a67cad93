"""The exit to ArviZ: names of axes, attributes, files, plots; the same on ArviZ 0.x and 1.x."""

import json
from datetime import datetime

import arviz as az
import matplotlib
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from pyro_programs import ClassRates, NormalMean

import probact.inference as pi
from probact.inference.arviz_bridge import groups_of

matplotlib.use("Agg")


def test_the_container_is_arviz_own(mean_run):
    name = "InferenceData" if az.__version__.startswith("0.") else "DataTree"
    assert type(mean_run).__name__ == name


def test_plates_name_the_axes_and_coords_label_them(rates_run):
    rate = rates_run.posterior["rate"]
    assert rate.dims == ("chain", "draw", "class")
    assert rate["class"].values.tolist() == ["cat", "dog", "owl"]
    assert rates_run.observed_data["x"].dims == ("data", "class")
    assert rates_run.constant_data["weights"].dims == ("class",)
    for group in groups_of(rates_run).values():
        assert set(group.dims) == set(group.coords)
        assert not set(group.dims) & set(group.data_vars)


def test_every_group_says_who_made_it(rates_run):
    for name, group in groups_of(rates_run).items():
        marks = group.attrs
        assert datetime.fromisoformat(marks["created_at"]).utcoffset().total_seconds() == 0
        assert (marks["inference_library"], marks["probact_schema"]) == ("probact", 1)
        assert (marks["seed"], marks["tuning_steps"], marks["device"]) == (1, 200, "cpu")
        assert (marks["torch_version"], marks["pyro_version"]) == (
            torch.__version__,
            pyro.__version__,
        )
        assert marks["sampling_time"] > 0
        assert ("sample_dims" in marks) == (name in {"posterior", "sample_stats"})


def test_summary_and_numbers(rates_run):
    table = az.summary(rates_run)
    assert list(table.index) == ["rate[cat]", "rate[dog]", "rate[owl]"]
    assert float(az.ess(rates_run)["rate"].min()) > 200


# Pending deprecations inside ArviZ and matplotlib are theirs
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
def test_trace_plot(rates_run):
    plot = getattr(az, "plot_trace_dist", None) or az.plot_trace
    plot(rates_run)
    matplotlib.pyplot.close("all")


def assert_same(one, other):
    """Equal values, dtypes, coordinates and attributes in every group."""
    one, other = groups_of(one), groups_of(other)
    assert sorted(one) == sorted(other)
    for name, group in one.items():
        xr.testing.assert_equal(group, other[name])
        assert {k: v.dtype for k, v in group.data_vars.items()} == {
            k: v.dtype for k, v in other[name].data_vars.items()
        }
        assert json.dumps(group.attrs) == json.dumps(
            {k: v.tolist() if hasattr(v, "tolist") else v for k, v in other[name].attrs.items()}
        )


def test_files_read_back_identically(rates_run, tmp_path):
    labels = torch.tensor([[1, 2], [3, 4]], dtype=torch.int16)
    for run in (rates_run, pi.from_draws({"z": labels})):
        for _ in range(2):  # the second time over the first
            path = pi.to_netcdf(run, tmp_path / "run.nc")
        assert_same(run, pi.from_netcdf(path))
        assert [p.name for p in tmp_path.iterdir()] == ["run.nc"]


def test_arviz_reads_our_files_and_we_read_its(rates_run, tmp_path):
    pi.to_netcdf(rates_run, tmp_path / "ours.nc")
    theirs = az.from_netcdf(str(tmp_path / "ours.nc"))
    xr.testing.assert_equal(groups_of(theirs)["posterior"], groups_of(rates_run)["posterior"])
    theirs.close()
    rates_run.to_netcdf(str(tmp_path / "theirs.nc"), engine="h5netcdf")
    back = groups_of(pi.from_netcdf(tmp_path / "theirs.nc"))
    xr.testing.assert_equal(back["posterior"], groups_of(rates_run)["posterior"])


def test_a_failed_write_leaves_the_old_file(mean_run, tmp_path, monkeypatch):
    path = pi.to_netcdf(mean_run, tmp_path / "run.nc")
    before = path.read_bytes()

    def full(self, part, **options):
        part.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(xr.DataTree, "to_netcdf", full)
    with pytest.raises(OSError, match="No space"):
        pi.to_netcdf(mean_run, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["run.nc"]


def test_draws_come_back_chain_after_chain(rates_run):
    rate = pi.draws(rates_run, "rate")
    assert rate.shape == (800, 3)
    assert rate.dtype == torch.float64
    assert rate[400].tolist() == rates_run.posterior["rate"].values[1, 0].tolist()


def test_draws_from_elsewhere(generator):
    w = torch.randn(50, 2, generator=generator)
    run = pi.from_draws(
        {"w": w, "b": w[:, 0].numpy()}, dims={"w": ["side"]}, coords={"side": ["l", "r"]}
    )
    assert torch.equal(pi.draws(run, "w"), w)
    assert run.posterior.sizes == {"chain": 1, "draw": 50, "side": 2}
    assert run.posterior["side"].values.tolist() == ["l", "r"]


def two_sites(x):
    with pyro.plate("data", 3):
        w = pyro.sample("w", dist.Normal(torch.zeros(3, 2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(w, 1.0).to_event(1), obs=x)


CLASHES = [
    ("dims", {"w": ("side", "more")}, "dims of 'w' must name its 1 axes without a plate"),
    ("dims", {"w": "side"}, "dims of 'w'"),
    ("dims", {"w": ("data",)}, "'w' names a dim twice"),
    ("dims", {"w": ("w",)}, "name both a variable and a dim"),
    ("dims", {"w": ("chain",)}, "'w' names a dim twice"),
    ("dims", 2, "model.dims must be a dictionary, got 2"),
    ("coords", {"data": [1, 2]}, "must hold 3 labels, got shape .2,."),
    ("coords", [1], "model.coords must be a dictionary"),
    ("constant_data", {"data": torch.ones(1)}, "'data' must|name both|size"),
]


@pytest.mark.parametrize(("attribute", "table", "message"), CLASHES)
def test_contradicting_names_are_refused(quick, attribute, table, message):
    class Program:
        def __call__(self, x):
            return two_sites(x)

    program = Program()
    setattr(program, attribute, table)
    if attribute == "constant_data":
        program.dims = {"data": ("data",)}
    with pytest.raises(ValueError, match=message):
        pi.sample(program, torch.zeros(3, 2), draws=4, tune=4, chains=1, progress=False)


def test_two_sizes_of_one_dim_are_refused():
    with pytest.raises(ValueError, match="dim 'k' has size 2 and, in 'b', 3"):
        pi.from_draws(
            {"a": torch.zeros(4, 2), "b": torch.zeros(4, 3)}, dims={"a": ["k"], "b": ["k"]}
        )


def test_bad_arguments_are_named(mean_run, tmp_path):
    with pytest.raises(
        ValueError, match=r"posterior must be what probact.sample returns, got dict"
    ):
        pi.draws({}, "mu")
    with pytest.raises(ValueError, match=r"posterior holds no 'nu'; there are \['mu'\]"):
        pi.draws(mean_run, "nu")
    with pytest.raises(ValueError, match="prior holds no 'mu'; there are"):
        pi.draws(mean_run, "mu", group="prior")
    for variables in ({}, {"a": torch.zeros(())}, {"a": torch.zeros(2), "b": torch.zeros(3)}):
        with pytest.raises(ValueError, match="equally many draws"):
            pi.from_draws(variables)
    with pytest.raises(ValueError, match="path must be a netCDF file"):
        pi.from_netcdf(tmp_path / "nothing.nc")


def test_loo_and_compare(times, rates_run):
    class OneRate(ClassRates):
        def forward(self, x):
            rate = pyro.sample("rate", dist.Gamma(x.new_tensor(2.0), 1.0))
            with pyro.plate("class", 3, dim=-1), pyro.plate("data", len(x), dim=-2):
                pyro.sample("x", dist.Exponential(rate), obs=x)

    one = pi.sample(OneRate(), times, draws=400, tune=200, chains=2, seed=3, progress=False)
    scored = {
        "per class": pi.log_likelihood(ClassRates(), rates_run, times),
        "one": pi.log_likelihood(OneRate(), one, times),
    }
    assert az.loo(scored["per class"]).n_data_points == times.numel()
    assert list(az.compare(scored).index) == ["per class", "one"]


def test_pointwise_log_likelihood(mean_run, x):
    scored = pi.log_likelihood(NormalMean(), mean_run, x)
    mu = mean_run.posterior["mu"].values[..., None]
    expected = -0.5 * (x.numpy() - mu) ** 2 - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(scored.log_likelihood["x"].values, expected, rtol=1e-12)
    assert scored.log_likelihood["x"].dims == ("chain", "draw", "data")
    assert scored.log_likelihood.attrs["conditional_on"] == "mu"
    assert "log_likelihood" not in groups_of(mean_run)


def test_pointwise_log_likelihood_is_not_scaled(mean_run, x):
    scaled = pi.log_likelihood(NormalMean(size=200), mean_run, x)
    plain = pi.log_likelihood(NormalMean(), mean_run, x)
    assert np.array_equal(scaled.log_likelihood["x"].values, plain.log_likelihood["x"].values)


def test_log_likelihood_needs_data_and_all_latents(mean_run, x):
    def prior():
        pyro.sample("mu", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match="model observes nothing"):
        pi.log_likelihood(prior, mean_run)
    with pytest.raises(ValueError, match=r"no draws of the latent sites \['rate'\]"):
        pi.log_likelihood(ClassRates(), mean_run, x[:, None])
