"""Figures of linear regions show the numbers that they are given."""

import numpy as np
import pytest

from probact.plots import (
    plot_line_flips,
    plot_map_spectra,
    plot_noise_angles,
    plot_plane_slice,
    plot_region_sizes,
)

SQUARE = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])


def test_steps_climb_by_the_flips():
    ax = plot_line_flips({"a": ([0.1, 0.5, 0.5], [2, 1, 3], 4.0), "b": ([0.3], [1], 1.0)})
    x, y = ax.lines[0].get_data()
    assert list(x) == [0.0, 0.1, 0.5, 0.5, 1.0]
    assert list(y) == [0.0, 2.0, 3.0, 6.0, 6.0]
    assert ax.lines[1].get_data() == ([1.0], [4.0])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]


def test_spectra_are_relative_and_floored():
    ax = plot_map_spectra({"a": [4.0, 2.0, 0.0], "b": [1.0, 1e-30]}, floor=1e-9)
    assert list(ax.lines[0].get_ydata()) == [1.0, 0.5, 1e-9]
    assert list(ax.lines[1].get_ydata()) == [1.0, 1e-9]
    assert list(ax.lines[0].get_xdata()) == [1, 2, 3]


def test_angles_have_their_median_and_band():
    angles = np.arange(22.0).reshape(2, 11)
    ax = plot_noise_angles([0.1, 1.0], angles, [0.75, 0.25])
    assert list(ax.lines[0].get_ydata()) == [5.0, 16.0]
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (1.0, 20.0)
    right = next(other for other in ax.figure.axes if other is not ax)
    assert list(right.lines[0].get_ydata()) == [0.75, 0.25]


def test_polygons_wear_the_colour_of_their_class():
    left, right = SQUARE * [0.5, 1.0] - [0.5, 0.0], SQUARE * [0.5, 1.0] + [0.5, 0.0]
    ax = plot_plane_slice(
        [left, right], [2, 0], class_names=["cat", "dog", "fox"], points={"x": (0.1, 0.2)}
    )
    shapes = ax.collections[0]
    assert np.allclose(shapes.get_paths()[0].vertices[:4], left)
    assert not np.allclose(shapes.get_facecolors()[0], shapes.get_facecolors()[1])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["cat", "fox"]
    assert [text.get_text() for text in ax.texts] == ["x"]


def test_sizes_are_joined_by_region():
    ax = plot_region_sizes({"a": [1.0, 2.0, 4.0], "b": [10.0, 30.0, 20.0]})
    assert list(ax.lines[1].get_ydata()) == [2.0, 30.0]
    assert list(ax.lines[-1].get_ydata()) == [20.0, 20.0]  # the median
    assert ax.get_yscale() == "log"


@pytest.mark.parametrize(("call", "words"), [
    (lambda: plot_line_flips({}), "lines"),
    (lambda: plot_line_flips({"a": ([0.5, 0.1], [1, 1], 2)}), "increase"),
    (lambda: plot_line_flips({"a": ([0.5], [1, 1], 2)}), "flips of a"),
    (lambda: plot_map_spectra({}), "spectra"),
    (lambda: plot_map_spectra({"a": [1.0, 2.0]}), "decrease"),
    (lambda: plot_noise_angles([0.0], [[1.0]], [1.0]), "sigmas"),
    (lambda: plot_noise_angles([1.0], [[1.0]], [2.0]), "unchanged"),
    (lambda: plot_noise_angles([1.0], [1.0], [1.0]), "angles"),
    (lambda: plot_plane_slice([], []), "polygons"),
    (lambda: plot_plane_slice([SQUARE], [0, 1]), "classes"),
    (lambda: plot_plane_slice([SQUARE], [-1]), "classes"),
    (lambda: plot_plane_slice([SQUARE[:, :1]], [0]), "polygon 0"),
    (lambda: plot_region_sizes({}), "sizes"),
    (lambda: plot_region_sizes({"a": [0.0]}), "above zero"),
    (lambda: plot_region_sizes({"a": [1.0], "b": [1.0, 2.0]}), "b must be"),
])  # fmt: skip
def test_other_arrays_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
