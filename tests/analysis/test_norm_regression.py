"""The norms of a layer's weights against class frequency."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Generator

from probact.analysis import frequency_regression, norm_regression

LOG_COUNTS = torch.linspace(0.0, 5.0, 12, dtype=torch.float64)


def layer(generator: Generator) -> torch.Tensor:
    spread = torch.exp(0.2 * LOG_COUNTS)[:, None]
    return spread * torch.randn(12, 300, dtype=torch.float64, generator=generator)


def test_is_the_baseline_of_the_whole(generator: Generator) -> None:
    weights = layer(generator)
    whole = frequency_regression(weights, LOG_COUNTS.exp(), permutations=1).fits["log_norm"]
    alone = norm_regression(weights, LOG_COUNTS)
    np.testing.assert_allclose(np.hstack(alone), np.hstack(whole), rtol=1e-6, atol=1e-9)


def test_equal_variances_are_least_squares() -> None:
    """Rows of one shape have one sampling variance."""
    size = torch.tensor([1.0, 2.5, 2.0, 7.0], dtype=torch.float64)
    shape = torch.tensor([-1.0, 0.5, 2.0, 0.1, 0.3], dtype=torch.float64)
    x = [0.0, 1.0, 2.0, 4.0]
    found = norm_regression(size[:, None] * shape, x)
    line = stats.linregress(x, (size * shape.norm()).log().numpy())
    assert found.slope == pytest.approx(line.slope, rel=1e-10)
    assert found.intercepts[0] == pytest.approx(line.intercept, rel=1e-10)


@pytest.mark.parametrize("unit", [1e-200, 1.0, 1e200])
def test_weights_of_one_size(unit: float) -> None:
    even = unit * torch.exp(0.3 * LOG_COUNTS)[:, None] * torch.tensor([1.0, -1.0]).repeat(50)
    assert norm_regression(even, LOG_COUNTS).slope == pytest.approx(0.3, abs=1e-9)


def test_refusals(generator: Generator) -> None:
    weights = layer(generator)
    for arguments, words in (
        ((weights, LOG_COUNTS[:3]), r"log_counts must be finite, \(12,\)"),
        ((weights, LOG_COUNTS / 0.0), "log_counts must be finite"),
        ((weights[:2], LOG_COUNTS[:2]), "of 3 or more"),
        ((0.0 * weights, LOG_COUNTS), "row of zeros: row 0"),
        ((weights / 0.0, LOG_COUNTS), "NaN or infinity"),
    ):
        with pytest.raises(ValueError, match=words):
            norm_regression(*arguments)
    with pytest.raises(ValueError, match="level must lie"):
        norm_regression(weights, LOG_COUNTS, level=1.5)
