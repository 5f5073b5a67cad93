"""A last layer through `sample` and `fit`: checkpoints, agreement of both, what a guide misses."""

import signal
import warnings

import pytest
import torch
from conjugate import same_draws
from pyro.infer import MCMC
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import probact as pa
import probact.inference as pi
from probact.analysis.laplace_fits import fit_asymmetric_laplace
from probact.distributions import AsymmetricLaplace
from probact.inference.arviz_bridge import convergence, groups_of
from probact.models import LaplaceHead

QUIET = pytest.mark.filterwarnings("ignore::probact.inference.SamplingWarning")
OPTIONS = {"draws": 6, "tune": 3, "chains": 2, "seed": 2, "progress": False}


def classes(points=40, features=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(points, features, dtype=torch.float64, generator=generator)
    weight = torch.randn(3, features, dtype=torch.float64, generator=generator)
    gumbel = -torch.log(torch.empty(points, 3).double().exponential_(generator=generator))
    return x, (x @ weight.T + gumbel).argmax(-1), weight


@QUIET
def test_sites_of_a_run():
    x, y, _ = classes()
    posterior = pa.sample(LaplaceHead(3, 3), (x, y), **OPTIONS)
    draws = posterior.posterior
    assert draws["weight"].dims == ("chain", "draw", "class", "feature")
    assert set(draws) == {"weight", "bias", "loc", "rate_right", "rate_left"}
    assert LaplaceHead(3, 3).predictive(posterior, x).shape == (40, 3)
    targets = torch.nn.functional.one_hot(y, 3).double()
    gaussian = LaplaceHead(3, 3, "gaussian", prior=AsymmetricLaplace(0.0, 1.0, 1.0))
    draws = pa.sample(gaussian, (x, targets), **OPTIONS).posterior
    assert set(draws) == {"weight", "bias", "variance"}
    pointwise = pi.log_likelihood(LaplaceHead(3, 3), posterior, (x, y))
    assert pointwise.log_likelihood["y"].shape == (2, 6, 40)


class Interrupting(pi.Sweep):
    """A kernel with one Ctrl-C of its own."""

    def step(self, state, generator):
        Interrupting.steps += 1
        if Interrupting.steps == 7:
            signal.raise_signal(signal.SIGINT)
        return super().step(state, generator)


@QUIET
def test_a_resumed_chain_has_the_same_bits(tmp_path):
    Interrupting.steps = 0
    x, y, _ = classes()
    model, kernel = LaplaceHead(3, 3), Interrupting([pi.LaplaceHeadGibbs()])
    with pytest.raises(pi.Interrupted):
        pa.sample(model, (x, y), kernel=kernel, checkpoint=tmp_path, **OPTIONS)
    made = pi.resume(tmp_path, model, (x, y), kernel=kernel, progress=False)
    assert same_draws(made, pa.sample(model, (x, y), kernel=pi.LaplaceHeadGibbs(), **OPTIONS))
    other = LaplaceHead(3, 3, bias_scale=2.0)
    with pytest.raises(ValueError, match="made with another model"):
        pi.resume(tmp_path, other, (x, y), kernel=kernel, progress=False)


def test_in_pyros_mcmc(monkeypatch):
    monkeypatch.setattr("pyro.infer.mcmc.api.mp.cpu_count", lambda: 1)
    x, y, _ = classes()
    model = LaplaceHead(3, 3)
    kernel = pi.as_pyro_kernel(pi.default_kernel(model), model)
    with pytest.warns(UserWarning, match="num_chains"):
        mcmc = MCMC(kernel, 4, 2, num_chains=2, disable_progbar=True)
    mcmc.run(x, y)
    assert mcmc.get_samples(group_by_chain=True)["weight"].shape == (2, 4, 3, 3)


@pytest.fixture(scope="module")
def small():
    """300 points of three classes, the second feature almost the first; and Gibbs draws."""
    generator = torch.Generator().manual_seed(4)
    x, _, _ = classes(300, 4, seed=4)
    x[:, 1] = 0.9 * x[:, 0] + 0.44 * x[:, 1]
    weight = torch.randn(3, 4, dtype=torch.float64, generator=generator)
    gumbel = -torch.log(torch.empty(300, 3).double().exponential_(generator=generator))
    y = (x @ weight.T + gumbel).argmax(-1)
    prior = AsymmetricLaplace(0.0, 1.0, 1.2)
    model = LaplaceHead(4, 3, prior=prior, bias_scale=1.0)
    kernel, state = pi.LaplaceHeadGibbs(), None
    state = kernel.init(model, (x, y), generator)
    chains = 100
    state = state._replace(
        weight=state.weight.expand(chains, -1, -1), bias=state.bias.expand(chains, -1)
    )
    weights, biases = [], []
    for sweep in range(70):
        state = kernel.step(state, generator)
        if sweep >= 30:
            weights.append(state.weight)
            biases.append(state.bias)
    draws = {"weight": torch.cat(weights), "bias": torch.cat(biases)}
    return prior, x, y, weight, model, draws


def adam(parameters):
    return torch.optim.Adam(parameters, lr=0.02)


def fitted(small, kind, batch_size=None, epochs=250):
    prior, x, y, weight, _, _ = small
    size = None if batch_size is None else len(x)
    model = LaplaceHead(4, 3, prior=prior, bias_scale=1.0, num_points=size)
    guide = pi.laplace_head_guide(weight, kind=kind)
    options = {"epochs": epochs, "batch_size": batch_size, "optimizer": adam}
    done = pa.fit(model, (x, y), guide=guide, progress=False, device="cpu", **options)
    return done.to_arviz(500)


def contrast_spread(weight):
    """Standard deviations (R, p) of what the softmax sees."""
    return (weight - weight.mean(-2, keepdim=True)).std(0)


@pytest.mark.parametrize(
    ("kind", "batch_size", "epochs"),
    [("diagonal", None, 250), ("low_rank", None, 350), ("diagonal", 75, 60)],
)
def test_variational_predictive_against_gibbs(small, kind, batch_size, epochs):
    """Mean absolute difference of class probabilities at new points below 0.03."""
    _, _, _, _, model, draws = small
    new = torch.randn(60, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    exact = model.predictive(draws, new)
    posterior = fitted(small, kind, batch_size, epochs)
    difference = (model.predictive(posterior, new) - exact).abs()
    assert float(difference.mean()) < 0.03
    assert float(difference.max()) < 0.15


def test_the_diagonal_guide_says_too_little_spread(small):
    """A fourth of that of the weights; 0.6 of that of contrasts of correlated features."""
    weight = torch.from_numpy(fitted(small, "diagonal").posterior["weight"].values)[0]
    draws = small[-1]["weight"]
    ratio = weight.std(0) / draws.std(0)
    assert float(ratio.max()) < 0.6
    correlated = (contrast_spread(weight) / contrast_spread(draws))[:, :2]
    assert float(correlated.mean()) < 0.85


@pytest.mark.parametrize("kind", ["diagonal", "low_rank"])
@pytest.mark.parametrize("likelihood", ["softmax", "gaussian"])
def test_learned_laws_are_fitted_from_the_head(kind, likelihood):
    x, y, weight = classes()
    y = y if likelihood == "softmax" else torch.nn.functional.one_hot(y, 3).double()
    guide = pi.laplace_head_guide(weight, torch.ones(3), kind=kind)
    done = pa.fit(
        LaplaceHead(3, 3, likelihood, num_points=40),
        (x, y),
        guide=guide,
        epochs=3,
        batch_size=10,
        device="cpu",
        progress=False,
    )
    start = done.to_arviz(50).posterior["weight"].mean(("chain", "draw")).values
    assert abs(torch.from_numpy(start) - weight).max() < 0.3


def test_refusals_of_the_guide():
    x, y, weight = classes()
    for words, arguments, options in (
        (r"bias must be \(3,\)", (weight, torch.zeros(2)), {}),
        ("kind must be diagonal or low_rank", (weight,), {"kind": "full"}),
        ("rank is only for low_rank", (weight,), {"rank": 2}),
        ("rank must be an integer", (weight,), {"kind": "low_rank", "rank": 0}),
        ("init_scale must be finite", (weight,), {"init_scale": 0.0}),
        ("weight has 1 row with NaN", (weight * torch.tensor([[float("nan")], [1], [1]]),), {}),
    ):
        with pytest.raises(ValueError, match=words):
            pi.laplace_head_guide(*arguments, **options)
    with pytest.raises(ValueError, match=r"weight must be \(R, p\) = \(5, 3\) of the model"):
        pa.fit(LaplaceHead(3, 5), (x, y), guide=pi.laplace_head_guide(weight), progress=False)
    options = {"guide": pi.laplace_head_guide(weight), "batch_size": 10, "device": "cpu"}
    with pytest.raises(ValueError, match="counts the 10 rows of a batch, not all 40"):
        pa.fit(LaplaceHead(3, 3), (x, y), progress=False, **options)


def trained_head():
    """1200 digits pooled to 4 x 4 pixels, and the law of the weights of a ridge head."""
    digits = load_digits()
    x = torch.from_numpy(digits.data[:1200] / 16.0)
    x, y = x.reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(-1, 16), digits.target[:1200]
    head = LogisticRegression(C=1.0, max_iter=500).fit(x.numpy(), y)
    weight = torch.from_numpy(head.coef_)
    return x, torch.from_numpy(y), fit_asymmetric_laplace(weight).dist()


@pytest.mark.slow
def test_chains_agree_on_digits():
    """Four chains on pooled digits under the head's own prior: R-hat of lp and weights."""
    x, y, prior = trained_head()
    model = LaplaceHead(16, 10, prior=prior)
    options = {"draws": 500, "tune": 300, "chains": 4, "seed": 0, "progress": False}
    with warnings.catch_warnings(action="ignore"):
        posterior = pa.sample(model, (x, y), **options)
    groups = groups_of(posterior)
    rhat, ess = convergence(groups["sample_stats"][["lp"]])
    assert float(rhat["lp"]) < 1.03
    assert float(ess["lp"]) > 100.0
    rhat, ess = convergence(groups["posterior"][["weight"]])
    assert float(rhat["weight"].median()) < 1.05
    assert float(ess["weight"].median()) > 100.0
    accuracy = (model.predictive(posterior, x).argmax(1) == y).double().mean()
    assert float(accuracy) > 0.9
