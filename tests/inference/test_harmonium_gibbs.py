"""Block Gibbs of a harmonium: conditionals, invariance, seams, runs, refusals."""

import pyro.poutine as poutine
import pytest
import statcheck
import torch
from conjugate import same_draws
from factorial_oracle import brute_codes, random_layer
from pyro.infer import MCMC

import probact as pa
import probact.inference as pi
from probact.inference.harmonium_gibbs import HarmoniumGibbs
from probact.models.harmonium_model import HarmoniumModel

QUIET = pytest.mark.filterwarnings("ignore::probact.inference.SamplingWarning")


def harmonium(num_points=4, k=3, r=2, d=3, scale=0.7, noise=0.6):
    slopes, _, offsets = random_layer(k, r, d, seed=2, scale=scale)
    return HarmoniumModel(slopes, offsets, noise, num_points=num_points)


def test_conditionals(generator):
    """Those of the joint density over codes, by Bayes' rule."""
    model, kernel = harmonium(), HarmoniumGibbs()
    state = kernel.init(model, None, generator)
    codes = torch.from_numpy(brute_codes(3, 2))
    means = model.slopes[torch.arange(3), codes].sum(1)
    prior = model.law().code_log_prob
    posterior = (prior - 0.5 * (state.x[:, None] - means).square().sum(-1) / 0.6).softmax(-1)
    (q,) = kernel.conditional(state, "t")
    for k in range(3):
        exact = (posterior * codes[:, k]).sum(-1)
        assert torch.allclose(q[:, k, 1], exact, rtol=0, atol=1e-12)
    loc, scale = kernel.conditional(state, "x")
    assert torch.equal(loc, model.slopes[torch.arange(3), state.codes].sum(1))
    assert float(scale) == pytest.approx(0.6**0.5)


def chosen(law, x, codes):
    """log p(t | x): how well the two of a pair belong together."""
    return law.selection(x).gather(-1, codes.unsqueeze(-1)).log().sum((1, 2))


def test_a_step_keeps_exact_draws(budget, generator):
    model, kernel = harmonium(20_000), HarmoniumGibbs()
    law = model.law()
    first, x = law.sample((20_000,), seed=0), law.sample((20_000,), seed=1)
    state = kernel.init(model, None, generator)
    state = state._replace(x=x, codes=law.sample_codes(x, generator=generator))
    state = kernel.step(state, generator)
    assert not torch.equal(state.x, x)
    codes = law.sample_codes(first, generator=generator)
    for name, one, two in (
        *((f"x_{d}", first[:, d], state.x[:, d]) for d in range(3)),
        *((f"t_{k}", codes[:, k], state.codes[:, k]) for k in range(3)),
        ("energy", law.log_prob(first), law.log_prob(state.x)),
        ("code given input", chosen(law, first, codes), chosen(law, state.x, state.codes)),
    ):
        p = statcheck.two_sample_pvalue(one.numpy(), two.numpy())
        budget.check(f"harmonium step {name}", p)
    index = (state.codes * torch.tensor([4, 2, 1])).sum(1)
    expected = law.code_log_prob.exp().numpy() * len(index)
    p = statcheck.st.chisquare(torch.bincount(index, minlength=8), expected).pvalue
    budget.check("harmonium step codes", p)


def test_chains_from_afar(budget, generator):
    model, kernel = harmonium(5000), HarmoniumGibbs()
    state = kernel.init(model, None, generator)
    for _ in range(40):
        state = kernel.step(state, generator)
    exact = model.law().sample((5000,), seed=3)
    for d in range(3):
        p = statcheck.two_sample_pvalue(exact[:, d], state.x[:, d])
        budget.check(f"harmonium chains x_{d}", p)


@pytest.mark.parametrize("observed", [False, True])
@pytest.mark.parametrize("k", [3, 17])
def test_log_joint_is_that_of_the_program(observed, k, generator):
    """Also where the density lacks its constant."""
    model = harmonium(k=k)
    data = torch.randn(5, 3, dtype=torch.float64) if observed else None
    kernel = HarmoniumGibbs()
    state = kernel.step(kernel.init(model, data, generator), generator)
    sites = kernel.record(state)
    assert set(sites) == ({"t"} if observed else {"t", "x"})
    at = poutine.condition(model, sites)
    trace = poutine.trace(at).get_trace(*([data] if observed else []))
    assert torch.allclose(kernel.log_joint(state), trace.log_prob_sum(), atol=1e-10)


@QUIET
def test_codes_of_data_are_the_layer(budget):
    model = harmonium()
    x = torch.randn(2, 3, dtype=torch.float64)
    rows, options = x.repeat_interleave(40, 0), {"draws": 50, "chains": 2, "tune": 0}
    draws = pa.sample(model, rows, seed=0, progress=False, **options).posterior
    assert draws["t"].dims == ("chain", "draw", "data", "unit")
    exact = model.law().selection(x)[..., 1]
    for row in range(2):
        for k in range(3):
            count = int(draws["t"].values[:, :, 40 * row : 40 * row + 40, k].sum())
            p = statcheck.st.binomtest(count, 4000, float(exact[row, k])).pvalue
            budget.check(f"harmonium codes {row} {k}", p)


OPTIONS = {"draws": 6, "tune": 3, "chains": 2, "seed": 2, "progress": False}


@QUIET
def test_runs_and_checkpoints(tmp_path):
    model = harmonium()
    whole = pa.sample(model, **OPTIONS)
    assert whole.posterior["x"].dims == ("chain", "draw", "data", "feature")
    kept = pa.sample(model, checkpoint=tmp_path, commit_every=2, **OPTIONS)
    assert same_draws(whole, kept)
    assert same_draws(whole, pi.resume(tmp_path, model, progress=False))
    kernel, generator = HarmoniumGibbs(), torch.Generator().manual_seed(0)
    state = kernel.init(model, None, generator)
    back = kernel.restore(model, None, kernel.save(state))
    assert torch.equal(back.x, state.x)
    assert torch.equal(back.codes, state.codes)


def test_in_pyros_mcmc(monkeypatch):
    monkeypatch.setattr("pyro.infer.mcmc.api.mp.cpu_count", lambda: 1)
    model = harmonium()
    kernel = pi.as_pyro_kernel(pi.default_kernel(model), model)
    with pytest.warns(UserWarning, match="num_chains"):
        mcmc = MCMC(kernel, 4, 2, num_chains=2, disable_progbar=True)
    mcmc.run()
    assert mcmc.get_samples(group_by_chain=True)["t"].shape == (2, 4, 4, 3)


def test_model_of_a_layer():
    class Layer:
        slopes, offsets = random_layer(2, 2, 3)[::2]

    model = HarmoniumModel.from_layer(Layer(), 0.5, num_points=7)
    assert model().shape == (7, 3)
    assert torch.equal(model.slopes, Layer.slopes)


def test_refusals(generator):
    model, kernel = harmonium(), HarmoniumGibbs()
    with pytest.raises(ValueError, match="num_points"):
        harmonium(num_points=0)
    with pytest.raises(ValueError, match="must be a HarmoniumModel"):
        kernel.init(torch.nn.Linear(2, 2), None, generator)
    for bad, words in ((torch.zeros(2, 5), "3 columns"), (torch.zeros(3), "must be a matrix")):
        with pytest.raises(ValueError, match=words):
            kernel.init(model, bad, generator)
        with pytest.raises(ValueError, match=words):
            model(bad)
    with pytest.raises(ValueError, match="x alone for this kernel, got 2 arrays"):
        kernel.init(model, (torch.zeros(2, 3), torch.zeros(2)), generator)
    state = kernel.init(model, None, generator)
    with pytest.raises(ValueError, match="site must be t or x, got 'z'"):
        kernel.conditional(state, "z")
    given = kernel.init(model, torch.zeros(2, 3), generator)
    with pytest.raises(ValueError, match="site must be t, got 'x'"):
        kernel.conditional(given, "x")
    with pytest.raises(ValueError, match="not the model's"):
        kernel.restore(harmonium(d=2), None, kernel.save(state))
