"""`sample` with a Gibbs kernel: its law, its bits, its starts, and Ctrl-C."""

import io
import json
import signal
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from conjugate import SMALL, NormalGibbs, NormalModel, X, run, same_draws
from pyro_programs import NormalMean
from scipy import stats

import probact.inference as pi
from probact.inference.arviz_bridge import groups_of


def test_draws_have_the_marginal_law_of_the_mean(budget):
    post = run(draws=1000, tune=20, thin=5, chains=1)
    tau = np.linspace(1e-3, 6.0, 6001)
    x, n = X.numpy(), len(X)
    # p(tau | x) on a grid, with mu summed out; then the mixture of normals over it
    precision = n * tau + 1 / 9
    log_p = stats.gamma.logpdf(tau, 2, scale=1 / 2) + n / 2 * np.log(tau) - np.log(precision) / 2
    log_p += -tau / 2 * (x**2).sum() + (tau * x.sum()) ** 2 / (2 * precision)
    weight = np.exp(log_p - log_p.max())
    weight /= weight.sum()

    def cdf(mu):
        centred = (np.asarray(mu)[..., None] - tau * x.sum() / precision) * np.sqrt(precision)
        return (stats.norm.cdf(centred) * weight).sum(-1)

    mu = post.posterior["mu"].values[0]  # five steps apart, and nearly independent
    budget.check("mean of a normal by Gibbs", stats.kstest(mu, cdf).pvalue)


def test_a_prefix_of_the_chains_does_not_depend_on_the_rest():
    one, two, four = (run(chains=c) for c in (1, 2, 4))
    for name in ("mu", "tau", "z"):
        values = four.posterior[name].values
        assert np.array_equal(values[:2], two.posterior[name].values)
        assert np.array_equal(values[:1], one.posterior[name].values)
    assert len(np.unique(four.posterior["mu"].values)) == 4 * SMALL["draws"]


def test_chain_one_of_seed_zero_is_not_chain_zero_of_seed_one():
    zero, one = run(seed=0), run(seed=1)
    assert not np.intersect1d(zero.posterior["mu"].values, one.posterior["mu"].values).size


def test_thinning_and_warm_up_are_rows_of_the_same_chain():
    full = run(draws=24, thin=1, save_warmup=True)
    thinned = run(draws=12, thin=2, save_warmup=True)
    none = run(draws=29, thin=1, tune=0)
    mu = groups_of(full)
    assert np.array_equal(thinned.posterior["mu"], full.posterior["mu"][:, 1::2])
    assert mu["warmup_posterior"].sizes["draw"] == 5
    whole = np.concatenate([mu["warmup_posterior"]["mu"], mu["posterior"]["mu"]], 1)
    assert np.array_equal(whole, none.posterior["mu"])
    assert list(mu["warmup_sample_stats"].data_vars) == ["lp"]
    assert "warmup_posterior" not in groups_of(none)


def test_the_draws_are_the_same_whether_the_warm_up_is_kept_or_not():
    assert np.array_equal(run().posterior["mu"], run(save_warmup=True).posterior["mu"])


def test_warm_up_of_nuts_is_kept_on_request(quick, x):
    groups = groups_of(quick(NormalMean(), x, save_warmup=True, draws=10))
    plain = groups_of(quick(NormalMean(), x, draws=10))
    assert np.array_equal(groups["posterior"]["mu"], plain["posterior"]["mu"])
    assert groups["warmup_posterior"].sizes["draw"] == 30
    rate = groups["warmup_sample_stats"]["acceptance_rate"].values
    assert (rate >= 0).all()
    assert (rate <= 1).all()
    assert np.unique(groups["warmup_sample_stats"]["step_size"].values).size > 30


def test_the_likelier_start_wins_and_is_named():
    post = run()
    starts = json.loads(post.posterior.attrs["starts"])
    assert len(starts) == SMALL["chains"]
    for start in starts:
        scores = start["log_joint"]
        assert list(scores) == ["near", "far"]
        assert start["winner"] == max(scores, key=scores.get)


def test_labels_keep_their_dtype_and_the_groups_are_complete():
    groups = groups_of(run())
    assert groups["posterior"]["z"].dtype == np.int16
    assert groups["posterior"]["num_components"].dtype == np.int32
    assert groups["posterior"]["mu"].dims == ("chain", "draw")
    assert list(groups["sample_stats"].data_vars) == ["lp"]
    assert np.array_equal(groups["observed_data"]["x"], X)
    assert groups["observed_data"]["x"].dims == ("obs",)


def test_a_kernel_may_be_a_class_or_the_models_default():
    class OwnModel(NormalModel):
        pass

    pi.default_kernel.register(OwnModel, lambda model: NormalGibbs())
    with pytest.warns(pi.SamplingWarning):
        post = pi.sample(OwnModel(), X, **SMALL)
    assert same_draws(post, run(kernel=NormalGibbs))


def test_processes_give_the_same_bits():
    assert same_draws(run(processes=2, save_warmup=True), run(save_warmup=True))


def test_an_unpicklable_model_is_refused_in_words(x):
    def local(x):
        pyro.sample("mu", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match="processes > 1 sends model, data and kernel"):
        pi.sample(local, x, processes=2, draws=3, tune=0, progress=False)


class Dying(NormalGibbs):
    """Ends its process at once, as the system does when memory is short."""

    def step(self, state, generator):
        import os

        os.kill(os.getpid(), signal.SIGKILL)


def test_a_dead_process_is_reported_with_its_chain():
    with pytest.raises(RuntimeError, match="chain 0 died: its process ended with exit code -9"):
        run(kernel=Dying(), processes=2, chains=1)


class Failing(NormalGibbs):
    def starts(self, model, data, generator):
        raise ValueError("x is not to the taste of this kernel")


@pytest.mark.slow  # starts Python
def test_an_error_in_a_process_is_that_of_the_chain():
    with pytest.raises(ValueError, match="not to the taste"):
        run(kernel=Failing(), processes=2, chains=1)


def interrupted(**options):
    with pytest.warns(pi.SamplingWarning) as caught:
        post = pi.sample(NormalModel(), X, **{**SMALL, **options})
    return post, [str(w.message) for w in caught]


def test_ctrl_c_keeps_the_draws_that_are_finished():
    before = signal.getsignal(signal.SIGINT)
    steps = 2 * 20 + 5 + 2 * 12  # race, warm-up and draws of the first chain
    kernel = NormalGibbs(signal_at={steps + 40 + 5 + 9: signal.SIGINT})
    post, words = interrupted(kernel=kernel)
    assert words[0].startswith(
        "interrupted: kept 2 of 2 chains (0, 1), each cut to the 4 of 12 draws"
    )
    assert np.array_equal(post.posterior["mu"], run().posterior["mu"][:, :4])
    assert post.sample_stats["lp"].shape == (2, 4)
    assert post.posterior.attrs["interruption"] == words[0]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_chain_without_draws_is_left_out():
    kernel = NormalGibbs(signal_at={40 + 5 + 24 + 40 + 2: signal.SIGINT})
    post, words = interrupted(kernel=kernel, save_warmup=True)
    assert "kept 1 of 2 chains (0), each cut to the 12 of 12" in words[0]
    assert np.array_equal(post.posterior["mu"], run().posterior["mu"][:1])
    assert groups_of(post)["warmup_posterior"].sizes == {"chain": 1, "draw": 5, "z_dim_0": 12}


@pytest.mark.parametrize("step", [3, 42])
def test_ctrl_c_without_a_draw_is_a_keyboard_interrupt(step):
    with pytest.raises(KeyboardInterrupt):
        run(kernel=NormalGibbs(signal_at={step: signal.SIGINT}))


class Twice(NormalGibbs):
    """A step that is stuck: only the second Ctrl-C ends it."""

    def step(self, state, generator):
        self._steps += 1
        if self._steps == 61:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("the second signal did not stop the step")
        return super().step(state, generator)


def test_the_second_ctrl_c_stops_now():
    with pytest.raises(KeyboardInterrupt):
        run(kernel=Twice())


def test_ctrl_c_keeps_the_draws_of_nuts(x):
    calls = [0]

    def model(x):
        calls[0] += 1
        if calls[0] == 2000:
            signal.raise_signal(signal.SIGINT)
        mu = pyro.sample("mu", dist.Normal(torch.zeros((), dtype=torch.float64), 3.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(mu, 1.0), obs=x)

    with pytest.warns(
        pi.SamplingWarning, match=r"interrupted: kept 1 of 4 chains \(0\), each cut"
    ):
        post = pi.sample(model, x, draws=5000, tune=50, seed=3, progress=False)
    draws = post.posterior["mu"].sizes["draw"]
    assert 10 < draws < 1000
    calls[0] = 3000
    with warnings.catch_warnings(action="ignore"):
        whole = pi.sample(model, x, draws=draws, tune=50, seed=3, chains=1, progress=False)
    assert np.array_equal(whole.posterior["mu"], post.posterior["mu"])


SCRIPT = """
import signal, sys, warnings
sys.path.insert(0, {here!r})
import conjugate

if __name__ == "__main__":
    class Line:
        def isatty(self): return True
        def write(self, text):
            sys.__stderr__.write(text)
            if "chain" in text and "lp" in text and not hasattr(self, "sent"):
                self.sent = True
                signal.raise_signal(signal.SIGINT)
        def flush(self): pass
    sys.stderr = Line()
    post = conjugate.run(
        kernel=conjugate.NormalGibbs(pause=0.002), processes=2, draws=200000, tune=0,
        thin=1, progress=True)
    sys.stderr = sys.__stderr__
    whole = conjugate.run(draws=post.posterior.sizes["draw"], tune=0, thin=1)
    words = post.posterior.attrs["interruption"]
    kept = [int(c) for c in words.split("(")[1].split(")")[0].split(", ")]
    print(words, (post.posterior["mu"].values == whole.posterior["mu"].values[kept]).all())
"""


@pytest.mark.slow  # three starts of Python
def test_ctrl_c_works_over_processes_and_the_line_shows_them(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT).format(here=str(Path(__file__).parent)))
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "interrupted: kept" in done.stdout
    assert done.stdout.strip().endswith("True")
    assert "num_components=" in done.stderr


def test_the_line_shows_the_chain_and_its_state(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    run(progress=True)
    shown = sys.stderr.getvalue()
    assert "chain 1/2" in shown
    assert "lp=-" in shown
    assert "num_components=" in shown
    assert "34/34" in shown


@pytest.mark.slow  # starts Python twice
def test_processes_give_the_same_bits_for_nuts(quick, x):
    one, two = (quick(NormalMean(), x, processes=p) for p in (1, 2))
    assert same_draws(one, two)
