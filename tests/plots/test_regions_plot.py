"""Plots of regions: what is drawn is what was given, bad input is refused."""

import numpy as np
import pytest

from probact.plots.regions import plot_against_beta, plot_region_prior, plot_soft_partition

AXIS = np.linspace(-1.0, 1.0, 21)
GAP = AXIS[None, :] + 0.0 * AXIS[:, None]  # zero at the first input 0


def test_boundaries_are_the_zeros_of_the_gaps():
    ax = plot_soft_partition(AXIS, AXIS, np.abs(GAP), [GAP - 0.25, GAP + 5.0], title="layer 1")
    heat, line = ax.collections  # the second gap has no zero in the window
    np.testing.assert_allclose(np.asarray(heat.get_array()).reshape(21, 21), np.abs(GAP))
    (path,) = line.get_paths()
    np.testing.assert_allclose(path.vertices[:, 0], 0.25)
    assert ax.get_title() == "layer 1"
    assert ax.figure.axes[1].get_ylabel() == "entropy of the regions (nats)"


def test_colour_scale_is_the_callers():
    ax = plot_soft_partition(AXIS, AXIS, np.abs(GAP), [GAP], highest=7.0, colorbar=False)
    assert ax.collections[0].get_clim() == (0.0, 7.0)
    assert len(ax.figure.axes) == 1
    assert plot_soft_partition(AXIS, AXIS, 0.0 * GAP, [GAP]).collections[0].get_clim()[1] > 0.0


def test_curves_and_their_hard_values():
    ax = plot_against_beta(
        [0.2, 0.8], {"a": [0.5, 0.9], "b": [0.4, 0.4]}, ylabel="accuracy", hard={"b": 0.3}
    )
    first, second, ring = ax.lines
    np.testing.assert_allclose(first.get_ydata(), [0.5, 0.9])
    assert first.get_linestyle() != second.get_linestyle()
    np.testing.assert_allclose(ring.get_xydata(), [[1.0, 0.3]])
    assert ring.get_color() == second.get_color()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]


def test_a_dot_a_unit():
    ax = plot_region_prior({"one": [0.6, 0.7], "two": [0.9]}, {"one": [0.5, 0.0], "two": [1.0]})
    np.testing.assert_allclose(ax.collections[0].get_offsets(), [[0.6, 0.5], [0.7, 0.0]])
    np.testing.assert_allclose(ax.collections[1].get_offsets(), [[0.9, 1.0]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot_soft_partition(AXIS[::-1], AXIS, GAP, [GAP]), "across must increase"),
        (lambda: plot_soft_partition(AXIS, AXIS, GAP[:3], [GAP]), "entropy must be"),
        (lambda: plot_soft_partition(AXIS, AXIS, GAP, GAP), "gaps must be"),
        (lambda: plot_against_beta([0.5, 1.0], {"a": [0, 1]}, ylabel=""), r"betas must lie"),
        (lambda: plot_against_beta([0.5, 0.4], {"a": [0, 1]}, ylabel=""), "betas must increase"),
        (lambda: plot_against_beta([0.5], {"a": [0, 1]}, ylabel=""), "a must be"),
        (lambda: plot_against_beta([0.5], {"a": [0]}, ylabel="", hard={"b": 1}), "hard names"),
        (lambda: plot_region_prior({"a": [0.5]}, {"b": [0.5]}), "frequency must be of the layers"),
        (lambda: plot_region_prior({"a": [0.5]}, {"a": [1.5]}), r"must lie in \[0, 1\]"),
        (lambda: plot_region_prior({"a": [0.5]}, {"a": [0.5, 0.5]}), "frequency of a must be"),
    ],
)
def test_refuses_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
