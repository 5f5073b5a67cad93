"""Rules that every plot keeps: an Axes out, pyplot untouched, bad arrays refused in words."""

import ast
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from probact import plots
from probact.plots.arrays import class_indices, finite_array
from probact.plots.style import class_colors, shorten

TURN = np.linspace(0.0, 2 * np.pi, 90)
RIDGES = np.exp(3.0 * np.cos(TURN - np.array([[0.0], [2.0], [4.0]])))  # (3, 90)
WEIGHTS = np.array([[1.0, 0.0], [-0.4, 0.9], [-0.65, -0.75]])

# name: (function, the arguments it accepts)
CASES: dict[str, tuple[Callable[..., Axes], tuple[object, ...]]] = {
    "circle": (
        plots.plot_circle_activations,
        (2 * WEIGHTS, np.arange(3), WEIGHTS, TURN, RIDGES),
    ),
    "cosines": (
        plots.plot_cosine_marginal,
        (np.array([0.1, 0.5, 0.7]), np.linspace(-1, 1, 9), np.full(9, 0.5)),
    ),
    "relations": (plots.plot_class_relations, (np.full((3, 3), 1 / 3),)),
    "comparison": (
        plots.plot_law_comparison,
        (["a", "b"], np.array([1.0, 2.0]), np.array([0.1, 0.2])),
    ),
    "shared": (plots.plot_concentration_posterior, (np.linspace(1, 2, 20).reshape(2, 10),)),
    "images": (plots.image_grid, (np.linspace(0.0, 1.0, 96).reshape(2, 3, 1, 4, 4),)),
    "density": (
        plots.plot_weight_density,
        (np.linspace(-1, 1, 30), np.linspace(-1, 1, 3), {"a": [0.1, 0.9, 0.1]}),
    ),
    "quantiles": (plots.plot_weight_qq, (np.linspace(2, 3, 3), {"a": [-1.0, 0.1, 1.0]})),
    "pit": (plots.plot_pit_ecdf, ({"a": [0.1, 0.5, 0.7]},)),
    "survival": (plots.plot_log_survival, ({"right": [0.1, 0.2, 0.5]}, {"right": 5.0})),
    "ranks": (plots.plot_rank_log, (np.linspace(0.1, 2.0, 30), 4.0, -2.0)),
    "pruning": (plots.plot_pruning, (np.linspace(0.1, 0.5, 2), {"a": [[0.9, 0.8], [0.0, 0.1]]})),
    "tree": (plots.plot_split_tree, (["+", "-"], np.array([[0.0, 2.0], [-1.0, 0.0]]), [3, 2])),
    "counts": (plots.plot_count_law, (np.array([0.1, 0.6, 0.3]), {"a": [0.2, 0.5, 0.3]})),
    "checks": (
        plots.plot_predictive_checks,
        (["a", "b"], np.array([1.0, 2.0]), {"m": [[0.5, 1.0, 2.0], [1.0, 2.0, 3.0]]}),
    ),
    "classes": (plots.plot_concentration_posterior, (np.linspace(1, 2, 60).reshape(2, 10, 3),)),
}
ARRAYS = [
    (name, place)
    for name, (_, arguments) in CASES.items()
    for place, argument in enumerate(arguments)
    if isinstance(argument, np.ndarray)
]


@pytest.mark.parametrize("name", CASES)
def test_makes_an_axes_of_its_own_and_leaves_pyplot_alone(name: str) -> None:
    plot, arguments = CASES[name]
    before = dict(plt.rcParams)
    ax = plot(*arguments)
    assert isinstance(ax, Axes)
    assert plt.get_fignums() == []
    assert dict(plt.rcParams) == before
    assert ax.get_xlabel()
    assert ax.get_ylabel()


@pytest.mark.parametrize("name", CASES)
def test_draws_on_the_axes_given_and_changes_no_input(name: str) -> None:
    plot, arguments = CASES[name]
    kept = [np.copy(argument) for argument in arguments]  # type: ignore[call-overload]
    ax = Figure().subplots()
    assert plot(*arguments, ax=ax) is ax
    for argument, copy in zip(arguments, kept, strict=True):
        np.testing.assert_array_equal(argument, copy)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CASES)
def test_no_two_texts_touch(name: str) -> None:
    plot, arguments = CASES[name]
    figure = plot(*arguments).figure
    FigureCanvasAgg(figure).draw()
    assert overlapping_texts(figure) == []


def overlapping_texts(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of visible texts whose boxes on the page overlap by more than a pixel each way."""
    texts = [
        text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()
    ]
    boxes = [
        (text.get_text(), text.get_window_extent())
        for text in texts
        if text.get_rotation() % 90 == 0
    ]
    pairs = []
    for index, (one, a) in enumerate(boxes):
        for other, b in boxes[index + 1 :]:
            wide = min(a.x1, b.x1) - max(a.x0, b.x0)
            high = min(a.y1, b.y1) - max(a.y0, b.y0)
            if wide > 1.0 and high > 1.0:
                pairs.append((one, other))
    return pairs


@pytest.mark.parametrize(("name", "place"), ARRAYS)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda a: a[..., None, None],
        lambda a: a[:0],
        lambda a: a.astype(str),
        lambda a: a + 0j,
        lambda a: np.where(np.arange(a.size).reshape(a.shape) == a.size - 1, np.nan, a),
        lambda a: np.ma.masked_array(a, a > a.min()),
        lambda a: None,
    ],
    ids=["another axis", "empty", "text", "complex", "nan", "masked", "none"],
)
def test_refuses_in_words(name: str, place: int, spoil: Callable[[np.ndarray], object]) -> None:
    plot, arguments = CASES[name]
    spoiled = list(arguments)
    spoiled[place] = spoil(np.asarray(arguments[place]))
    ax = Figure().subplots()
    with pytest.raises(ValueError, match=r"\w+ (must|has|is)"):
        plot(*spoiled, ax=ax)
    assert not ax.lines  # refused before anything was drawn
    assert not ax.collections


def test_plots_import_nothing_of_ours_from_outside() -> None:
    for path in Path(plots.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            for module in modules:
                assert not module.startswith("probact") or module.startswith("probact.plots")
                assert "pyplot" not in module


def test_error_counts_and_places_what_is_not_finite() -> None:
    bad = np.zeros((3, 2))
    bad[1, 1] = bad[2, 0] = np.inf
    with pytest.raises(
        ValueError, match=r"x has 2 entries that are not finite \(first: \(1, 1\)\)"
    ):
        finite_array("x", bad, "N", 2)


@pytest.mark.parametrize("bad", [[0, 3], [-1, 0], [0.5, 1]])
def test_class_indices_outside_the_classes_are_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="labels must be whole numbers from 0 to 2"):
        class_indices("labels", bad, size="N", num_classes=3)


@pytest.mark.parametrize("num_classes", [1, 10, 11, 1000])
def test_colours_differ(num_classes: int) -> None:
    colors = class_colors(num_classes)
    assert len(colors) == num_classes
    assert len(set(colors)) >= min(num_classes, 200)  # viridis has 256 steps


@pytest.mark.parametrize(
    "name", ["short", "Pneumonoultramicroscopicsilicovolcanoconiosis", "a, b " * 9]
)
def test_shortened_names_fit(name: str) -> None:
    (text,) = shorten([name], 12)
    assert len(text) <= 12
    assert text == name or text.endswith("…")
    assert name.startswith(text.rstrip("…"))


def test_mathematics_is_not_cut() -> None:
    name = r"von Mises-Fisher, $\kappa = |w_i|$ of each class"
    assert shorten([name], 12) == [name]
