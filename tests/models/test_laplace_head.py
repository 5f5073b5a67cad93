"""The last layer as a program and what its draws say: against sums written out."""

import numpy as np
import pyro.poutine as poutine
import pytest
import torch
from pyro.infer import Predictive
from scipy import stats

from probact.distributions import AsymmetricLaplace
from probact.distributions.head_likelihood import stick_log_probs, stick_targets, target_log_prob
from probact.distributions.laplace_hyperprior import LaplaceHyperprior
from probact.models import LaplaceHead
from probact.models.head_draws import HeadDraws, head_draws
from probact.models.head_readings import predictor_blocks

LIKELIHOODS = ["softmax", "bernoulli", "gaussian", "stick_breaking"]
ORDER = [2, 0, 1]


def head(likelihood, **options):
    if likelihood == "stick_breaking":
        options["class_order"] = ORDER
    return LaplaceHead(4, 3, likelihood, **options)


def draws_of(likelihood, count=7):
    generator = torch.Generator().manual_seed(1)
    rows = 3 - (likelihood == "stick_breaking")
    found = {
        "weight": torch.randn(count, rows, 4, dtype=torch.float64, generator=generator),
        "bias": torch.randn(count, rows, dtype=torch.float64, generator=generator),
        "variance": torch.rand(count, rows, dtype=torch.float64, generator=generator) + 0.5,
    }
    return found, torch.randn(5, 4, dtype=torch.float64, generator=generator)


def brute(likelihood, posterior, x):
    """Probabilities (S, N, K), or means, by loops over draws, rows and classes."""
    out = np.zeros((7, 5, 3))
    for s in range(7):
        w, b = posterior["weight"][s].numpy(), posterior["bias"][s].numpy()
        for n, row in enumerate(x.numpy()):
            psi = w @ row + b
            if likelihood == "gaussian":
                out[s, n] = psi
            elif likelihood == "softmax":
                out[s, n] = np.exp(psi) / np.exp(psi).sum()
            elif likelihood == "bernoulli":
                out[s, n] = 1.0 / (1.0 + np.exp(-psi))
            else:
                left = 1.0
                for stick, k in enumerate(ORDER):
                    part = 1.0 / (1.0 + np.exp(-psi[stick])) if stick < 2 else 1.0
                    out[s, n, k] = left * part
                    left *= 1.0 - part
    return out


def targets(likelihood):
    if likelihood in ("softmax", "stick_breaking"):
        return torch.tensor([0, 2, 1, 1, 0])
    if likelihood == "bernoulli":
        return torch.tensor([[0, 1, 1]] * 5).double()
    return torch.linspace(-1.0, 1.0, 15).double().reshape(5, 3)


def brute_density(likelihood, posterior, x):
    """p(y | x) (S, N) of the targets."""
    table, y = brute(likelihood, posterior, x), targets(likelihood).numpy()
    if likelihood == "gaussian":
        sd = posterior["variance"].sqrt().numpy()[:, None]
        return stats.norm(table, sd).pdf(y).prod(-1)
    if likelihood == "bernoulli":
        return np.where(y == 1, table, 1.0 - table).prod(-1)
    return np.stack([table[:, n, k] for n, k in enumerate(y)], -1)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_readings_against_loops(likelihood):
    model, (posterior, x) = head(likelihood), draws_of(likelihood)
    exact = brute(likelihood, posterior, x)
    assert np.allclose(model.predictive(posterior, x), exact.mean(0), rtol=1e-12, atol=1e-13)
    density = brute_density(likelihood, posterior, x)
    found = model.log_predictive(posterior, x, targets(likelihood))
    assert np.allclose(found, np.log(density.mean(0)), rtol=1e-10)
    kept = model.predictive(posterior, x, max_draws=3)
    assert np.allclose(kept, exact[[0, 3, 6]].mean(0), rtol=1e-12, atol=1e-13)
    weight, bias = model.mean_head(posterior)
    assert torch.allclose(weight, posterior["weight"].mean(0))
    psi = model.logits(x, weight, bias)
    assert torch.allclose(psi, x @ weight.T + bias)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_program_has_the_density_of_the_readings(likelihood):
    model, (posterior, x) = head(likelihood), draws_of(likelihood)
    point = {name: value[0] for name, value in posterior.items()}
    trace = poutine.trace(poutine.condition(model, point)).get_trace(x, targets(likelihood))
    trace.compute_log_prob()
    density = np.log(brute_density(likelihood, posterior, x)[0])
    assert np.allclose(trace.nodes["y"]["log_prob"].numpy(), density, rtol=1e-10)


def test_blocks_are_small_and_cover_everything():
    posterior, x = draws_of("softmax")
    draws = HeadDraws(posterior["weight"], posterior["bias"], None)
    psi = torch.einsum("np,skp->snk", x, draws.weight) + draws.bias.unsqueeze(1)
    for block in (1, 3, 7, 12, 30, 1000):
        seen = torch.zeros_like(psi)
        for part, span, values in predictor_blocks(x, draws, block):
            assert values.numel() <= max(block, 3)
            assert torch.allclose(values, psi[part, span])
            seen[part, span] += 1
        assert bool((seen == 1).all())


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_drawn_targets(likelihood):
    model, (posterior, x) = head(likelihood), draws_of(likelihood)
    y = model.sample_targets(posterior, x, 4000, seed=0)
    again = model.sample_targets(posterior, x, 4000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(y, again)
    exact = brute(likelihood, posterior, x).mean(0)
    if likelihood in ("softmax", "stick_breaking"):
        y = torch.nn.functional.one_hot(y, 3).double()
    error = y.std(0) / 4000**0.5
    assert bool(((y.mean(0) - torch.from_numpy(exact)).abs() < 5.0 * error + 1e-3).all())


def test_sticks_against_their_definition():
    psi = torch.tensor([[0.3, -1.2], [800.0, -800.0]], dtype=torch.float64)
    log_probs = stick_log_probs(psi, torch.tensor(ORDER))
    assert torch.allclose(log_probs.exp().sum(-1), torch.ones(2, dtype=torch.float64))
    assert bool(torch.isfinite(log_probs).all())
    one, two = torch.sigmoid(psi[0])
    assert torch.allclose(log_probs[0, [2, 0]].exp(), torch.stack([one, (1 - one) * two]))
    taken, reached = stick_targets(torch.tensor([2, 0, 1]), torch.tensor(ORDER))
    assert taken.tolist() == [[1, 0], [0, 1], [0, 0]]
    assert reached.tolist() == [[1, 0], [1, 1], [1, 1]]
    # what the kernel uses: log p(y) = sum over reached sticks of log Bernoulli(taken)
    logits = torch.randn(3, 2, dtype=torch.float64)
    fit = -torch.nn.functional.softplus((1 - 2 * taken) * logits) * reached
    exact = target_log_prob(
        logits, torch.tensor([2, 0, 1]), "stick_breaking", class_order=torch.tensor(ORDER)
    )
    assert torch.allclose(fit.sum(-1), exact)


def test_classes_by_frequency():
    order = LaplaceHead.frequency_order(torch.tensor([1, 2, 2, 2, 1]), 4)
    assert order.tolist() == [2, 1, 0, 3]
    with pytest.raises(ValueError, match=r"labels in \[0, 2\)"):
        LaplaceHead.frequency_order([0, 2], 2)


def test_programs_draw_and_take_plates_of_particles():
    for likelihood in LIKELIHOODS:
        model = head(likelihood)
        x = torch.randn(6, 4, dtype=torch.float64)
        shape = (5, 6) if likelihood in ("softmax", "stick_breaking") else (5, 6, 3)
        drawn = Predictive(model, num_samples=5, parallel=True)(x)["y"]
        assert drawn.shape == shape
        assert Predictive(model, num_samples=5)(x)["y"].shape == shape


def test_prior_of_the_weights():
    fixed = AsymmetricLaplace.from_rates(torch.zeros(3), 2.0, torch.tensor([1.0, 2.0, 3.0]))
    model = head("softmax", prior=fixed)
    assert not model.learned
    assert torch.allclose(model.prior.rates[1], torch.tensor([1.0, 2.0, 3.0]).double())
    scalar = head("softmax", prior=AsymmetricLaplace(0.0, 1.0, 1.0))
    assert scalar.prior.loc.shape == (3,)
    known = LaplaceHyperprior(*torch.tensor([1.0, 2.0, 3.0, 4.0, -1.0, 1.0]))
    learned = head("softmax", prior=known)
    assert learned.learned
    assert learned.prior.left_rate.tolist() == [4.0, 4.0, 4.0]
    assert {"loc", "rate_right", "rate_left"} <= set(poutine.trace(learned).get_trace(X).nodes)
    assert "loc" not in poutine.trace(model).get_trace(X).nodes
    for cast in (learned.float(), model.half()):  # as `.to` of a whole network does
        assert poutine.trace(cast).get_trace(X).nodes["weight"]["value"].dtype == torch.float64


X = torch.zeros(2, 4)


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("likelihood must be one of", {"likelihood": "probit"}),
        ("num_classes must be at least 2 for softmax", {"num_classes": 1}),
        ("num_features must be an integer", {"num_features": 0}),
        ("num_classes must be an integer", {"num_classes": 2.0}),
        ("num_points must be an integer", {"num_points": 0}),
        ("bias_scale must be finite and above 0", {"bias_scale": 0.0}),
        ("noise_prior must be", {"noise_prior": (1.0,)}),
        (r"noise_prior\[1\] must be finite", {"noise_prior": (1.0, -1.0)}),
        ("class_order is only for stick_breaking", {"class_order": [0, 1, 2]}),
        ("class_order must be given", {"likelihood": "stick_breaking"}),
        (
            "class_order must hold each of 0 .. 2 once",
            {"likelihood": "stick_breaking", "class_order": [0, 0, 1]},
        ),
        (
            "loc of the prior must be one per row",
            {"prior": AsymmetricLaplace(torch.zeros(2), 1.0, 1.0)},
        ),
        (
            "hyperprior.low must be below high",
            {"prior": LaplaceHyperprior(*torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 1.0]))},
        ),
    ],
)
def test_bad_options(words, options):
    with pytest.raises(ValueError, match=words):
        LaplaceHead(**{"num_features": 4, "num_classes": 3, **options})


def test_bad_types():
    with pytest.raises(TypeError, match="prior must be a LaplaceHyperprior"):
        LaplaceHead(4, 3, prior="laplace")
    with pytest.raises(TypeError, match="bias_scale must be a number"):
        LaplaceHead(4, 3, bias_scale="wide")


@pytest.mark.parametrize(
    ("words", "x", "y"),
    [
        ("x must have 4 columns, got 3", torch.zeros(2, 3), None),
        ("x must be a matrix", torch.zeros(4), None),
        ("x has 1 row with NaN", torch.tensor([[0.0, 0.0, 0.0, float("nan")]]), None),
        (r"y must be labels in \[0, 3\), got -1 at row 1", X, torch.tensor([0, -1])),
        (r"y must be labels in \[0, 3\), got 7 at row 0", X, torch.tensor([7, 0])),
        ("y must be one integer per row", X, torch.tensor([0])),
    ],
)
def test_bad_data(words, x, y):
    with pytest.raises(ValueError, match=words):
        head("softmax")(x, y)


def test_bad_targets():
    with pytest.raises(ValueError, match=r"y must hold 0 and 1, got 0.5 at \(1, 2\)"):
        head("bernoulli")(X, torch.tensor([[0, 1, 1], [1, 1, 0.5]]))
    with pytest.raises(ValueError, match=r"y must be \(2, 3\) for gaussian, got shape \(2,\)"):
        head("gaussian")(X, torch.zeros(2))
    with pytest.raises(ValueError, match="at most num_points = 1 rows"):
        head("softmax", num_points=1)(X, torch.tensor([0, 1]))


def test_bad_posteriors():
    model, (posterior, x) = head("softmax"), draws_of("softmax")
    for words, given in (
        ("posterior must be what probact.sample returns", 3),
        ("posterior must be what probact.sample returns", {"bias": posterior["bias"]}),
        (r"weight must be \(S, 3, 4\)", {**posterior, "weight": posterior["weight"][..., :2]}),
        ("weight with NaN", {**posterior, "weight": posterior["weight"] * float("nan")}),
        ("equally many draws", {**posterior, "bias": posterior["bias"][:2]}),
        ("equally many draws", {name: value[:0] for name, value in posterior.items()}),
    ):
        with pytest.raises(ValueError, match=words):
            model.predictive(given, x)
    with pytest.raises(ValueError, match="max_draws must be an integer"):
        head_draws(posterior, 3, 4, max_draws=0)
    without = {name: posterior[name] for name in ("weight", "bias")}
    with pytest.raises(ValueError, match="variance"):
        head("gaussian").log_predictive(without, x, targets("gaussian"))


def test_no_draws_in_blocks_bigger_than_asked():
    """The predictive law never holds draws x rows x classes at once."""
    sizes = []
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(50, 3, 4, dtype=torch.float64, generator=generator)
    draws = HeadDraws(weight, torch.zeros(50, 3, dtype=torch.float64), None)
    for _, _, psi in predictor_blocks(torch.zeros(40_000, 4).double(), draws):
        sizes.append(psi.numel())
    assert max(sizes) <= 2**20
    assert sum(sizes) == 50 * 40_000 * 3
