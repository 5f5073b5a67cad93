"""Circle panels draw the points, rays and ridges they are given, at the places they say."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from probact.plots import CircleStage, plot_circle_activations, plot_training_stages
from probact.plots.circle import MIN_GAP, _spread

NUM_CLASSES = 10
TURN = np.linspace(-np.pi, np.pi, 241)  # holds every multiple of 2 pi / 10 up to rounding
HEADINGS = 2 * np.pi * np.arange(NUM_CLASSES) / NUM_CLASSES
WEIGHTS = 3.0 * np.stack([np.cos(HEADINGS), np.sin(HEADINGS)], axis=1)
RIDGES = np.exp(20.0 * (np.cos(TURN - HEADINGS[:, None]) - 1.0))


def stage(title: str = "epoch 0", scale: float = 5.0) -> CircleStage:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, NUM_CLASSES, 200)
    x = scale * rng.uniform(0.2, 1.0, (200, 1)) * WEIGHTS[labels] / 3.0
    return CircleStage(title, x, labels, WEIGHTS, TURN, RIDGES)


def rays(ax: Axes) -> list[Line2D]:
    return [line for line in ax.lines if len(line.get_xdata()) == 2]


def ridge_lines(ax: Axes) -> list[Line2D]:
    return [line for line in ax.lines if len(line.get_xdata()) == len(TURN)]


def test_every_activation_is_a_dot_of_its_place_and_class() -> None:
    given = stage()
    ax = plot_circle_activations(*given[1:6])
    (dots,) = ax.collections
    np.testing.assert_array_equal(dots.get_offsets(), given.activations)
    colors = dots.get_facecolors()
    by_class = {tuple(colors[np.asarray(given.labels) == k][0]) for k in range(NUM_CLASSES)}
    assert len(by_class) == NUM_CLASSES


def test_rays_point_along_the_weights_and_hold_every_dot() -> None:
    given = stage()
    ax = plot_circle_activations(*given[1:6])
    ends = np.array([[line.get_xdata()[1], line.get_ydata()[1]] for line in rays(ax)[1::2]])
    lengths = np.linalg.norm(ends, axis=1)
    np.testing.assert_allclose(ends / lengths[:, None], WEIGHTS / 3.0, atol=1e-12)
    assert np.linalg.norm(given.activations, axis=1).max() < lengths.min()
    np.testing.assert_allclose(lengths, lengths[0])


def test_ridges_peak_at_their_weight_on_one_scale_inside_the_panel() -> None:
    ridges = RIDGES.copy()
    ridges[4] /= 2.0
    ax = plot_circle_activations(*stage()[1:5], ridges)
    radius = np.hypot(rays(ax)[0].get_xdata()[1], rays(ax)[0].get_ydata()[1])
    tops = []
    for line, heading in zip(ridge_lines(ax), HEADINGS, strict=True):
        x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
        peak = np.nanargmax(np.hypot(x, y))
        assert np.cos(np.arctan2(y[peak], x[peak]) - heading) > 1 - 1e-9
        tops.append(np.hypot(x, y)[peak] - radius)
    assert tops[4] == pytest.approx(tops[0] / 2)
    assert radius + max(tops) < ax.get_xlim()[1]
    assert len(ax.patches) == NUM_CLASSES


def test_kernel_density_adds_contours() -> None:
    given = stage()
    x, y = np.linspace(-5, 5, 20), np.linspace(-5, 5, 30)
    z = np.exp(-(x**2) - y[:, None] ** 2)
    ax = plot_circle_activations(*given[1:6], kernel_density=(x, y, z))
    assert len(ax.collections) == 2
    with pytest.raises(ValueError, match="kernel_density z must be"):
        plot_circle_activations(*given[1:6], kernel_density=(x, y, z.T))


def test_legend_and_labels_name_every_class_once() -> None:
    names = [f"kind {k} of thing" for k in range(NUM_CLASSES)]
    ax = plot_circle_activations(*stage()[1:6], class_names=names)
    entries = [text.get_text() for text in ax.get_legend().get_texts()]
    assert entries == [f"{k}  {name}" for k, name in enumerate(names)]
    drawn = [text.get_text() for text in ax.texts]
    assert [text for text in drawn if text.isdigit()] == [str(k) for k in range(NUM_CLASSES)]
    assert plot_circle_activations(*stage()[1:6], legend=False).get_legend() is None


@pytest.mark.parametrize("angles", [[0.0] * 10, [0.0, 0.01, 3.1, -3.1, 3.14, -3.14], [1.0]])
def test_labels_keep_their_distance(angles: list[float]) -> None:
    spread = np.sort(_spread(np.array(angles)) % (2 * np.pi))
    gaps = np.diff(np.append(spread, spread[0] + 2 * np.pi))
    assert gaps.min() > 0.9 * MIN_GAP


def test_stages_stand_in_a_row_with_one_legend() -> None:
    row = plot_training_stages([stage("epoch 0", 0.1), stage("epoch 5"), stage("epoch 9", 50.0)])
    assert [ax.get_title() for ax in row] == ["epoch 0", "epoch 5", "epoch 9"]
    assert [ax.get_legend() is not None for ax in row] == [False, False, True]
    assert row[0].get_xlim()[1] < row[1].get_xlim()[1] < row[2].get_xlim()[1]
    assert len({ax.figure for ax in row}) == 1
    again = plot_training_stages([stage()], axes=[row[1]])
    assert again == [row[1]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.full(200, 10)}, "labels must be whole numbers from 0 to 9, got 10 at 0"),
        ({"weights": WEIGHTS * (HEADINGS > 0)[:, None]}, "class 0 is zero"),
        ({"angles": TURN[::-1]}, "angles must increase"),
        ({"angles": 2 * TURN}, "one turn at most"),
        ({"class_densities": -RIDGES}, "class_densities must not be negative"),
        (
            {"class_densities": RIDGES[:3]},
            r"class_densities must be \(10, 241\), got shape \(3, 241\)",
        ),
        ({"activations": np.zeros((200, 2))}, "activations are all zero"),
        ({"activations": np.zeros((200, 3))}, r"activations must be \(N, 2\)"),
    ],
)
def test_refuses(change: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plot_training_stages([stage()._replace(**change)])


def test_refuses_stages_that_do_not_go_together() -> None:
    fewer = CircleStage("", [[1, 0]], [0], [[1, 0]], TURN, RIDGES[:1])
    with pytest.raises(ValueError, match="one number of classes"):
        plot_training_stages([stage(), fewer])
    with pytest.raises(ValueError, match="got none"):
        plot_training_stages([])
    with pytest.raises(ValueError, match="axes must hold 1 axes"):
        plot_training_stages([stage()], axes=[])
    with pytest.raises(ValueError, match="class_names must hold 10 names, got 1"):
        plot_training_stages([stage()], class_names=["a"])
