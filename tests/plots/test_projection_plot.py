"""plot_projected_activations: two panels on one scale, every point drawn, bad input refused."""

import numpy as np
import pytest

from probact.plots import plot_projected_activations


def test_draws_every_point_on_one_scale():
    rng = np.random.default_rng(0)
    observed, sampled = rng.normal(size=(30, 2)), 3.0 * rng.normal(size=(20, 2))
    left, right = plot_projected_activations(
        observed, rng.integers(0, 3, 30), sampled, rng.integers(0, 3, 20)
    )
    np.testing.assert_allclose(left.collections[0].get_offsets(), observed)
    np.testing.assert_allclose(right.collections[0].get_offsets(), sampled)
    assert left.get_xlim() == right.get_xlim() == right.get_ylim()
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["0", "1", "2"]


def test_same_class_has_the_same_colour_in_both_panels():
    left, right = plot_projected_activations([[0, 1]], [1], [[1, 0]], [1], class_names=["a", "b"])
    np.testing.assert_array_equal(
        left.collections[0].get_facecolors(), right.collections[0].get_facecolors()
    )


@pytest.mark.parametrize(
    ("observed", "labels", "message"),
    [
        ([[0.0, np.nan]], [0], "observed"),
        ([[0.0, 1.0, 2.0]], [0], "observed"),
        ([[0.0, 1.0]], [-1], "observed_labels"),
        ([[0.0, 1.0]], [0, 1], "observed_labels"),
    ],
)
def test_refuses_bad_input(observed, labels, message):
    with pytest.raises(ValueError, match=message):
        plot_projected_activations(observed, labels, [[0.0, 1.0]], [0])


def test_a_far_sample_does_not_squeeze_the_rest():
    sampled = np.r_[np.random.default_rng(1).normal(size=(300, 2)), [[1e3, 0.0]]]
    observed = [[1.0, 1.0], [-1.0, 2.0]]
    left, right = plot_projected_activations(observed, [0, 0], sampled, np.zeros(301, int))
    assert right.get_xlim()[1] < 10
    assert "1 outside" in right.get_title()
    assert left.get_title() == "observed (N = 2)"
