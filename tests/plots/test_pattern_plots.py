"""Plots of activation patterns draw the numbers they were given, or refuse them in words."""

import numpy as np
import pytest

from probact.plots import (
    plot_active_values,
    plot_constellations,
    plot_distance_counts,
    plot_layer_distances,
    plot_probabilities,
    plot_probability_variances,
)


def test_probabilities_and_their_law():
    p = np.linspace(0.0, 1.0, 41)
    ax = plot_probabilities(p, [0.2, 0.8], [1.0, 2.0], title="layer 1", label="law")
    heights = np.array([bar.get_height() for bar in ax.patches])
    assert len(heights) == 20
    assert heights.sum() / 20 == pytest.approx(1.0)  # a density
    assert ax.lines[0].get_ydata().tolist() == [1.0, 2.0]
    assert ax.get_legend().texts[0].get_text() == "law"
    assert ax.get_title() == "layer 1"
    assert plot_probabilities(p, ax=ax) is ax


def test_variances_with_their_predictions():
    ax = plot_probability_variances(
        {"none": [0.1, 0.2], "batch": [0.0, 0.0]}, {"none": [0.1, 0.3]}
    )
    lines = {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}
    assert lines["none"].get_xdata().tolist() == [1, 2]
    assert lines["batch"].get_ydata().tolist() == [0.0, 0.0]
    rings = [line for line in ax.lines if line.get_markerfacecolor() == "none"]
    assert rings[0].get_ydata().tolist() == [0.1, 0.3]
    marks = {float(line.get_ydata()[0]) for line in ax.lines if line.get_linestyle() == ":"}
    assert {1 / 12, 0.25} <= marks


def test_distances_beside_coins():
    ax = plot_distance_counts([0, 0, 3, 1, 0, 0], [0.0, 0.1, 0.4, 0.4, 0.1, 0.0])
    assert ax.lines[0].get_ydata().tolist() == [0.0, 0.0, 0.75, 0.25, 0.0, 0.0]
    assert ax.get_xlim() == (1.0, 4.0)
    assert [t.get_text() for t in ax.get_legend().texts] == ["measured", "fair coins"]


def test_constellations_and_layers():
    ax = plot_constellations({"a": [5, 2, 1], "b": [5, 4, 1]})
    assert [line.get_ydata().tolist() for line in ax.lines] == [[5, 2, 1], [5, 4, 1]]
    ax = plot_layer_distances(["1", "3"], {"x": [0.1, 0.2]}, {"x": [0.01, 0.02]})
    assert ax.get_yscale() == "log"
    assert ax.lines[0].get_ydata().tolist() == [0.1, 0.2]
    zero = plot_layer_distances(["1"], {"x": [0.0]}, {"x": [0.0]})
    assert zero.get_yscale() == "linear"


def test_values_and_densities():
    ax = plot_active_values([0.5, 1.0, 1.5], [0.1, 1.0], {"one": [1.0, 0.5], "two": [0.2, 0.1]})
    assert [line.get_label() for line in ax.lines] == ["one", "two"]
    area = sum(bar.get_height() * bar.get_width() for bar in ax.patches)
    assert area == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: plot_probabilities([0.2, 1.2]), "p must lie in"),
        (lambda: plot_probabilities([0.2], [0.1], [1.0, 2.0]), "density must be"),
        (lambda: plot_probability_variances({"a": [0.1]}, {"b": [0.1]}), "predicted has"),
        (lambda: plot_probability_variances({"a": [0.1]}, {"a": [0.1, 0.2]}), "predicted a must"),
        (lambda: plot_distance_counts([0, 0]), "counts must not"),
        (lambda: plot_constellations({"a": [2, 0]}), "a must be at least one group"),
        (lambda: plot_layer_distances(["1"], {"x": [0.1]}, {}), "means and errors differ"),
        (lambda: plot_layer_distances(["1"], {"x": [0.1, 2]}, {"x": [0.1]}), "x must be"),
        (lambda: plot_active_values([0.0], [1.0], {}), "values must be above zero"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(ValueError, match=words):
        call()
