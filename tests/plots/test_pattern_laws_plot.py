"""Plots of activation probabilities and of the components of a mixture of patterns."""

import numpy as np
import pytest

from probact import plots


def test_distribution_functions_and_laws():
    axes = plots.plot_probability_laws(
        {"1": [0.9, 0.1], "3": [0.5]}, [0.0, 0.5, 1.0], {"1": [0.0, 0.4, 1.0]}
    )
    steps, law = axes[0].get_lines()
    np.testing.assert_allclose(steps.get_xdata(), [0.0, 0.1, 0.9, 1.0])
    np.testing.assert_allclose(steps.get_ydata(), [0.0, 0.5, 1.0, 1.0])
    np.testing.assert_allclose(law.get_ydata(), [0.0, 0.4, 1.0])
    assert len(axes[1].get_lines()) == 1
    assert [ax.get_title() for ax in axes] == ["1", "3"]


def test_components():
    table = np.array([[0.1, 0.9, 0.4], [0.3, 0.3, 1.0]])
    ax = plots.plot_component_probabilities(table, [0.75, 0.25])
    np.testing.assert_allclose(ax.get_images()[0].get_array(), table)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0.75", "0.25"]


def test_refusals():
    with pytest.raises(ValueError, match="probabilities must name a layer"):
        plots.plot_probability_laws({}, [0.0, 1.0], {})
    with pytest.raises(ValueError, match="the law of '1' has 1 values, the grid 2"):
        plots.plot_probability_laws({"1": [0.5]}, [0.0, 1.0], {"1": [0.5]})
    with pytest.raises(ValueError, match=r"probs \(C, n\) in \[0, 1\] and weights \(C,\)"):
        plots.plot_component_probabilities([[0.5, 2.0]], [1.0])
    with pytest.raises(ValueError, match="finite"):
        plots.plot_component_probabilities([[0.5, np.nan]], [1.0])
