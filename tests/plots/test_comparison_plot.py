"""Laws come sorted, the best on top and marked, each with its number."""

import numpy as np
import pytest

from probact.plots import plot_law_comparison

NAMES = ["uniform", "vMF", "Gaussian"]
VALUES = [-10.0, 4.567, 4.1]
ERRORS = [0.0, 0.12, 0.3]


def test_sorted_with_bars_of_the_errors() -> None:
    ax = plot_law_comparison(NAMES, VALUES, ERRORS)
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["vMF", "Gaussian", "uniform"]
    dots = [container.lines[0] for container in ax.containers]
    assert [dot.get_xdata()[0] for dot in dots] == [4.567, 4.1, -10.0]
    assert [dot.get_ydata()[0] for dot in dots] == [0, 1, 2]
    low, high = ax.containers[0].lines[2][0].get_segments()[0][:, 0]
    assert (low, high) == (pytest.approx(4.447), pytest.approx(4.687))
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # row 0 on top
    assert "nats per activation" in ax.get_xlabel()


def test_only_the_best_is_marked() -> None:
    ax = plot_law_comparison(NAMES, VALUES, ERRORS)
    weights = [tick.get_fontweight() for tick in ax.get_yticklabels()]
    assert weights == ["bold", "normal", "normal"]
    colors = [container.lines[0].get_color() for container in ax.containers]
    assert colors[0] != colors[1] == colors[2]


def test_numbers_keep_two_digits_of_the_error() -> None:
    ax = plot_law_comparison(NAMES, VALUES, ERRORS)
    texts = [text.get_text() for text in ax.texts]
    assert texts == ["4.57 ± 0.12", "4.10 ± 0.30", "\N{MINUS SIGN}10.00 ± 0.00"]


def test_reference_is_a_line_with_its_name() -> None:
    ax = plot_law_comparison(NAMES, VALUES, ERRORS, reference=-12.0, reference_name="entropy")
    lines = [line for line in ax.lines if line.get_label() == "entropy"]
    assert [line.get_xdata()[0] for line in lines] == [-12.0]
    assert plot_law_comparison(NAMES, VALUES, ERRORS).get_legend() is None


@pytest.mark.parametrize(
    ("names", "values", "errors", "reference", "message"),
    [
        (NAMES, VALUES[:2], ERRORS, None, r"values must be \(3,\), got shape \(2,\)"),
        (NAMES, VALUES, [0.1, -0.1, 0.1], None, "errors must not be negative"),
        (NAMES, [0.0, -np.inf, 1.0], ERRORS, None, "values has 1 entries that are not finite"),
        (["a", "a", "b"], VALUES, ERRORS, None, "names must differ"),
        (NAMES, VALUES, ERRORS, np.nan, "reference must be finite"),
        ([], [], [], None, "values must not be empty"),
    ],
)
def test_refuses(
    names: list[str],
    values: list[float],
    errors: list[float],
    reference: float | None,
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        plot_law_comparison(names, values, errors, reference=reference)
