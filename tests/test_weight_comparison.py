"""Families of laws of weights compared by PSIS-LOO: exact witnesses of posterior and score."""

from typing import Any

import arviz as az
import numpy as np
import pytest
import torch
from scipy import stats
from statcheck import AlphaBudget, two_sample_pvalue

from probact.analysis.laplace_fits import fit_family
from probact.analysis.laplace_fits.family_fits import TWO_SIDED_FAMILIES
from probact.distributions import AsymmetricLaplace
from probact.inference import draws, sample
from probact.models import LaplaceWeights
from probact.weight_comparison import FamilyPosteriors, compare_families_by_posterior

F64 = torch.float64
WEIGHTS = AsymmetricLaplace(
    torch.tensor([0.3, 5.0], dtype=F64), 1 / 30.0, torch.tensor([0.7, 1.3], dtype=F64)
).sample((400,), seed=7).T  # fmt: skip
THIRD = {"asymmetric_laplace": ["asymmetry"], "skew_logistic": ["shape"], "student_t": ["df"]}


@pytest.fixture(scope="module")
def compared() -> dict[int, FamilyPosteriors]:
    return compare_families_by_posterior(WEIGHTS, [1, 0], draws=300, chains=3, seed=1)


def test_the_generating_family_leads(compared: dict[int, FamilyPosteriors]) -> None:
    assert list(compared) == [1, 0]
    for found in compared.values():
        table = found.table
        assert set(table.index) == set(TWO_SIDED_FAMILIES)
        assert table["elpd"].is_monotonic_decreasing
        assert table["behind"]["asymmetric_laplace"] <= 3.0 * table["dse"]["asymmetric_laplace"]
        assert table["behind"]["normal"] > 3.0 * table["dse"]["normal"]
        assert not table["warning"].any()


def test_elpd_is_the_likelihood_less_the_parameters(compared: dict[int, FamilyPosteriors]) -> None:
    """Stone 1977: leave-one-out is AIC / -2 for a law that holds, here up to a nat."""
    for k, found in compared.items():
        loglik = float(fit_family(WEIGHTS[k : k + 1], "asymmetric_laplace").loglik)
        assert found.table["elpd"]["asymmetric_laplace"] == pytest.approx(loglik - 3.0, abs=1.0)
        assert found.table["p"]["asymmetric_laplace"] == pytest.approx(3.0, abs=1.0)


@pytest.mark.parametrize("family", TWO_SIDED_FAMILIES)
def test_posteriors_are_arviz_and_in_units_of_the_weights(
    compared: dict[int, FamilyPosteriors], family: str
) -> None:
    for k, found in compared.items():
        posterior = found.posteriors[family]
        names = ["loc", "scale", *THIRD.get(family, [])]
        summary = az.summary(posterior, var_names=names)
        assert (summary["r_hat"].astype(float) < 1.05).all()
        fit = fit_family(WEIGHTS[k : k + 1], family)
        sign = -1.0 if bool(fit.mirrored) else 1.0
        at = fit.parameters[0] * torch.tensor([sign, 1.0, 1.0])[: len(names)]
        for name, value in zip(names, at.tolist(), strict=True):
            values = draws(posterior, name)
            spread = float(values.quantile(0.995) - values.quantile(0.005))
            assert abs(float(values.median()) - value) < spread or name == "df"
        densities = posterior.log_likelihood["weight"]
        assert densities.dims == ("chain", "draw", "feature")
        assert densities.shape == (3, 300, 400)


def test_pointwise_densities_are_those_of_the_draws(
    compared: dict[int, FamilyPosteriors],
) -> None:
    for k, found in compared.items():
        posterior, row = found.posteriors["asymmetric_laplace"], WEIGHTS[k].numpy()
        m, s, kappa = (float(draws(posterior, name)[5]) for name in ("loc", "scale", "asymmetry"))
        want = stats.laplace_asymmetric(kappa, m, s).logpdf(row)
        got = posterior.log_likelihood["weight"].values[0, 5]
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)
        skew = found.posteriors["skew_logistic"]
        sign = -1.0 if skew.posterior.attrs["mirrored"] else 1.0
        m, s, c = (float(draws(skew, name)[5]) for name in ("loc", "scale", "shape"))
        want = stats.genlogistic(c, sign * m, s).logpdf(sign * row)
        got = skew.log_likelihood["weight"].values[0, 5]
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)


def grid_of(row: np.ndarray, law: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """loc, log scale (grid), log prior and log densities (grid, n) in units of the row."""
    median = np.sort(row)[(len(row) - 1) // 2]  # torch's median of an even number
    spread = np.abs(row - median).mean()
    x = (row - median) / spread
    m, log_s = (a.ravel() for a in np.meshgrid(np.linspace(-2, 2, 161), np.linspace(-2, 2, 161)))
    prior = stats.norm(0, 2).logpdf(m) + stats.norm(0, 1.5).logpdf(log_s)
    logs = law(m[:, None], np.exp(log_s)[:, None]).logpdf(x) - np.log(spread)
    return m * spread + median, np.exp(log_s) * spread, prior, logs


@pytest.mark.parametrize(("family", "law"), [("normal", stats.norm), ("logistic", stats.logistic)])
def test_exact_leave_one_out_of_few_weights(family: str, law: Any) -> None:
    """Posterior means and every left-out density on a grid of location and log scale."""
    row = np.random.default_rng(5).normal(0.2, 0.03, 16)
    loc, scale, prior, logs = grid_of(row, law)
    found = compare_families_by_posterior(
        torch.tensor(row)[None], [0], (family, "laplace"), draws=2000, chains=4
    )[0]
    whole = prior + logs.sum(1)
    weight = np.exp(whole - whole.max())
    for name, values in (("loc", loc), ("scale", scale)):
        mean = (weight * values).sum() / weight.sum()
        sd = np.sqrt((weight * (values - mean) ** 2).sum() / weight.sum())
        chain = draws(found.posteriors[family], name)
        assert float(chain.mean()) == pytest.approx(mean, abs=0.1 * sd)
        assert float(chain.std()) == pytest.approx(sd, rel=0.1)
    total = 0.0
    for i in range(len(row)):
        rest = whole - logs[:, i]
        without = np.exp(rest - rest.max())
        total += np.log((without * np.exp(logs[:, i])).sum() / without.sum())
    assert found.table["elpd"][family] == pytest.approx(total, abs=0.15)


@pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto")  # few draws
def test_the_seed_decides() -> None:
    runs = [
        compare_families_by_posterior(
            WEIGHTS[:, :40], [0], ("normal", "logistic"), draws=20, chains=2, seed=s
        )[0].posteriors["normal"]
        for s in (1, 1, 2)
    ]
    first, again, other = (draws(run, "loc") for run in runs)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("classes", "keywords", "message"),
    [
        ([2], {}, r"classes must be in 0 .. 1, got 2"),
        ([], {}, "classes must be different row numbers"),
        ([0, 0], {}, "classes must be different row numbers"),
        ([0.5], {}, "classes must be different row numbers"),
        ([0], {"families": ("normal",)}, "families must be two or more of"),
        ([0], {"families": ("normal", "exponential")}, "families must be two or more of"),
        ([0], {"draws": 0}, "draws must be an integer"),
        ([0], {"chains": 0}, "chains must be an integer"),
    ],
)
def test_what_is_refused(classes: list[Any], keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compare_families_by_posterior(WEIGHTS, classes, **keywords)


def test_constant_rows_are_refused() -> None:
    for families in (TWO_SIDED_FAMILIES, TWO_SIDED_FAMILIES[1:]):
        with pytest.raises(ValueError, match="row 1"):
            compare_families_by_posterior(torch.ones(2, 10), [1], families)


def test_two_samplers_agree_on_the_asymmetric_laplace_law(
    compared: dict[int, FamilyPosteriors], budget: AlphaBudget
) -> None:
    """The exact Gibbs kernel, whose weak priors differ: a hundredth of a standard deviation."""
    post = sample(LaplaceWeights(WEIGHTS), draws=500, tune=50, chains=4, seed=0, progress=False)
    right, left, loc = (draws(post, name) for name in ("rate_right", "rate_left", "loc"))
    theirs = {"loc": loc, "scale": (right * left).rsqrt(), "asymmetry": (right / left).sqrt()}
    for k, found in compared.items():
        for name, values in theirs.items():
            ours = draws(found.posteriors["asymmetric_laplace"], name)[::4].numpy()
            p = two_sample_pvalue(ours, values[::8, k].numpy())
            budget.check(f"weight comparison, {name} of class {k}", p)
