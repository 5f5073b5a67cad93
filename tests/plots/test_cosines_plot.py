"""The histogram is a density of the cosines given; every law is one line."""

import numpy as np
import pytest

from probact.plots import plot_cosine_marginal

GRID = np.linspace(-1.0, 1.0, 101)
COSINES = np.random.default_rng(0).uniform(-0.5, 0.9, 500)


def test_histogram_has_area_one_over_the_data() -> None:
    ax = plot_cosine_marginal(COSINES, GRID, np.full(101, 0.5), bins=20)
    boxes = [patch.get_bbox() for patch in ax.patches]
    assert len(boxes) == 20
    assert sum(box.width * box.height for box in boxes) == pytest.approx(1.0)
    assert boxes[0].x0 == pytest.approx(COSINES.min())
    assert ax.get_xlim() == (-1.0, 1.0)


def test_several_laws_are_lines_told_apart_by_colour_and_dashes() -> None:
    laws = np.stack([np.full(101, 0.5), (1 + GRID) / 2, (1 - GRID) / 2])
    ax = plot_cosine_marginal(COSINES, GRID, laws, names=["flat", "up", "down"])
    assert [line.get_label() for line in ax.lines] == ["flat", "up", "down"]
    for line, law in zip(ax.lines, laws, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), law)
    assert len({line.get_color() for line in ax.lines}) == 3
    assert len({line.get_linestyle() for line in ax.lines}) == 3
    entries = [text.get_text() for text in ax.get_legend().get_texts()]
    assert entries == ["activations (N = 500)", "flat", "up", "down"]


def test_rounding_past_one_is_drawn_and_more_is_refused() -> None:
    ax = plot_cosine_marginal([0.0, 1.0 + 1e-7], GRID, np.full(101, 0.5))
    assert ax.get_xlim()[1] >= 1.0 + 1e-7
    with pytest.raises(ValueError, match=r"cosines must lie in \[-1, 1\], got 1.1"):
        plot_cosine_marginal([0.0, 1.1], GRID, np.full(101, 0.5))


@pytest.mark.parametrize(
    ("grid", "density", "keywords", "message"),
    [
        (GRID[::-1], np.full(101, 0.5), {}, "grid must hold"),
        (GRID, np.full(100, 0.5), {}, r"density must be \(101,\), got shape \(100,\)"),
        (GRID, np.full((101, 2), 0.5), {}, r"density must be \(L, 101\)"),
        (GRID, np.full(101, -0.5), {}, "density must not be negative"),
        (GRID, np.full(101, 0.5), {"names": ["a", "b"]}, "names must hold 1 names, got 2"),
        (GRID, np.full(101, 0.5), {"bins": 0}, "bins must be at least 1"),
    ],
)
def test_refuses(
    grid: np.ndarray, density: np.ndarray, keywords: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        plot_cosine_marginal(COSINES, grid, density, **keywords)  # type: ignore[arg-type]
