"""The grid shows every image as it is, and its maps at the right places in the right strength."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from torch.nn import functional

from probact.plots import cam_grid
from probact.plots.cam import _between


def sheet_of(ax: Any) -> np.ndarray:
    return np.asarray(ax.images[0].get_array())


def test_images_stand_first_and_maps_beside_them() -> None:
    rng = np.random.default_rng(0)
    images, maps = rng.random((2, 3, 112, 112)), np.zeros((2, 3, 4, 4))
    maps[1, 2, 0, 0] = 5.0  # the upper left corner of the last map
    ax = cam_grid(images, maps, row_names=["cat", "dog"], column_names=["all", "+", "-"],
                  groups=[2, 1])  # fmt: skip
    sheet = sheet_of(ax)
    for row in range(2):
        top = round(ax.get_yticks()[row] - 56)
        np.testing.assert_allclose(sheet[top : top + 112, :112], np.moveaxis(images[row], 0, -1))
    lefts = [round(x - 56) for x in ax.get_xticks()]
    gaps = np.diff(lefts) - 112
    assert gaps[0] == gaps[2] > gaps[1] > 0  # before the first map, and before the second group
    top = round(ax.get_yticks()[1] - 56)
    shown = sheet[top : top + 112, lefts[3] : lefts[3] + 112]
    coloured = np.ptp(shown, axis=2) > 0.0
    assert coloured[:14, :14].all()
    assert not coloured[42:].any()  # the map is zero there, and the picture grey
    plain = sheet[top : top + 112, lefts[1] : lefts[1] + 112]
    assert not np.ptp(plain, axis=2).any()  # a map of zeros leaves the greys
    assert [t.get_text() for t in ax.get_yticklabels()] == ["cat", "dog"]


def test_a_map_is_shown_over_its_own_largest_value() -> None:
    image, saliency = np.full((1, 1, 8, 8), 0.5), np.random.default_rng(1).random((1, 1, 3, 3))
    names = {"row_names": ["0"], "column_names": ["all"]}
    first = sheet_of(cam_grid(image, saliency, **names))
    np.testing.assert_allclose(first, sheet_of(cam_grid(image, 7.0 * saliency, **names)))


def test_resizing_is_bilinear() -> None:
    saliency = np.random.default_rng(2).random((4, 7))
    ours = _between(20, 4) @ saliency @ _between(33, 7).T
    theirs = functional.interpolate(
        torch.from_numpy(saliency)[None, None], size=(20, 33), mode="bilinear"
    )
    np.testing.assert_allclose(ours, theirs[0, 0].numpy(), atol=1e-12)


@pytest.mark.parametrize("shape", [(10, 3, 32, 32), (2, 1, 8, 8), (1, 3, 32, 48)])
def test_pages_have_a_readable_size_and_room_for_names(shape: tuple[int, ...]) -> None:
    ax = cam_grid(np.zeros(shape), np.ones((shape[0], 7, 7, 7)), groups=[1, 3, 3],
                  row_names=["a class with a long name"] * shape[0], column_names=list("abcdefg"),
                  notes=[["n = 12"] * 7] * shape[0])  # fmt: skip
    width, height = ax.figure.get_size_inches()
    assert 1.0 < width < 18.0
    assert 0.8 < height < 17.0
    FigureCanvasAgg(ax.figure).draw()
    box = ax.get_tightbbox()
    canvas = ax.figure.bbox
    assert box.x0 >= canvas.x0 - 1.0
    assert box.x1 <= canvas.x1 + 1.0
    assert box.y0 >= canvas.y0 - 1.0
    assert box.y1 <= canvas.y1 + 1.0


def grid(**changed: Any) -> Callable[[], Any]:
    plain = {"images": np.zeros((2, 3, 8, 8)), "maps": np.zeros((2, 3, 4, 4)),
             "row_names": ["0", "1"], "column_names": ["a", "b", "c"]}  # fmt: skip
    options = plain | changed
    return lambda: cam_grid(options.pop("images"), options.pop("maps"), **options)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (grid(images=np.zeros((2, 8, 8))), "images must be"),
        (grid(images=np.zeros((2, 2, 8, 8))), "1 or 3 channels"),
        (grid(images=np.full((2, 3, 8, 8), 1.5)), r"images must lie in \[0, 1\]"),
        (grid(maps=np.zeros((3, 3, 4, 4))), "maps must be"),
        (grid(maps=np.full((2, 3, 4, 4), -0.1)), "must not be negative"),
        (grid(maps=np.full((2, 3, 4, 4), np.nan)), "not finite"),
        (grid(row_names=["0"]), "row_names must hold 2"),
        (grid(column_names=["a"]), "column_names must hold 3"),
        (grid(groups=[1, 1]), "groups must divide the 3 maps"),
        (grid(notes=[["x"] * 3]), "notes must be 2 rows of 3"),
    ],
)
def test_refused(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
