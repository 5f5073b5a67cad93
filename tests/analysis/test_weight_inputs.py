"""What every reading of a layer's weights refuses, and how it says so."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from probact.analysis import frequency_regression
from probact.analysis.laplace_fits import (
    compare_families,
    dead_features,
    fit_asymmetric_laplace,
    goodness_of_fit,
    rank_log_regression,
)
from probact.models import LaplaceWeights, neuron_split

COUNTS = (1, 2, 4, 8)
READINGS: dict[str, Callable[[Any], Any]] = {
    "fit_asymmetric_laplace": fit_asymmetric_laplace,
    "compare_families": compare_families,
    "goodness_of_fit": goodness_of_fit,
    "rank_log_regression": rank_log_regression,
    "dead_features": dead_features,
    "LaplaceWeights": LaplaceWeights,
    "frequency_regression": lambda w: frequency_regression(w, COUNTS, permutations=9),
    "split_tree": neuron_split.split_tree,
}
each = pytest.mark.parametrize("reading", READINGS)


def layer() -> Tensor:
    return torch.randn(4, 64, generator=Generator().manual_seed(0))


@each
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_rows_that_are_not_finite_are_named(reading: str, value: float) -> None:
    weights = layer()
    weights[2, 5] = value
    with pytest.raises(ValueError, match=r"weights has 1 row with NaN or infinity .*row 2"):
        READINGS[reading](weights)


@each
def test_few_weights_are_refused(reading: str) -> None:
    shapes = ((4, 0), (0, 8)) if reading in ("dead_features",) else ((4, 2), (4, 0), (0, 8))
    for shape in shapes:
        with pytest.raises(ValueError, match=r"weights must have|at least"):
            READINGS[reading](torch.ones(shape))


@each
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_codes_of_a_quantised_layer_are_refused(reading: str) -> None:
    codes = (20 * layer()).to(torch.int8)
    with pytest.raises(ValueError, match="dequantise"):
        READINGS[reading](codes)
    quantised = torch.quantize_per_tensor(layer(), 0.1, 0, torch.qint8)
    with pytest.raises(ValueError, match="quantised"):
        READINGS[reading](quantised)


@each
def test_other_things_are_refused(reading: str) -> None:
    if reading != "split_tree":  # which takes all that `find_head` does
        for wrong in ("weights", None, {"weight": 1}):
            with pytest.raises(TypeError, match="weights"):
                READINGS[reading](wrong)
    with pytest.raises(ValueError, match="weights"):
        READINGS[reading](layer()[0])


def test_constant_rows_are_flagged_or_named() -> None:
    weights = layer()
    weights[1] = 0.25
    fit = fit_asymmetric_laplace(weights)
    assert fit.degenerate.tolist() == [False, True, False, False]
    assert torch.isnan(fit.asymmetry[1])
    with pytest.raises(ValueError, match="row 1"):
        fit.dist()
    assert LaplaceWeights(weights).mle().degenerate[1]
    with pytest.raises(ValueError, match="row 1"):
        LaplaceWeights(weights)()
    with pytest.raises(ValueError, match="row 1"):
        READINGS["frequency_regression"](weights)
    for reading in ("compare_families", "goodness_of_fit", "rank_log_regression", "dead_features"):
        READINGS[reading](weights)  # no exception of linear algebra or of an empty side
