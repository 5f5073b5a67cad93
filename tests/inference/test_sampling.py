"""`sample` against closed-form posteriors, its seeds and its statistics."""

import random
from functools import partial
from typing import NamedTuple

import arviz as az
import numpy as np
import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from pyro.infer import NUTS
from pyro.infer.autoguide.initialization import init_to_value
from pyro.infer.mcmc.mcmc_kernel import MCMCKernel
from pyro_programs import ClassRates, Mixture, NormalMean, Schools, Shares

import probact.inference as pi


def assert_agrees(run, name, mean, sd):
    """Mean, and mean square about it, within 5 Monte Carlo standard errors of the truth.

    A normal error exceeds 5 standard errors once in two million; 16 such checks are made here.
    """
    mean, variance = np.asarray(mean), np.asarray(sd) ** 2
    draws = pi.arviz_bridge.groups_of(run)["posterior"][[name]]
    for values, truth in ((draws, mean), ((draws - mean) ** 2, variance)):
        error = az.mcse(values, method="mean")[name].values
        assert (np.abs(values[name].mean(("chain", "draw")).values - truth) < 5 * error).all()


def test_normal_mean_is_conjugate(mean_run, x):
    assert_agrees(mean_run, "mu", *NormalMean.posterior(x))


def test_rates_per_class_are_conjugate(rates_run, times):
    law = dist.Gamma(2.0 + len(times), 1.0 + times.sum(0))
    assert_agrees(rates_run, "rate", law.mean, law.stddev)


@pytest.mark.filterwarnings("ignore::probact.inference.SamplingWarning")
def test_hierarchical_mean_is_conjugate():
    y = torch.tensor([1.0, -2.0, 4.0, 2.5, 0.5], dtype=torch.float64)
    run = pi.sample(Schools(), y, draws=300, tune=150, chains=2, seed=0, progress=False)
    assert_agrees(run, "mu", *Schools.posterior(y))
    assert run.posterior["theta"].dims == ("chain", "draw", "school")


# 250 draws are enough for the check, not for R-hat < 1.01
@pytest.mark.filterwarnings("ignore::probact.inference.SamplingWarning")
def test_shares_on_a_simplex_are_conjugate():
    counts = torch.tensor([3.0, 5.0, 12.0], dtype=torch.float64)
    run = pi.sample(Shares(), counts, draws=250, tune=150, chains=2, seed=0, progress=False)
    law = dist.Dirichlet(1.0 + counts)
    assert_agrees(run, "share", law.mean, law.variance.sqrt())
    assert run.posterior["share"].dims == ("chain", "draw", "part")
    assert run.observed_data["counts"].dims == ("part",)


def test_lp_is_the_log_joint_of_the_program(rates_run, times):
    rates, lp = pi.draws(rates_run, "rate"), pi.draws(rates_run, "lp", group="sample_stats")
    for s in (0, 123, 799):
        at = poutine.condition(ClassRates(), {"rate": rates[s]})
        joint = poutine.trace(at).get_trace(times).log_prob_sum()
        # tolerance: float64 rounding of a sum of about 50 terms
        assert lp[s].item() == pytest.approx(joint.item(), abs=1e-9)


def test_statistics_describe_the_steps(mean_run):
    stats = mean_run.sample_stats
    steps, depth = stats["n_steps"].values, stats["tree_depth"].values
    assert (2 ** (depth - 1) <= steps).all()
    assert (steps < 2**depth).all()
    assert stats["acceptance_rate"].values.min() >= 0.0
    # the step size was adapted to accept 0.8 of a leapfrog step's proposals
    assert 0.7 < stats["acceptance_rate"].values.mean() < 0.97
    assert stats["diverging"].dtype == bool
    assert not stats["diverging"].values.any()
    assert (stats["step_size"].values[:, :1] == stats["step_size"].values).all()


def test_acceptance_of_a_step_undoes_pyros_running_mean(quick, x):
    seen = {}

    class Spy(NUTS):
        def cleanup(self):
            seen.setdefault("mean", self._mean_accept_prob)

    run = quick(NormalMean(), x, kernel=Spy, chains=1, thin=2)
    assert run.sample_stats["acceptance_rate"].values.mean() == pytest.approx(seen["mean"])


def test_divergences_are_those_of_the_kernel(quick):
    seen = []

    class Spy(NUTS):
        def cleanup(self):
            seen.append(list(self._divergences))

    def wall():
        x = pyro.sample("x", dist.Normal(torch.zeros((), dtype=torch.float64), 3.0))
        pyro.factor("wall", -(8.0 * (x - 6.0)).exp())  # some trajectories break on it

    spy = partial(Spy, step_size=1.0, adapt_step_size=False, adapt_mass_matrix=False)
    run = quick(wall, kernel=spy, chains=1, draws=100)
    assert 0 < len(seen[0]) < 100
    assert np.flatnonzero(run.sample_stats["diverging"].values[0]).tolist() == seen[0]


def test_two_chains_are_never_equal(quick, x):
    run = quick(NormalMean(), x)
    assert not np.intersect1d(*run.posterior["mu"].values).size


def test_same_seed_same_bits_whatever_the_number_of_chains(quick, x):
    two, three = quick(NormalMean(), x, seed=5), quick(NormalMean(), x, seed=5, chains=3)
    assert np.array_equal(two.posterior["mu"].values, three.posterior["mu"].values[:2])


def test_chain_one_of_seed_zero_is_not_chain_zero_of_seed_one(quick, x):
    zero, one = quick(NormalMean(), x, seed=0), quick(NormalMean(), x, seed=1)
    assert not np.intersect1d(zero.posterior["mu"].values, one.posterior["mu"].values).size


def test_the_callers_random_streams_stay_put(quick, x):
    def states():
        return (
            torch.random.get_rng_state().tolist(),
            random.getstate(),
            np.random.get_state()[1].tolist(),  # noqa: NPY002
        )

    before = states()
    quick(NormalMean(), x)
    assert states() == before


def test_thinning_keeps_every_second_draw(quick, x):
    full, thinned = quick(NormalMean(), x, draws=40), quick(NormalMean(), x, draws=20, thin=2)
    assert np.array_equal(thinned.posterior["mu"].values, full.posterior["mu"].values[:, 1::2])
    every_step = full.sample_stats["n_steps"].values.reshape(2, 20, 2)
    assert np.array_equal(thinned.sample_stats["n_steps"].values, every_step.sum(-1))


def test_a_kernel_object_serves_every_run_and_chain_afresh(quick, x):
    model = NormalMean()
    kernel = NUTS(model)
    default = quick(model, x).posterior["mu"].values
    for given in (kernel, kernel, NUTS, partial(NUTS, target_accept_prob=0.8)):
        assert np.array_equal(quick(model, x, kernel=given).posterior["mu"].values, default)


def test_gradients_switched_off_by_the_caller_do_not_matter(quick, x):
    default = quick(NormalMean(), x).posterior["mu"].values
    with torch.no_grad():
        assert np.array_equal(quick(NormalMean(), x).posterior["mu"].values, default)


class Pair(NamedTuple):
    x: torch.Tensor
    y: torch.Tensor


def test_data_may_be_absent_or_a_named_tuple(quick):
    def prior():
        pyro.sample("w", dist.Normal(0.0, 1.0))

    def line(x, y):
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Normal(w * x, 1.0), obs=y)

    run = quick(prior)
    assert sorted(pi.arviz_bridge.groups_of(run)) == ["posterior", "sample_stats"]
    assert run.posterior["w"].dtype == np.float32
    pair = Pair(torch.ones(4), torch.zeros(4))
    assert quick(line, pair).observed_data["y"].sizes["data"] == 4


class Labels(MCMCKernel):
    """Records a label above 2^24 beside a float32 site, and steps the label by one."""

    def __init__(self, model):
        self.model, self.transforms, self.step = model, {}, 0

    def setup(self, warmup_steps, *args):
        self._params = {"mu": torch.zeros(()), "z": torch.tensor([2**24])}

    @property
    def initial_params(self):
        return self._params

    def sample(self, params):
        return {"mu": torch.randn(()), "z": params["z"] + 1}


def test_labels_keep_their_dtype_beside_floats(quick, x):
    run = quick(NormalMean(), x, kernel=Labels, draws=3, tune=0)
    assert run.posterior["z"].values[0, :, 0].tolist() == [2**24 + 1, 2**24 + 2, 2**24 + 3]
    assert run.posterior["z"].dims == ("chain", "draw", "z_dim_0")
    assert run.posterior["mu"].dtype == np.float32


def test_no_chain_inherits_the_kernel_of_another(quick, x):
    class Carrying(Labels):
        def setup(self, warmup_steps, *args):
            self._params = {"z": torch.tensor(0)}

        def sample(self, params):
            self.step += 1
            return {"z": torch.tensor(self.step)}

    model = NormalMean()
    kernel = Carrying(model)
    run = quick(model, x, kernel=kernel, draws=3, tune=0)
    assert run.posterior["z"].values.tolist() == [[1, 2, 3], [1, 2, 3]]
    assert kernel.step == 0
    assert kernel.model is model


def test_a_kernel_that_changes_shape_is_refused(x):
    class Growing(Labels):
        def sample(self, params):
            return {"z": torch.cat([params["z"], params["z"]])}

    with pytest.raises(ValueError, match="changed the shape of 'z' at draw 1"):
        pi.sample(NormalMean(), x, kernel=Growing, draws=3, tune=0, chains=1, progress=False)


def test_summed_out_labels_are_announced(x):
    with pytest.warns(pi.SamplingWarning) as caught:
        run = pi.sample(Mixture(), x, draws=10, tune=10, chains=1, progress=False)
    assert str(caught[0].message).startswith("z is discrete: NUTS sums it out")
    assert list(run.posterior.data_vars) == ["loc"]
    with pytest.raises(ValueError, match=r"no draws of the latent sites .'z'."):
        pi.log_likelihood(Mixture(), run, x)
    assert all(w.filename == __file__ for w in caught)


def test_the_global_parameter_store_is_untouched(quick, x):
    def tilted(x):
        shift = pyro.param("shift", torch.tensor(0.0))
        mu = pyro.sample("mu", dist.Normal(shift, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(mu, 1.0), obs=x)

    kept = pyro.param("kept", torch.tensor(1.0))
    try:
        quick(tilted, x)
        assert list(pyro.get_param_store().keys()) == ["kept"]
        assert pyro.param("kept") is kept
    finally:
        pyro.clear_param_store()


def test_progress_is_silent_off_a_terminal(quick, x, capfd):
    quick(NormalMean(), x, progress=True)
    assert capfd.readouterr() == ("", "")


@pytest.mark.filterwarnings("ignore::probact.inference.SamplingWarning")
def test_a_trajectory_outside_the_support_diverges_instead_of_raising():
    """x ~ Uniform(0, top) with validation raises where top < max x: there the density is zero."""

    def model(x):
        top = pyro.sample("top", dist.LogNormal(3.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Uniform(0.0, top, validate_args=True), obs=x)

    seen = torch.linspace(0.0, 2.0, 5)
    start = init_to_value(values={"top": torch.tensor(3.0)})
    run = pi.sample(
        model,
        seen,
        kernel=partial(NUTS, init_strategy=start),
        draws=200,
        tune=100,
        chains=1,
        progress=False,
    )
    draws = run.posterior["top"].values
    assert (draws >= 2.0).all()
    assert draws.std() > 0.1  # near the law ~ top^-5 above 2, whose standard deviation is 0.9


@pytest.mark.filterwarnings("ignore::probact.inference.SamplingWarning")
def test_the_number_of_threads_changes_nothing_and_comes_back(x):
    before, runs = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        runs.append(pi.sample(NormalMean(), x, draws=50, tune=50, chains=1, progress=False))
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    np.testing.assert_array_equal(*(run.posterior["mu"].values for run in runs))
