"""The kernel of a last layer: seams with program and files, quadrature, refusals."""

import numpy as np
import pyro.poutine as poutine
import pytest
import statcheck
import torch
from torch.nn.functional import one_hot

from probact.distributions import AsymmetricLaplace
from probact.distributions.laplace_hyperprior import LaplaceHyperprior, LaplaceParameters
from probact.inference import LaplaceHeadGibbs, default_kernel
from probact.models import LaplaceHead

LIKELIHOODS = ["softmax", "bernoulli", "gaussian", "stick_breaking"]


def case(likelihood, points=30, features=4, **options):
    """A model of three classes and data that it could have made."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(points, features, dtype=torch.float64, generator=generator)
    weight = torch.randn(3, features, dtype=torch.float64, generator=generator)
    y = (x @ weight.T).argmax(-1)
    if likelihood in ("bernoulli", "gaussian"):
        y = one_hot(y, 3).double()
    if likelihood == "stick_breaking":
        options["class_order"] = [2, 0, 1]
    return LaplaceHead(features, 3, likelihood, **options), (x, y)


@pytest.mark.parametrize("points", [30, 2])
@pytest.mark.parametrize("prior", ["learned", "fixed"])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_log_joint_is_that_of_the_program(likelihood, prior, points, generator):
    law = AsymmetricLaplace.from_rates(0.2, 2.0, 1.0)
    if prior == "learned":
        law = LaplaceHyperprior(*torch.tensor([2.0, 1.0, 3.0, 0.5, -1.0, 2.0]).double())
    model, data = case(likelihood, points, prior=law, bias_scale=2.0)
    kernel = LaplaceHeadGibbs()
    state = kernel.init(model, data, generator)
    for _ in range(3):
        sites = kernel.record(state)
        trace = poutine.trace(poutine.condition(model, sites)).get_trace(*data)
        assert set(sites) == {
            name
            for name, node in trace.nodes.items()
            if node["type"] == "sample" and name not in ("class", "data", "y")
        }
        assert torch.allclose(kernel.log_joint(state), trace.log_prob_sum(), rtol=1e-12)
        assert kernel.statistics(state)["lp"] == pytest.approx(float(trace.log_prob_sum()))
        state = kernel.step(state, generator)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_saved_chains_go_on_with_the_same_bits(likelihood):
    model, data = case(likelihood)
    kernel, generator = LaplaceHeadGibbs(), torch.Generator().manual_seed(0)
    state = kernel.step(kernel.init(model, data, generator), generator)
    saved = {name: value.clone() for name, value in kernel.save(state).items()}
    stream = generator.get_state()
    ahead = kernel.step(kernel.step(state, generator), generator)
    assert all(torch.equal(value, kernel.save(state)[n]) for n, value in saved.items())
    generator.set_state(stream)
    again = kernel.restore(model, data, saved)
    again = kernel.step(kernel.step(again, generator), generator)
    for name, value in kernel.save(ahead).items():
        assert torch.equal(value, kernel.save(again)[name]), name


def test_the_kernel_is_found_by_its_model():
    assert isinstance(default_kernel(LaplaceHead(2, 3)), LaplaceHeadGibbs)


def quadrature(x, y, prior, bias_scale):
    """E theta_kj, sd and E p(y = 1 | x = 1) of one feature and two classes, on a grid.

    Two classes depend on the data by w = theta_1 - theta_0 and v = b_1 - b_0 alone: their priors
    are those of differences.
    """
    grid = np.linspace(-30.0, 30.0, 6001)
    step = grid[1] - grid[0]
    single = prior.log_prob(torch.from_numpy(grid)).exp().numpy()
    difference = np.convolve(single, single[::-1], mode="same") * step  # theta_1 - theta_0
    w = grid[::10]
    v = np.linspace(-8.0, 8.0, 401) * bias_scale
    psi = w[:, None, None] * x + v[None, :, None]
    log_fit = np.where(y == 1, -np.logaddexp(0, -psi), -np.logaddexp(0, psi)).sum(-1)
    log_bias = -0.25 * (v / bias_scale) ** 2  # variance 2 scale^2
    density = difference[::10, None] * np.exp(log_fit + log_bias)
    density /= density.sum()
    by_w = density.sum(1)
    mean = (by_w * w).sum()
    sd = np.sqrt((by_w * w**2).sum() - mean**2)
    hit = (density / (1.0 + np.exp(-(w[:, None] + v[None, :])))).sum()
    return mean, sd, hit


@pytest.mark.parametrize("likelihood", ["softmax", "bernoulli"])
def test_posterior_against_quadrature(likelihood, budget):
    """softmax: the contrast of two rows; bernoulli: one row, whose prior is that contrast's."""
    x = np.array([-1.0, -0.3, 0.2, 0.7, 1.1, 2.0, -0.5])
    y = np.array([0, 0, 1, 0, 1, 1, 1])
    prior = AsymmetricLaplace.from_rates(*torch.tensor([0.1, 1.5, 0.8], dtype=torch.float64))
    data = torch.from_numpy(x)[:, None], torch.from_numpy(y)
    if likelihood == "softmax":
        model = LaplaceHead(1, 2, prior=prior, bias_scale=0.7)
        exact = quadrature(x, y, prior, 0.7)
    else:
        model = LaplaceHead(1, 1, "bernoulli", prior=prior, bias_scale=0.7)
        data = data[0], data[1][:, None].double()
        exact = bernoulli_quadrature(x, y, prior, 0.7)
    weight, bias = many_chains(model, data)  # (T, C, R)
    if likelihood == "softmax":
        weight, bias = weight.diff(dim=-1), bias.diff(dim=-1)
    hit = torch.sigmoid(weight + bias)
    mean, sd, probability = exact
    for name, chain, value in (
        ("mean", weight, mean),
        ("square", (weight - mean) ** 2, sd**2),
        ("probability", hit, probability),
    ):
        means = chain.squeeze(-1).mean(0)
        t = (means.mean() - value) / (means.std() / len(means) ** 0.5)
        p = 2 * statcheck.st.t.sf(abs(float(t)), len(means) - 1)
        budget.check(f"head quadrature {likelihood} {name}", p)


def many_chains(model, data, chains=400, sweeps=90, dropped=30):
    """Weights and biases (T, C, R) of one feature, of chains that go on side by side."""
    kernel, generator = LaplaceHeadGibbs(), torch.Generator().manual_seed(7)
    state = kernel.init(model, data, generator)
    state = state._replace(
        weight=state.weight.expand(chains, -1, -1), bias=state.bias.expand(chains, -1)
    )
    weights, biases = [], []
    for sweep in range(sweeps):
        state = kernel.step(state, generator)
        if sweep >= dropped:
            weights.append(state.weight[..., 0])
            biases.append(state.bias)
    return torch.stack(weights), torch.stack(biases)


def bernoulli_quadrature(x, y, prior, bias_scale):
    """As `quadrature`, of one row."""
    w = np.linspace(-12.0, 12.0, 2401)
    v = np.linspace(-6.0, 6.0, 401) * bias_scale
    psi = w[:, None, None] * x + v[None, :, None]
    log_fit = np.where(y == 1, -np.logaddexp(0, -psi), -np.logaddexp(0, psi)).sum(-1)
    single = prior.log_prob(torch.from_numpy(w)).exp().numpy()
    density = single[:, None] * np.exp(log_fit - 0.5 * (v / bias_scale) ** 2)
    density /= density.sum()
    by_w = density.sum(1)
    mean = (by_w * w).sum()
    sd = np.sqrt((by_w * w**2).sum() - mean**2)
    return mean, sd, (density / (1.0 + np.exp(-(w[:, None] + v[None, :])))).sum()


def test_first_states_are_finite_at_the_ends(generator):
    """One feature, one point, features of zeros, of great size, and classes without a point."""
    kernel = LaplaceHeadGibbs()
    for x, y in (
        ([[0.0, 0.0]], [0]),
        ([[1e-8, -1e-8]], [1]),
        ([[1e5, -1e5], [1e5, 1e5]], [1, 1]),
        ([[1.0, 2.0]] * 5, [0] * 5),
    ):
        for likelihood, options in (
            ("softmax", {}),
            ("stick_breaking", {"class_order": [1, 2, 0]}),
        ):
            data = torch.tensor(x, dtype=torch.float64), torch.tensor(y)
            state = kernel.init(LaplaceHead(2, 3, likelihood, **options), data, generator)
            for _ in range(5):
                state = kernel.step(state, generator)
            assert all(bool(torch.isfinite(v).all()) for v in kernel.record(state).values())
            assert bool(torch.isfinite(kernel.log_joint(state)))


def test_modes_stay_inside_their_bounds(generator):
    """Where the data push a mode past a bound, the program still knows the draw."""
    edge = LaplaceHyperprior(*torch.tensor([50.0, 1e-6, 50.0, 1e-6, -0.1, 0.1]).double())
    model, data = case("gaussian", prior=edge)
    kernel = LaplaceHeadGibbs()
    state = kernel.init(model, (data[0] + 10.0, 50.0 * data[1]), generator)
    for _ in range(50):
        state = kernel.step(state, generator)
        assert bool((state.parameters.loc >= -0.1).all())
        assert bool((state.parameters.loc < 0.1).all())
        assert bool(torch.isfinite(kernel.log_joint(state)))


def test_modes_go_with_their_weights(generator):
    """Where the rates are immense, all weights of a row are at its mode, after every step."""
    tight = LaplaceHyperprior(*torch.tensor([1e6, 1e-2, 1e6, 1e-2, -5.0, 5.0]).double())
    for likelihood in LIKELIHOODS:
        model, data = case(likelihood, prior=tight)
        kernel = LaplaceHeadGibbs()
        state = kernel.init(model, data, generator)
        loc = torch.zeros_like(state.bias)
        laws = LaplaceParameters(loc, loc + 1e8, loc + 1e8)
        state = state._replace(weight=torch.zeros_like(state.weight), parameters=laws)
        moved = []
        for _ in range(5):
            before, state = state, kernel.step(state, generator)
            assert float((state.weight - state.parameters.loc.unsqueeze(-1)).abs().max()) < 1e-5
            moved.append(float((state.parameters.loc - before.parameters.loc).abs().max()))
        assert max(moved) > 1e-3


def test_refusals(generator):
    kernel = LaplaceHeadGibbs()
    model, (x, y) = case("softmax")
    sized = LaplaceHead(4, 3, num_points=60)
    for words, args in (
        ("must be a LaplaceHead", (torch.nn.Linear(2, 2), (x, y))),
        (r"data must be \(x, y\)", (model, x)),
        (r"data must be \(x, y\)", (model, (x, None))),
        (r"data must be \(x, y\)", (model, (x, y, y))),
        ("x must have 4 columns", (model, (x[:, :2], y))),
        ("x has 30 rows with NaN", (model, (x * float("nan"), y))),
        ("x must have rows and columns", (model, (x[:0], y[:0]))),
        (r"y must be labels in \[0, 3\), got 3 at row 0", (model, (x, y * 0 + 3))),
        ("y must be one integer per row", (model, (x, y[:4]))),
        ("y must be integers", (model, (x, y.double()))),
        ("x must have num_points = 60 rows", (sized, (x, y))),
    ):
        with pytest.raises(ValueError, match=words):
            kernel.init(*args, generator)
    small = LaplaceHeadGibbs(max_operations=3 * 4**3 - 1)
    with pytest.raises(ValueError, match=r"laplace_head_guide.*subset of the classes"):
        small.init(model, (x, y), generator)
    LaplaceHeadGibbs(max_operations=3 * 4**3).init(model, (x, y), generator)
    few = LaplaceHeadGibbs(max_operations=3 * 4 * 2**2)  # the N x N form is cheaper
    few.init(model, (x[:2], y[:2]), generator)
    with pytest.raises(ValueError, match="max_operations must be finite"):
        LaplaceHeadGibbs(max_operations=0.0)
    saved = kernel.save(kernel.init(model, (x, y), generator))
    with pytest.raises(ValueError, match="the saved chain has"):
        kernel.restore(LaplaceHead(4, 5), (x, y), saved)


def test_a_large_layer_is_refused_before_any_work(generator):
    """1000 classes of 2048 features are 8.6e12 operations."""
    model = LaplaceHead(2048, 1000)
    x, y = torch.zeros(3000, 2048), torch.zeros(3000, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"needs 8.6e\+12 operations a sweep, more than 1e\+12"):
        LaplaceHeadGibbs().init(model, (x, y), generator)


@pytest.mark.gpu
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_on_cuda(likelihood):
    model, (x, y) = case(likelihood)
    generator, kernel = torch.Generator("cuda").manual_seed(0), LaplaceHeadGibbs()
    state = kernel.init(model.cuda(), (x.cuda(), y.cuda()), generator)
    state = kernel.step(state, generator)
    cpu = kernel.restore(model.cpu(), (x, y), kernel.save(state))
    assert torch.allclose(kernel.log_joint(state).cpu(), kernel.log_joint(cpu))
