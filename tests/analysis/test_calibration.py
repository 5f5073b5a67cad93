"""Calibration error against a loop over rows, and its statistics against calibrated predictors."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from statcheck import AlphaBudget
from torch import Generator, Tensor

from probact.analysis import (
    calibration_error,
    calibration_error_difference,
    reliability_curve,
)


def predicted(n: int, seed: int, *, power: float = 1.0) -> tuple[Tensor, Tensor]:
    """Probabilities of three classes, and labels drawn from them raised to a power."""
    stream = Generator().manual_seed(seed)
    logits = 2.0 * torch.randn(n, 3, dtype=torch.float64, generator=stream)
    labels = torch.multinomial(torch.softmax(logits / power, 1), 1, generator=stream)
    return torch.softmax(logits, 1), labels.squeeze(1)


def brute_force(p: Tensor, y: Tensor, edges: list[tuple[float, float]]) -> float:
    """ECE over bins (a, b], row by row."""
    total = 0.0
    for low, high in edges:
        inside = [i for i in range(len(p)) if low < float(p[i].max()) <= high]
        if inside:
            right = np.mean([int(p[i].argmax()) == int(y[i]) for i in inside])
            sure = np.mean([float(p[i].max()) for i in inside])
            total += len(inside) / len(p) * abs(right - sure)
    return total


@pytest.mark.parametrize("num_bins", [1, 10, 15])
def test_equal_width_is_the_loop_over_rows(num_bins: int) -> None:
    p, y = predicted(200, seed=num_bins)
    edges = [(b / num_bins, (b + 1) / num_bins) for b in range(num_bins)]
    found = calibration_error(p, y, num_bins=num_bins, draws=2).value
    assert found == pytest.approx(brute_force(p, y, edges), abs=1e-12)


def test_equal_mass_is_the_loop_over_rows() -> None:
    p, y = predicted(200, seed=5)
    confidence = p.amax(1).sort().values
    tops = [float(confidence[40 * b + 39]) for b in range(5)]
    edges = list(zip([0.0, *tops[:-1]], tops, strict=True))
    found = calibration_error(p, y, num_bins=5, bins="mass", draws=2).value
    assert found == pytest.approx(brute_force(p, y, edges), abs=1e-12)


def test_equal_confidences_share_a_bin() -> None:
    p = torch.tensor([[0.9, 0.1]] * 7 + [[0.6, 0.4]] * 3, dtype=torch.float64)
    curve = reliability_curve(p, [0] * 10, num_bins=5, bins="mass")
    assert curve.num_rows.tolist() == [3.0, 7.0]
    assert curve.confidence.tolist() == pytest.approx([0.6, 0.9])
    assert curve.accuracy.tolist() == pytest.approx([1.0, 1.0])


def test_ends_of_the_unit_interval() -> None:
    p = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    curve = reliability_curve(p, [0, 1], num_bins=2)  # (0, .5] and (.5, 1]
    assert curve.confidence.tolist() == [0.5, 1.0]
    assert curve.accuracy.tolist() == [0.0, 1.0]
    assert calibration_error(p, [0, 1], num_bins=2, draws=2).value == 0.25


def test_curve_sums_to_the_error() -> None:
    p, y = predicted(500, seed=1, power=2.0)
    curve = reliability_curve(p, y)
    share = curve.num_rows / curve.num_rows.sum()
    total = float((share * (curve.accuracy - curve.confidence).abs()).sum())
    assert total == pytest.approx(calibration_error(p, y, draws=2).value, abs=1e-12)
    assert float(curve.num_rows.sum()) == 500


def test_floor_and_p_value_of_a_calibrated_predictor(budget: AlphaBudget) -> None:
    found = [calibration_error(*predicted(150, s), draws=199, seed=s) for s in range(100)]
    p_values = [f.p_value for f in found]
    budget.check("calibrated predictor", stats.kstest(p_values, "uniform").pvalue)
    mean, floor = (np.mean([getattr(f, n) for f in found]) for n in ("value", "floor"))
    assert floor == pytest.approx(mean, rel=0.1)  # the bias that binning leaves
    debiased = np.mean([f.debiased for f in found])
    assert 0.3 * mean < debiased < 0.75 * mean  # 2 - sqrt 2 = .586 of it in the normal limit


def test_an_overconfident_predictor_is_found() -> None:
    p, y = predicted(2000, seed=0, power=2.0)
    found = calibration_error(p, y, draws=200)
    assert found.value > 5.0 * found.floor
    assert found.p_value == pytest.approx(1.0 / 201.0)
    assert found.debiased == pytest.approx(found.value, rel=0.05)
    curve = reliability_curve(p, y)
    assert bool((curve.accuracy < curve.confidence)[curve.num_rows > 50].all())


def test_debiased_takes_the_folded_normal_mean() -> None:
    """One bin: E|N(d, s^2)| by quadrature."""
    p = torch.tensor([[0.7, 0.3]] * 20, dtype=torch.float64)
    y = [0] * 12 + [1] * 8
    d, s = 0.6 - 0.7, math.sqrt(0.6 * 0.4 / 20)
    folded, _ = integrate.quad(lambda u: abs(u) * stats.norm.pdf(u, d, s), -2, 2, points=[0.0])
    found = calibration_error(p, y, num_bins=1, draws=2)
    assert found.debiased == pytest.approx(2 * 0.1 - folded, abs=1e-9)


def test_bootstrap_spread_of_one_bin() -> None:
    """Far from zero, ECE of one bin is a mean of rows."""
    p, y = predicted(400, seed=3, power=4.0)
    gap = (p.argmax(1) == y).double() - p.amax(1)
    found = calibration_error(p, y, num_bins=1, draws=2000)
    assert found.standard_error == pytest.approx(float(gap.std()) / 20.0, rel=0.06)


def test_difference_is_paired() -> None:
    p, y = predicted(400, seed=3, power=3.0)
    q = 0.95 * p + 0.05 / 3.0
    found = calibration_error_difference(q, p, y, draws=500)
    one, two = (calibration_error(r, y, draws=500) for r in (q, p))
    assert found.value == pytest.approx(one.value - two.value, abs=1e-12)
    assert found.value < 0.0  # softer is better here
    assert found.standard_error < 0.5 * one.standard_error


def test_seed_decides() -> None:
    p, y = predicted(100, seed=0)
    one, same, other = (calibration_error(p, y, draws=50, seed=s) for s in (1, 1, 2))
    assert one == same
    assert one.standard_error != other.standard_error
    assert one.value == other.value


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_bins": 0}, "num_bins must be an integer of at least 1"),
        ({"bins": "quantile"}, 'bins must be "width" or "mass"'),
        ({"draws": 1}, "draws must be an integer of at least 2"),
        ({"seed": -1}, "seed must lie in"),
    ],
)
def test_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        calibration_error([[0.5, 0.5]] * 3, [0, 1, 0], **options)
    with pytest.raises(ValueError, match="sum to one"):
        reliability_curve([[0.5, 0.6]], [0])
    with pytest.raises(ValueError, match="one integer per row"):
        calibration_error_difference([[0.5, 0.5]] * 3, [[0.5, 0.5]] * 2, [0, 1, 0])
