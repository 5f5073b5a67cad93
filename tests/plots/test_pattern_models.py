"""Plots of pattern models: what is drawn is what was given."""

import numpy as np
import pytest

from probact import plots


def test_count_law_draws_the_shares():
    observed, fair = np.array([0.1, 0.6, 0.3, 0.0]), np.array([0.25, 0.5, 0.25, 0.0])
    ax = plots.plot_count_law(observed, {"fair": fair, "same": observed}, title="layer")
    assert [bar.get_height() for bar in ax.patches] == observed.tolist()
    assert [bar.get_x() + bar.get_width() / 2 for bar in ax.patches] == [0, 1, 2, 3]
    assert [line.get_ydata().tolist() for line in ax.lines] == [fair.tolist(), observed.tolist()]
    assert ax.get_xlim() == (-1.0, 3.0)
    texts = [t.get_text() for t in ax.get_legend().get_texts()]
    assert sorted(texts) == ["fair", "observed", "same"]


def test_checks_are_relative_to_the_data():
    spans = {"a": [[1.0, 2.0, 3.0], [-4.0, -2.0, -1.0]], "b": [[2.0, 2.0, 2.0], [0.0, 1.0, 2.0]]}
    ax = plots.plot_predictive_checks(["one", "two_fold"], [2.0, -2.0], spans)
    drawn = [line.get_xdata() for line in ax.lines[1:]]
    want = [[0.5, 1.5], [1.0], [2.0, 0.5], [1.0], [1.0, 1.0], [1.0], [0.0, -1.0], [-0.5]]
    for found, row in zip(drawn, want, strict=True):
        np.testing.assert_allclose(found, row)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["one", "two fold"]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a", "b"]
    rows = [line.get_ydata()[0] for line in ax.lines[1::2]]
    assert rows == sorted(rows[:2]) + sorted(rows[2:])
    assert ax.get_ylim() == (1.5, -0.5)  # from the top


def test_refusals():
    with pytest.raises(ValueError, match="observed must be shares at least 0, got 2 from -1"):
        plots.plot_count_law([-1.0, 2.0], {})
    with pytest.raises(ValueError, match="fair must be 2 shares at least 0, got 3"):
        plots.plot_count_law([0.5, 0.5], {"fair": [0.1, 0.2, 0.7]})
    with pytest.raises(ValueError, match="observed must be 1 values other than 0"):
        plots.plot_predictive_checks(["one"], [0.0], {})
    with pytest.raises(ValueError, match=r"a must be \(1, 3\)"):
        plots.plot_predictive_checks(["one"], [1.0], {"a": [[1.0, 2.0]]})
    with pytest.raises(ValueError, match="a has"):
        plots.plot_predictive_checks(["one"], [1.0], {"a": [[1.0, 2.0, np.nan]]})


def test_components():
    table = np.array([[0.1, 0.9, 0.4], [0.3, 0.3, 1.0]])
    ax = plots.plot_component_probabilities(table, [0.75, 0.25])
    np.testing.assert_allclose(ax.get_images()[0].get_array(), table)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0.75", "0.25"]
    with pytest.raises(ValueError, match=r"probs \(C, n\) in \[0, 1\] and weights \(C,\)"):
        plots.plot_component_probabilities([[0.5, 2.0]], [1.0])
    with pytest.raises(ValueError, match="finite"):
        plots.plot_component_probabilities([[0.5, np.nan]], [1.0])
