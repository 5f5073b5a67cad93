"""The program of asymmetric Laplace weights: its density, its inputs, its readings."""

import numpy as np
import pyro.poutine as poutine
import pytest
import torch
from scipy import stats

from probact.distributions.laplace_hyperprior import LaplaceHyperprior
from probact.distributions.rate_regression import RateRegressionPrior
from probact.heads import Head
from probact.models.laplace_weights import LaplaceWeights


def weights(generator, shape=(4, 30)):
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_density_against_scipy(generator):
    """log p(x, m, r, l) of independent classes."""
    x = weights(generator, (2, 9))
    prior = LaplaceHyperprior(
        *(numbers(v, v + 1) for v in (2.0, 1.0, 3.0, 0.5, -4.0)), numbers(9, 8)
    )
    model = LaplaceWeights(x, prior)
    right, left, loc = numbers(1.5, 0.7), numbers(2.0, 3.0), numbers(0.1, -0.3)
    sites = {"rate_right": right, "rate_left": left, "loc": loc}
    trace = poutine.trace(poutine.condition(model, sites)).get_trace()
    exact = 0.0
    for k in range(2):
        r, l_ = float(right[k]), float(left[k])
        a_r, b_r, a_l, b_l, low, high = (float(column[k]) for column in prior)
        exact += stats.gamma(a_r, scale=1 / b_r).logpdf(r) + stats.gamma(
            a_l, scale=1 / b_l
        ).logpdf(l_)
        exact += stats.uniform(low, high - low).logpdf(float(loc[k]))
        law = stats.laplace_asymmetric((r / l_) ** 0.5, float(loc[k]), (r * l_) ** -0.5)
        exact += law.logpdf(x[k].numpy()).sum()
    assert float(trace.log_prob_sum()) == pytest.approx(exact, rel=1e-12)
    assert trace.nodes["obs"]["value"].shape == (9, 2)
    assert torch.equal(trace.nodes["scale"]["value"], (right * left).rsqrt()) or torch.allclose(
        trace.nodes["scale"]["value"], (right * left).rsqrt()
    )


def test_shared_density_against_scipy(generator):
    x, counts = weights(generator, (3, 9)), [2, 20, 90]
    prior = RateRegressionPrior(2.0, 0.5, 1.0, 0.8)
    model = LaplaceWeights(x, hierarchical=True, counts=counts, regression_prior=prior)
    z = np.log(counts) - np.log(counts).mean()
    sites, exact = {"loc": numbers(0.1, -0.3, 0.2)}, 0.0
    for side, b0, b1, a in (("right", 0.3, -0.2, 4.0), ("left", -0.1, 0.4, 2.5)):
        rates = numbers(1.5, 0.7, 0.9) if side == "right" else numbers(2.0, 3.0, 1.1)
        sites |= {f"rate_{side}": rates, f"intercept_{side}": numbers(b0)[0]}
        sites |= {f"slope_{side}": numbers(b1)[0], f"concentration_{side}": numbers(a)[0]}
        exact += stats.norm(0, 2.0).logpdf(b0) + stats.norm(0, 0.5).logpdf(b1)
        exact += stats.lognorm(0.8, scale=np.exp(1.0)).logpdf(a)
        exact += stats.gamma(a, scale=np.exp(b0 + b1 * z) / a).logpdf(rates.numpy()).sum()
    for k in range(3):
        r, l_ = float(sites["rate_right"][k]), float(sites["rate_left"][k])
        law = stats.laplace_asymmetric((r / l_) ** 0.5, float(sites["loc"][k]), (r * l_) ** -0.5)
        exact += law.logpdf(x[k].numpy()).sum()
        exact -= float(3.0 * (x[k].max() - x[k].min()).log()) / 3.0 + np.log(3.0)
    trace = poutine.trace(poutine.condition(model, sites)).get_trace()
    assert float(trace.log_prob_sum()) == pytest.approx(exact, rel=1e-12)
    shared = LaplaceWeights(x, hierarchical=True)
    assert "slope_right" not in poutine.trace(shared).get_trace()


def test_from_a_head(generator):
    matrix = weights(generator, (3, 8)).float()
    head = Head("fc", matrix, labels=("cat", "dog", "newt"))
    model = LaplaceWeights.from_head(head)
    assert model.coords == {"class": ["cat", "dog", "newt"]}
    assert model.weights.dtype == torch.float64
    assert LaplaceWeights.from_head(torch.nn.Linear(8, 3)).coords == {}
    named = LaplaceWeights.from_head(head, class_names=["a", "b", "c"])
    assert named.coords["class"] == ["a", "b", "c"]


def test_inputs_of_any_kind(generator):
    matrix = weights(generator, (2, 8)).float()
    fit = LaplaceWeights(matrix).mle()
    for same in (
        matrix.numpy(),
        matrix.tolist(),
        matrix.double(),
        matrix.clone().requires_grad_(),
    ):
        assert torch.equal(LaplaceWeights(same).mle().loc, fit.loc)
    half = LaplaceWeights(matrix.bfloat16())
    assert half.weights.dtype == torch.float64
    model = LaplaceWeights(matrix)
    matrix[0, 0] = 99.0
    assert float(model.weights.max()) < 99.0


def test_constant_rows_are_flagged_and_refused():
    model = LaplaceWeights(torch.tensor([[0.0, 1.0, 3.0], [2.0, 2.0, 2.0], [5.0, 5.0, 5.0]]))
    assert model.mle().degenerate.tolist() == [False, True, True]
    with pytest.raises(ValueError, match=r"weights has 2 constant rows \(first: row 1\)"):
        model()
    ties = LaplaceWeights(torch.tensor([[0.0, 0.0, 1.0]]))  # degenerate, but with a scale
    assert bool(ties.mle().degenerate)
    assert ties().shape == (3, 1)


def test_dead_features(generator):
    matrix = weights(generator, (3, 40))
    matrix[:, 7] = 0.0
    assert LaplaceWeights(matrix).dead_features().nonzero().flatten().tolist() == [7]


@pytest.mark.parametrize(
    ("error", "words", "arguments"),
    [
        (ValueError, r"1 row with NaN or infinity \(first: row 2", {"weights": "nan"}),
        (ValueError, "at least 1 row and 3 columns", {"weights": torch.zeros(4, 2)}),
        (ValueError, "must be a matrix", {"weights": torch.zeros(4)}),
        (ValueError, "must be floating point", {"weights": torch.zeros(4, 5).int()}),
        (TypeError, "must be a tensor, an array or a list", {"weights": None}),
        (TypeError, "must be a LaplaceHyperprior", {"hyperprior": 3.0}),
        (ValueError, "counts needs hierarchical=True", {"counts": [1, 2, 3, 4]}),
        (
            ValueError,
            "regression_prior needs hierarchical=True",
            {"regression_prior": RateRegressionPrior()},
        ),
        (ValueError, r"one per class, \(4,\)", {"hierarchical": True, "counts": [1, 2]}),
        (
            ValueError,
            "got 0.0 for class 1",
            {"hierarchical": True, "counts": [1, 0, 3, 4]},
        ),
        (ValueError, "vary too little", {"hierarchical": True, "counts": [100, 101, 100, 99]}),
        (TypeError, "RateRegressionPrior", {"hierarchical": True, "regression_prior": 3}),
        (ValueError, "class_names must be 4 names", {"class_names": ["a"]}),
        (ValueError, "class_names must be 4 names", {"class_names": "abcd"}),
        (ValueError, "class_names must be 4 names, got 4", {"class_names": 4}),
        (
            ValueError,
            "needs 3 classes, got 2",
            {"hierarchical": True, "weights": torch.arange(8.0).reshape(2, 4)},
        ),
    ],
)
def test_refusals(error, words, arguments, generator):
    matrix = weights(generator)
    if isinstance(arguments.get("weights"), str):
        matrix[2, 3] = float("nan")
        arguments = {"weights": matrix}
    with pytest.raises(error, match=words):
        LaplaceWeights(**{"weights": matrix, **arguments})


def test_frequency_effects(generator):
    """Half sums and half differences of draws; what is no such posterior is refused."""
    import probact.inference as pi

    model = LaplaceWeights(weights(generator), hierarchical=True, counts=[1, 10, 20, 90])
    right = torch.randn(4000, dtype=torch.float64, generator=generator)
    left = 3.0 + 2.0 * torch.randn(4000, dtype=torch.float64, generator=generator)
    table = model.frequency_effects(
        pi.from_draws({"slope_right": right, "slope_left": left}), prob=0.5
    )
    names = ["log_rate_right", "log_rate_left", "log_lambda", "log_kappa", "log_norm"]
    assert list(table.index) == names
    z = np.log([1, 10, 20, 90])
    line = stats.linregress(z, model.weights.norm(dim=1).log().numpy())
    assert table["mean"]["log_norm"] == pytest.approx(line.slope, rel=0.3)  # plain least squares
    assert 0.0 < table["sd"]["log_norm"] < 2.0 * line.stderr
    for name, draws in (("log_lambda", (right + left) / 2), ("log_kappa", (right - left) / 2)):
        row = table.loc[name]
        assert row["mean"] == pytest.approx(float(draws.mean()))
        assert row["sd"] == pytest.approx(float(draws.std()))
        assert row["low"] == pytest.approx(float(draws.quantile(0.25)))
        assert row["high"] == pytest.approx(float(draws.quantile(0.75)))
    with pytest.raises(ValueError, match="must hold 'slope_left'"):
        model.frequency_effects(pi.from_draws({"slope_right": right}))
    with pytest.raises(ValueError, match="a mapping with 'slope_right', got int"):
        model.frequency_effects(3)
    with pytest.raises(ValueError, match="prob must lie in"):
        model.frequency_effects(None, prob=1.0)
    with pytest.raises(ValueError, match="hierarchical=True and counts"):
        LaplaceWeights(weights(generator)).frequency_effects(None)
