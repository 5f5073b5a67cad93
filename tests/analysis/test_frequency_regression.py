"""Two-stage regression on class frequency: known truths, dense algebra, permutations, refusals."""

import itertools
import warnings

import numpy as np
import pytest
import torch
from scipy import optimize, stats
from statcheck import AlphaBudget
from torch import Generator, Tensor

from probact.analysis import frequency_regression
from probact.analysis.meta_regression import meta_regression
from probact.distributions import AsymmetricLaplace

F64 = torch.float64


def simulated(
    counts: Tensor, slopes: tuple[float, float], features: int, seed: int, spread: float = 0.1
) -> Tensor:
    """Weights (K, n) whose log rates have the slopes on log n_k, and a spread between classes."""
    stream = Generator().manual_seed(seed)
    z = counts.double().log() - counts.double().log().mean()
    noise = spread * torch.randn(2, len(counts), dtype=F64, generator=stream)
    right, left = (3.0 + b * z + e for b, e in zip(slopes, noise, strict=True))
    law = AsymmetricLaplace.from_rates(0.01, right.exp(), left.exp())
    return law.sample((features,), generator=stream).mT


def long_tail(classes: int, seed: int) -> Tensor:
    order = torch.randperm(classes, generator=Generator().manual_seed(seed))
    return (1000 * 20.0 ** (-order / (classes - 1))).round()


def dense_restricted_fit(y: np.ndarray, v: np.ndarray, x: np.ndarray) -> tuple[float, ...]:
    """Slope, its standard error without inflation, t and s: the whole covariance, Nelder-Mead."""
    models, classes = y.shape
    design = np.zeros((models, classes, models + 1))
    for j in range(models):
        design[j, :, j] = 1.0
    design[..., -1] = x
    design, flat = design.reshape(-1, models + 1), y.ravel()
    same_class = np.tile(np.eye(classes), (models, models))

    def pieces(theta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        t2, s2 = theta**2
        covariance = np.diag(v.ravel() + t2) + s2 * same_class
        inverse = np.linalg.inv(covariance)
        information = design.T @ inverse @ design
        beta = np.linalg.solve(information, design.T @ inverse @ flat)
        rest = flat - design @ beta
        dets = np.linalg.slogdet(covariance)[1] + np.linalg.slogdet(information)[1]
        return dets + rest @ inverse @ rest, beta, information

    starts = [(0.3, 0.1), (0.05, 0.3), (0.1, 0.1)] if models > 1 else [(0.3, 0.0), (0.05, 0.0)]
    best = None
    for start in starts:
        free = np.array(start)[: 1 + (models > 1)]
        found = optimize.minimize(
            lambda theta: pieces(np.append(theta, 0.0)[:2])[0],
            free,
            method="Nelder-Mead",
            options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000},
        )
        best = found if best is None or found.fun < best.fun else best
    theta = np.append(best.x, 0.0)[:2]
    _, beta, information = pieces(theta)
    error = np.sqrt(np.linalg.inv(information)[-1, -1])
    return float(beta[-1]), float(error), *np.abs(theta).tolist()


@pytest.mark.parametrize(("models", "common"), [(1, 0.0), (3, 0.3), (3, 0.0)])
def test_meta_regression_against_dense_algebra(models: int, common: float) -> None:
    rng = np.random.default_rng(models)
    classes = 12
    x = rng.normal(size=(models, classes))
    v = rng.uniform(0.001, 0.1, size=x.shape)
    shared = common * rng.normal(size=classes)
    y = rng.normal(size=(models, 1)) - 0.4 * x + shared
    y = y + 0.25 * rng.normal(size=x.shape) + np.sqrt(v) * rng.normal(size=x.shape)
    fit = meta_regression(y, v, x)
    slope, error, between, same = dense_restricted_fit(y, v, x)
    assert fit.slope == pytest.approx(slope, abs=2e-5)
    assert fit.sd_between == pytest.approx(between, abs=2e-4)
    assert fit.sd_class == pytest.approx(same, abs=2e-3)
    assert fit.standard_error >= error * (1 - 1e-4)  # inflated, never less
    assert fit.standard_error < 1.3 * error
    assert fit.intercepts.shape == (models,)


def test_equal_variances_are_ordinary_least_squares() -> None:
    """One model, one variance, much spread between classes: the textbook interval."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(1, 15))
    y = 2.0 - 0.3 * x + 0.2 * rng.normal(size=x.shape)
    fit = meta_regression(y, np.full_like(y, 1e-4), x)
    line = stats.linregress(x[0], y[0])
    assert fit.slope == pytest.approx(line.slope, abs=1e-9)
    assert fit.standard_error == pytest.approx(line.stderr, rel=1e-4)
    assert fit.intercepts[0] == pytest.approx(line.intercept, abs=1e-9)
    reach = line.stderr * stats.t.ppf(0.975, 13)
    assert [fit.low, fit.high] == pytest.approx([line.slope - reach, line.slope + reach], rel=1e-4)


def test_no_spread_beyond_the_sampling_variances() -> None:
    x = np.arange(6.0)[None]
    fit = meta_regression(0.5 * x, np.full_like(x, 0.04), x)  # an exact line
    assert (fit.sd_between, fit.sd_class) == (0.0, 0.0)
    assert fit.standard_error == pytest.approx(0.2 / np.sqrt(17.5))  # not below what is known


def test_recovers_the_truth_of_a_hundred_classes() -> None:
    counts = long_tail(100, 0)
    weights = simulated(counts, (-0.14, -0.10), 512, seed=1)
    table = frequency_regression(weights, counts, permutations=999).to_frame()
    truth = {"log_rate_right": -0.14, "log_rate_left": -0.10, "log_lambda": -0.12,
             "log_kappa": -0.02}  # fmt: skip
    for name, slope in truth.items():
        row = table.loc[name]
        assert abs(row["slope"] - slope) < 4 * row["se"]
        assert 0.005 < row["se"] < 0.02
    assert table.loc["log_rate_right", "sd_between"] == pytest.approx(0.1, rel=0.25)
    assert table.loc["log_kappa", "sd_between"] == pytest.approx(0.1 / 2**0.5, rel=0.3)
    assert (table.loc[["log_rate_right", "log_lambda", "log_norm"], "p_value"] == 1e-3).all()
    # the norm is there, and it mirrors the scale: |theta|^2 = n (s_R^2 + s_L^2) here
    assert table.loc["log_norm", "slope"] == pytest.approx(
        -table.loc["log_lambda", "slope"], abs=0.02
    )


def held(repeats: int, models: int, *, same: bool, common: float) -> int:
    """How often 80 % intervals hold the slope, for ten classes in models of the same counts."""
    rng, hits = np.random.default_rng(models), 0
    for _ in range(repeats):
        x = rng.normal(size=(1 if same else models, 10)) * np.ones((models, 1))
        v = rng.uniform(0.002, 0.02, size=x.shape)
        y = 1.0 - 0.2 * x + common * rng.normal(size=10)
        y = y + 0.1 * rng.normal(size=x.shape) + np.sqrt(v) * rng.normal(size=x.shape)
        fit = meta_regression(y, v, x, level=0.8)
        hits += fit.low <= -0.2 <= fit.high
    return hits


def test_intervals_hold_the_truth_as_often_as_they_say(budget: AlphaBudget) -> None:
    hits = held(200, 1, same=True, common=0.0)
    budget.check("coverage", stats.binomtest(hits, 200, 0.8).pvalue)


@pytest.mark.slow
def test_intervals_of_several_models(budget: AlphaBudget) -> None:
    """Cautious where counts differ, and not far below what they say where they are the same."""
    for same in (True, False):
        hits = held(600, 4, same=same, common=0.2)
        p = stats.binomtest(hits, 600, 0.78, alternative="less").pvalue
        budget.check(f"coverage of four models {same}", p)


@pytest.mark.slow
def test_intervals_from_weights(budget: AlphaBudget) -> None:
    hits = np.zeros(2)
    for seed in range(200):
        counts = long_tail(10, seed)
        weights = simulated(counts, (-0.2, -0.1), 256, 1000 + seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a rare row may be one-sided
            fits = frequency_regression(weights, counts, permutations=1, level=0.8).fits
        for i, (name, truth) in enumerate((("log_rate_right", -0.2), ("log_kappa", -0.05))):
            hits[i] += fits[name].low <= truth <= fits[name].high
    for i, count in enumerate(hits.tolist()):
        budget.check(f"coverage {i}", stats.binomtest(int(count), 200, 0.8).pvalue)


def test_copies_of_a_model_add_no_classes() -> None:
    """Four networks whose classes differ in the same way say hardly more than one."""
    counts = long_tail(12, 4)
    stream = Generator().manual_seed(5)
    rate = (3.0 + 0.4 * torch.randn(12, dtype=F64, generator=stream)).exp()
    law = AsymmetricLaplace.from_rates(0.0, rate, rate)
    layers = [law.sample((3000,), generator=stream).mT for _ in range(4)]
    one = frequency_regression(layers[0], counts, permutations=99)
    four = frequency_regression(layers, counts, permutations=99)
    for name in ("log_rate_right", "log_lambda", "log_norm"):
        assert four.fits[name].standard_error > 0.9 * one.fits[name].standard_error
        assert four.fits[name].sd_class > 5 * four.fits[name].sd_between


def test_permutations_against_all_of_them() -> None:
    counts = torch.tensor([10.0, 20.0, 60.0, 70.0, 100.0], dtype=F64)
    weights = simulated(counts, (-0.2, 0.1), 300, seed=6, spread=0.2)
    found = frequency_regression(weights, counts, permutations=4000, seed=1)
    x = counts.log().numpy() - counts.log().numpy().mean()
    for name in found.fits:
        y = found.estimates[name].to_numpy()
        moments = [abs((y - y.mean()) @ x[list(p)]) for p in itertools.permutations(range(5))]
        exact = float(np.mean(np.array(moments) >= moments[0] * (1 - 1e-9)))
        assert abs(found.p_value[name] - exact) < 4 * np.sqrt(exact * (1 - exact) / 4000) + 5e-4
        want = np.corrcoef(x, y)[0, 1] ** 2
        assert found.r_squared[name] == pytest.approx(want, abs=1e-8)


def test_first_stage_and_its_errors() -> None:
    counts = long_tail(4, 8)
    rates = torch.tensor([[20.0, 5.0], [3.0, 9.0], [8.0, 8.0], [2.0, 30.0]], dtype=F64)
    law = AsymmetricLaplace.from_rates(0.0, *rates.T)
    draws = [law.sample((2000,), seed=s).mT for s in range(40)]
    tables = [frequency_regression(x, counts, permutations=1).estimates for x in draws]
    for name, shown in (
        ("log_rate_right", rates[:, 0].log()),
        ("log_rate_left", rates[:, 1].log()),
    ):
        values = np.stack([t[name] for t in tables])  # (40, K)
        np.testing.assert_allclose(values.mean(0), shown.numpy(), atol=0.03)
    for name in ("log_rate_right", "log_rate_left", "log_lambda", "log_kappa", "log_norm"):
        values = np.stack([t[name] for t in tables])
        said = np.stack([t[f"se_{name}"] for t in tables]).mean(0)
        ratio = values.std(0, ddof=1) / said  # sd of the ratio: 0.11
        assert (np.abs(ratio - 1.0) < 0.45).all(), name
    norm = torch.linalg.vector_norm(draws[0], dim=1).log().numpy()
    np.testing.assert_allclose(tables[0]["log_norm"], norm)
    np.testing.assert_allclose(tables[0]["count"], counts.numpy())


def test_rates_of_counts() -> None:
    counts = long_tail(60, 9)
    layers = [simulated(counts, (-0.3, -0.1), 2000, seed=s, spread=0.02) for s in (1, 2)]
    found = frequency_regression(layers, counts, permutations=9)
    right, left = found.rates(counts, model=1)
    z = counts.log() - counts.log().mean()
    np.testing.assert_allclose(right.log().numpy(), (3 - 0.3 * z).numpy(), atol=0.05)
    np.testing.assert_allclose(left.log().numpy(), (3 - 0.1 * z).numpy(), atol=0.05)
    with pytest.raises(ValueError, match=r"model must be in \[0, 2\)"):
        found.rates(counts, model=2)


def test_seeds_shapes_and_copies() -> None:
    counts = long_tail(8, 10)
    weights = simulated(counts, (-0.2, -0.2), 200, seed=11)
    one = frequency_regression(weights, counts, permutations=200, seed=3)
    again = frequency_regression([weights.float().numpy()], [counts.tolist()], permutations=200,
                                 seed=3)  # fmt: skip
    assert one.to_frame().index.tolist() == [
        "log_rate_right", "log_rate_left", "log_lambda", "log_kappa", "log_norm",
    ]  # fmt: skip
    np.testing.assert_allclose(one.to_frame(), again.to_frame(), atol=1e-4)
    assert one.p_value == again.p_value
    for unit in (100.0, 1e-200, 1e200):  # does not matter
        other = frequency_regression(unit * weights, counts, permutations=200, seed=3)
        np.testing.assert_allclose(one.to_frame(), other.to_frame(), atol=1e-6)
    many = torch.cat([weights] * 40)  # K > 256: permutations without the table of pairs
    table = frequency_regression(many, counts.repeat(40), permutations=5).to_frame()
    assert (table["p_value"] == 1 / 6).all()


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ([1, 2, 3, 4], "weights of model 0 have 5 rows, counts 4"),
        ([1, 2, 3, 4, 0], "counts must be positive, got 0 for class 4"),
        ([1, 2, 3, 4, np.nan], "counts must be positive, got nan"),
        ([100, 101, 99, 100, 101], "nearly balanced"),
        ([7, 7, 7, 7, 7], "nearly balanced"),
        ([[1, 2, 3, 4, 5]] * 3, "counts must be one for each of 1 models, got 3"),
        (3, "counts"),
    ],
)
def test_refused_counts(counts: list, words: str) -> None:
    weights = torch.randn(5, 40, generator=Generator().manual_seed(12))
    with pytest.raises((ValueError, TypeError), match=words):
        frequency_regression(weights, counts)


def test_other_refusals() -> None:
    stream = Generator().manual_seed(13)
    weights, counts = torch.randn(5, 40, generator=stream), [1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="three classes"):
        frequency_regression(weights[:2], counts[:2])
    broken = weights.clone()
    broken[3, 7] = torch.nan
    with pytest.raises(ValueError, match="row 3"):
        frequency_regression(broken, counts)
    broken[3] = 1.0
    with pytest.raises(ValueError, match=r"degenerate row .*row 3"):
        frequency_regression(broken, counts)
    with pytest.raises(ValueError, match=r"weights\[1\] must have"):
        frequency_regression([weights, weights[:, :2]], counts)
    with pytest.raises(ValueError, match=r"level must lie in \(0, 1\)"):
        frequency_regression(weights, counts, level=1.0)
    with pytest.raises(ValueError, match="permutations"):
        frequency_regression(weights, counts, permutations=0)
    with pytest.raises(ValueError, match="3 columns"):
        frequency_regression(weights[:, :2], counts)
    even = [100, 101, 99, 100, 101]
    assert frequency_regression(weights, even, min_spread=0.0, permutations=9).level == 0.95
    one_sided = torch.empty(5, 400).exponential_(generator=stream)
    with pytest.warns(UserWarning, match="one-sided"):
        frequency_regression(one_sided, counts, permutations=9)
