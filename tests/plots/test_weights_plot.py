"""Plots of weights: what is drawn is what was given, bad input is refused."""

import numpy as np
import pytest
from scipy import stats

from probact.plots import (
    plot_log_survival,
    plot_pit_ecdf,
    plot_rank_log,
    plot_rates_across_classes,
    plot_weight_density,
    plot_weight_qq,
)

RNG = np.random.default_rng(11)
WEIGHTS = RNG.laplace(0.1, 0.03, 400)
GRID = np.linspace(-0.3, 0.4, 50)
LAW = stats.laplace(0.1, 0.03)
KAPPA = RNG.gamma(50.0, 0.02, 30)


@pytest.mark.parametrize("log", [False, True])
def test_histogram_has_unit_area_and_curves_are_the_densities(log: bool) -> None:
    ax = plot_weight_density(WEIGHTS, GRID, {"laplace": LAW.pdf(GRID)}, log=log, bins=20)
    (patch,) = ax.patches
    assert ax.get_yscale() == ("log" if log else "linear")
    x, y = patch.get_xy()[:-1].T  # the outline goes there and, along the foot, back
    heights, edges = np.histogram(WEIGHTS, bins=20, density=True)
    assert x.max() == pytest.approx(edges[-1])
    assert y.max() == pytest.approx(heights.max())
    (line,) = ax.lines
    np.testing.assert_allclose(line.get_ydata(), LAW.pdf(GRID))
    bottom, top = ax.get_ylim()
    one = 1.0 / (400 * (edges[1] - edges[0]))
    assert bottom == (pytest.approx(0.3 * one) if log else 0.0)
    assert top > max(heights.max(), LAW.pdf(GRID).max())


def test_densities_of_zero_are_left_out_of_a_log_axis() -> None:
    half = np.where(GRID < 0.1, 0.0, 5.0)
    (line,) = plot_weight_density(WEIGHTS, GRID, {"one-sided": half}, log=True).lines
    assert np.isnan(line.get_ydata()).sum() == (GRID < 0.1).sum()


def test_quantiles_against_sorted_weights() -> None:
    q = LAW.ppf((np.arange(400) + 0.5) / 400)
    ax = plot_weight_qq(WEIGHTS, {"laplace": q, "wide": 2 * q}, title="tricycle")
    diagonal, first, second = ax.lines
    np.testing.assert_array_equal(diagonal.get_xdata(), diagonal.get_ydata())
    np.testing.assert_allclose(first.get_xydata(), np.column_stack([q, np.sort(WEIGHTS)]))
    np.testing.assert_allclose(second.get_xdata(), 2 * q)
    assert ax.get_title() == "tricycle"


def test_ecdf_less_its_argument_has_the_kolmogorov_distance_as_peak() -> None:
    u = LAW.cdf(WEIGHTS)
    ax = plot_pit_ecdf({"laplace": u}, half_width=0.05, band_label="95 % of fits")
    line = ax.lines[-1]
    peak = np.abs(line.get_ydata()).max()
    assert peak == pytest.approx(stats.kstest(u, "uniform").statistic)
    band = ax.patches[0].get_extents().transformed(ax.transData.inverted())
    assert (band.y0, band.y1) == pytest.approx((-0.05, 0.05))
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["95 % of fits", "laplace"]


def test_exponential_distances_lie_on_their_line() -> None:
    share = (np.arange(500) + 0.5) / 500
    y = -np.log1p(-share) / 7.0
    ax = plot_log_survival({"right": y[::-1], "left": 2 * y[:99]}, {"right": 7.0})
    dots, line, other = ax.lines
    np.testing.assert_allclose(dots.get_ydata(), -7.0 * dots.get_xdata())
    x, fitted = line.get_xydata().T
    assert (fitted[1] - fitted[0]) / (x[1] - x[0]) == pytest.approx(-7.0)
    assert len(other.get_xdata()) == 99


def test_rank_log_line_is_the_least_squares_line() -> None:
    y = RNG.exponential(0.02, 300)
    u = np.arange(300) / 299
    slope, intercept = np.polyfit(u, np.log(np.sort(y)), 1)
    ax = plot_rank_log(y, slope, intercept, scale=0.02)
    dots, line, curve = ax.lines
    again = np.polyfit(dots.get_xdata(), dots.get_ydata(), 1)
    np.testing.assert_allclose(again, [slope, intercept])
    np.testing.assert_allclose(line.get_ydata(), [intercept, intercept + slope])
    quantile = stats.expon(scale=0.02).ppf(curve.get_xdata())
    np.testing.assert_allclose(np.exp(curve.get_ydata()), quantile)


def test_classes_are_sorted_with_their_bands() -> None:
    error = np.linspace(0.01, 0.05, 30)
    ax = plot_rates_across_classes(
        {"a": KAPPA, "b": KAPPA[:7]}, {"a": error, "b": error[:7]}, ylabel="kappa", reference=1.0
    )
    line, mean, *_ = ax.lines
    order = np.argsort(KAPPA)
    np.testing.assert_allclose(line.get_ydata(), KAPPA[order])
    assert mean.get_ydata()[0] == pytest.approx(stats.gmean(KAPPA))
    (path,) = ax.collections[0].get_paths()
    top = path.vertices[:, 1].max()
    assert top == pytest.approx((KAPPA * np.exp(2 * error)).max(), rel=0.05)
    (share,) = [c.get_xdata() for c in ax.lines if len(c.get_xdata()) == 7]
    assert 0 < share[0] < share[-1] < 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot_weight_density([], GRID, {}), "weights must not be empty"),
        (lambda: plot_weight_density(WEIGHTS, GRID[::-1], {}), "grid must increase"),
        (
            lambda: plot_weight_density(WEIGHTS, GRID, {"a": -(GRID**2)}),
            "density of a must not be",
        ),
        (lambda: plot_weight_density(WEIGHTS, GRID, {"a": GRID[:9]}), "density of a must be"),
        (lambda: plot_weight_density(WEIGHTS, GRID, {}, bins=0), "bins must be a positive"),
        (lambda: plot_weight_qq(WEIGHTS, {"a": WEIGHTS[:5]}), "quantiles of a must be"),
        (lambda: plot_weight_qq(WEIGHTS, {"a": -np.sort(WEIGHTS)}), "a must not decrease"),
        (lambda: plot_pit_ecdf({"a": [0.5, 1.5]}), r"values of a must lie in \[0, 1\]"),
        (lambda: plot_pit_ecdf({"a": [0.5]}, half_width=0.0), "half_width must be a positive"),
        (lambda: plot_log_survival({"a": [-0.5]}), "distances of a must not be negative"),
        (lambda: plot_log_survival({"a": [0.5]}, {"b": 1.0}), "rates has .'b'."),
        (lambda: plot_log_survival({"a": [0.5]}, {"a": -1.0}), "rate of a must be a positive"),
        (lambda: plot_rank_log([0.1, -0.1], 1.0, 0.0), "weights must be two or more positive"),
        (lambda: plot_rank_log([0.1, 0.2], np.nan, 0.0), "slope must be finite"),
        (lambda: plot_rank_log([0.1, 0.2], 1.0, 0.0, scale=0.0), "scale must be a positive"),
        (lambda: plot_rates_across_classes({}, {}, ylabel=""), "log_errors must be of the heads"),
        (
            lambda: plot_rates_across_classes({"a": [0.0]}, {"a": [0.1]}, ylabel=""),
            "values of a must be positive",
        ),
        (
            lambda: plot_rates_across_classes({"a": [1.0]}, {"a": [-0.1]}, ylabel=""),
            "log_errors of a must not be negative",
        ),
        (
            lambda: plot_rates_across_classes({"a": [1.0]}, {"a": [0]}, ylabel="", reference=-1),
            "reference must be a positive",
        ),
    ],
)
def test_refuses_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
