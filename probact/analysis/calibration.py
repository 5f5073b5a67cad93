r"""Does a predictor know how often it is right? Reliability curves and calibration error.

Symbols: p (N, C) probabilities, y (N,) labels; c_i = max_c p_ic confidence of row i; r_i = 1 where
its class is the label's, else 0. Rows fall into bins b by their confidence; n_b, acc_b and conf_b
are the count, the share right and the mean confidence of a bin. Top-label calibration error

    ECE = sum_b n_b / N |acc_b - conf_b|      (Naeini, Cooper & Hauskrecht 2015; Guo et al. 2017)

over M bins of equal width on [0, 1], (a, b], or of equal mass (near N / M rows each; rows of one
confidence share a bin). The value depends on the bins and is biased upwards: a predictor that is
calibrated exactly has ECE of order sqrt(M / N), not zero. So two further numbers come with it.

    floor       mean ECE of labels drawn from the confidences themselves, r_i ~ Bernoulli(c_i)
                (consistency resampling, Broecker & Smith 2007): what a calibrated one would score
    debiased    2 ECE - sum_b n_b / N E|N(acc_b - conf_b, s_b^2)|, s_b^2 = acc_b (1 - acc_b) / n_b
                (the plug-in correction of Kumar, Liang & Ma 2019); takes out part of the bias only

Standard errors are from the bootstrap over rows with the bins held fixed. Near zero ECE is not
normal: read it beside the floor.
"""

import math
from typing import Any, Literal, NamedTuple

import torch
from torch import Generator, Tensor

from probact.analysis.prediction_scores import Estimate, probabilities
from probact.arrays import check_count, check_seed

__all__ = [
    "CalibrationError",
    "ReliabilityCurve",
    "calibration_error",
    "calibration_error_difference",
    "reliability_curve",
]

Bins = Literal["width", "mass"]


class CalibrationError(NamedTuple):
    """ECE with its bootstrap standard error, its value less part of the bias, and its floor.

    `p_value`: share of the label sets drawn for the floor whose ECE is at least the observed one,
    (1 + count) / (1 + draws); small where the predictor is not calibrated.
    """

    value: float
    standard_error: float
    debiased: float
    floor: float
    p_value: float


class ReliabilityCurve(NamedTuple):
    """Bins that hold rows, in order: confidence, share right, its standard error, rows, (B,)."""

    confidence: Tensor
    accuracy: Tensor
    standard_error: Tensor  # sqrt(acc (1 - acc) / n); zero where all or none are right
    num_rows: Tensor


class _Rows(NamedTuple):
    gap: Tensor  # (N,) r_i - c_i
    confidence: Tensor  # (N,)
    bins: Tensor  # (N,) numbers in 0 .. size - 1
    size: int


def reliability_curve(
    probs: Any, labels: Any, *, num_bins: int = 15, bins: Bins = "width"
) -> ReliabilityCurve:
    """Share of right answers against confidence, bin by bin; empty bins are left out.

    Raises:
        TypeError: no arrays.
        ValueError: probabilities that do not sum to one, labels that are no class, unknown bins.

    >>> curve = reliability_curve([[0.9, 0.1], [0.2, 0.8], [0.8, 0.2]], [0, 1, 1], num_bins=5)
    >>> curve.accuracy, curve.num_rows
    (tensor([0.5000, 1.0000], dtype=torch.float64), tensor([2., 1.], dtype=torch.float64))
    """
    rows = _binned(probs, labels, num_bins, bins)
    count = torch.bincount(rows.bins, minlength=rows.size).double()
    held = count > 0
    count = count[held]
    confidence = torch.bincount(rows.bins, rows.confidence, rows.size)[held] / count
    gap = torch.bincount(rows.bins, rows.gap, rows.size)[held] / count
    accuracy = (confidence + gap).clamp(0.0, 1.0)  # rounding
    error = torch.sqrt(accuracy * (1.0 - accuracy) / count)
    return ReliabilityCurve(confidence, accuracy, error, count)


def calibration_error(
    probs: Any,
    labels: Any,
    *,
    num_bins: int = 15,
    bins: Bins = "width",
    draws: int = 1000,
    seed: int = 0,
) -> CalibrationError:
    """ECE of probabilities (N, C) at labels (N,), with what is needed to read it.

    `draws` sets of rows for the standard error, and as many label sets for the floor.

    Raises:
        TypeError: no arrays.
        ValueError: probabilities that do not sum to one, labels that are no class, unknown bins,
            fewer than two draws.

    >>> calibration_error([[0.9, 0.1], [0.2, 0.8], [0.8, 0.2]], [0, 1, 1], num_bins=5).value
    0.23333333333333336
    """
    check_count(draws, "draws", 2)
    check_seed(seed)
    rows = _binned(probs, labels, num_bins, bins)
    generator = Generator().manual_seed(seed)
    value = float(_error(rows, rows.gap))
    resampled = torch.stack([_error(rows, rows.gap, at) for at in _resamples(rows, draws, seed)])
    confidence = rows.confidence.cpu()
    calibrated = []
    for _ in range(draws):
        right = torch.rand(len(confidence), generator=generator, dtype=torch.float64) < confidence
        calibrated.append(_error(rows, (right.double() - confidence).to(rows.gap.device)))
    null = torch.stack(calibrated)
    curve = reliability_curve(probs, labels, num_bins=num_bins, bins=bins)
    return CalibrationError(
        value=value,
        standard_error=float(resampled.std()),
        debiased=2.0 * value - float(_expected_error(curve)),
        floor=float(null.mean()),
        p_value=float((1 + (null >= value - 1e-12).sum()) / (1 + draws)),
    )


def calibration_error_difference(
    probs: Any,
    others: Any,
    labels: Any,
    *,
    num_bins: int = 15,
    bins: Bins = "width",
    draws: int = 1000,
    seed: int = 0,
) -> Estimate:
    """ECE of `probs` minus ECE of `others`, both (N, C) on the same rows; paired bootstrap.

    Raises: as `calibration_error`; ValueError where the numbers of rows differ.

    >>> p = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    >>> calibration_error_difference(p, p, [0, 0])
    Estimate(value=0.0, standard_error=0.0)
    """
    check_count(draws, "draws", 2)
    check_seed(seed)
    one, two = (_binned(p, labels, num_bins, bins) for p in (probs, others))
    pairs = [_error(one, one.gap, at) - _error(two, two.gap, at)
             for at in _resamples(one, draws, seed)]  # fmt: skip
    value = float(_error(one, one.gap) - _error(two, two.gap))
    return Estimate(value, float(torch.stack(pairs).std()))


def _binned(probs: Any, labels: Any, num_bins: int, bins: Bins) -> _Rows:
    check_count(num_bins, "num_bins")
    p, y = probabilities(probs, labels)
    confidence, answer = p.max(1)
    confidence = confidence.clamp_max(1.0)  # a row sum may be off by rounding
    gap = (answer == y).double() - confidence
    if bins == "width":
        number = (confidence * num_bins).ceil().long().clamp(1, num_bins) - 1
    elif bins == "mass":
        rank = torch.searchsorted(confidence.sort().values, confidence)  # of the first alike
        number = (rank * num_bins).div(len(p), rounding_mode="floor")
    else:
        raise ValueError(f'bins must be "width" or "mass", got {bins!r}')
    return _Rows(gap, confidence, number, num_bins)


def _error(rows: _Rows, gap: Tensor, at: Tensor | None = None) -> Tensor:
    """ECE () of gaps (N,), of the rows `at` alone where given."""
    bins, gap = (rows.bins, gap) if at is None else (rows.bins[at], gap[at])
    return torch.bincount(bins, gap, rows.size).abs().sum() / len(gap)


def _resamples(rows: _Rows, draws: int, seed: int) -> list[Tensor]:
    """Row numbers (N,) drawn with replacement, `draws` times."""
    generator, size = Generator().manual_seed(seed), len(rows.gap)
    return [
        torch.randint(size, (size,), generator=generator).to(rows.gap.device) for _ in range(draws)
    ]


def _expected_error(curve: ReliabilityCurve) -> Tensor:
    """sum_b n_b / N E|N(acc_b - conf_b, s_b^2)|, the mean of a folded normal law."""
    mean, sd = curve.accuracy - curve.confidence, curve.standard_error
    ratio = torch.where(sd > 0.0, mean / sd.clamp_min(torch.finfo(sd.dtype).tiny), 0.0)
    spread = sd * math.sqrt(2.0 / math.pi) * torch.exp(-0.5 * ratio.square())
    folded = spread + mean * torch.erf(ratio / math.sqrt(2.0))
    folded = torch.where(sd > 0.0, folded, mean.abs())
    return (curve.num_rows * folded).sum() / curve.num_rows.sum()
