"""The sheet holds every image, pixel for pixel, where its row and its group say."""

from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from probact.plots import image_grid


def sheet_of(ax: Any) -> np.ndarray:
    return np.asarray(ax.images[0].get_array())


def find(sheet: np.ndarray, image: np.ndarray) -> tuple[int, int]:
    """Top left corner of the only place where the image (H, W, 3) is."""
    windows = np.lib.stride_tricks.sliding_window_view(sheet, image.shape)[:, :, 0]
    places = np.argwhere((windows == image).all((2, 3, 4)))
    assert len(places) == 1
    return int(places[0][0]), int(places[0][1])


@pytest.mark.parametrize("channels", [1, 3])
def test_every_image_is_on_the_sheet_in_order(channels: int) -> None:
    images = np.random.default_rng(0).random((2, 3, channels, 5, 4))
    ax = image_grid(images)
    sheet = sheet_of(ax)
    colours = np.moveaxis(images, 2, -1)
    places = np.array(
        [[find(sheet, np.broadcast_to(c, (5, 4, 3))) for c in row] for row in colours]
    )
    assert (np.diff(places[:, :, 1], axis=1) == 5).all()  # four pixels and a gap of one
    assert (np.diff(places[:, :, 0], axis=0) == 6).all()
    assert (places[:, :, 0] == places[:, :1, 0]).all()
    middle = places[:, 0, 0] + 2.0
    np.testing.assert_array_equal(ax.get_yticks(), middle)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["0", "1"]


def test_groups_stand_apart_under_their_names() -> None:
    images = np.random.default_rng(1).random((1, 5, 1, 4, 4))
    ax = image_grid(images, groups=[("real", 2), ("sampled", 3)], row_names=["seven"])
    sheet = sheet_of(ax)
    lefts = [find(sheet, np.broadcast_to(np.moveaxis(i, 0, -1), (4, 4, 3)))[1] for i in images[0]]
    assert np.diff(lefts).tolist() == [5, 8, 5, 5]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["real", "sampled"]
    middles = [(lefts[0] + lefts[1] + 3) / 2, (lefts[2] + lefts[4] + 3) / 2]
    np.testing.assert_array_equal(ax.get_xticks(), middles)
    assert ax.get_yticklabels()[0].get_text() == "seven"


@pytest.mark.parametrize("shape", [(10, 20, 1, 8, 8), (3, 5, 3, 96, 96), (1, 1, 1, 28, 28)])
def test_pages_have_a_readable_size(shape: tuple[int, ...]) -> None:
    ax = image_grid(np.zeros(shape), row_names=["a long name of a class"] * shape[0])
    width, height = ax.figure.get_size_inches()
    assert 0.8 < width < 12.5
    assert 0.8 < height < 12.0
    FigureCanvasAgg(ax.figure).draw()
    box = ax.get_tightbbox()
    assert box.x0 >= 0.0
    assert box.x1 <= ax.figure.bbox.x1


def test_rounding_around_the_range_is_drawn() -> None:
    ax = image_grid(np.array([1.0 + 1e-6, -1e-6]).reshape(1, 2, 1, 1, 1))
    assert 0.0 <= sheet_of(ax).min() <= sheet_of(ax).max() <= 1.0


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (np.zeros((2, 3, 2, 4, 4)), {}, "images must have 1 or 3 channels, got 2"),
        (np.full((2, 3, 1, 4, 4), 255.0), {}, r"images must lie in \[0, 1\], got 255 to 255"),
        (np.zeros((2, 3, 4, 4)), {}, r"images must be \(R, K, C, H, W\), got shape \(2, 3, 4, 4"),
        (np.zeros((2, 3, 1, 4, 4)), {"row_names": ["a"]}, "row_names must hold 2 names.* got 1"),
        (
            np.zeros((2, 3, 1, 4, 4)),
            {"groups": [("real", 1), ("sampled", 1)]},
            r"groups must divide the 3 columns, got widths \[1, 1\]",
        ),
        (np.zeros((2, 3, 1, 4, 4)), {"groups": [("a", 3), ("b", 0)]}, "groups must divide"),
    ],
)
def test_refuses(images: np.ndarray, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        image_grid(images, **options)
