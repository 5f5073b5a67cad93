r"""Scores of predicted class probabilities, with standard errors and paired differences.

Symbols: p (N, C) probabilities of C classes in N rows, y (N,) labels; q the probabilities of
another predictor of the same rows. Each score is the mean over rows of

    accuracy   [argmax_c p_ic = y_i]
    nll        -log p_i,y_i                        nats; the logarithmic score
    brier      sum_c (p_ic - [c = y_i])^2          in [0, 2]; Brier 1950

The last two are proper: nothing beats the true probabilities in expectation (Gneiting & Raftery
2007). Standard errors hold the predictor fixed and take the rows as independent. Two predictors of
the same rows are compared by their difference in each row, which cancels what makes a row hard for
both; the standard errors of the two scores say little about it.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from probact.arrays import as_labels, as_matrix, as_tensor, check_finite

__all__ = [
    "Estimate",
    "PredictionScores",
    "crossed_mean",
    "mean_over_rows",
    "prediction_scores",
    "probabilities",
    "row_scores",
    "score_differences",
]

_SLACK = 1e-6  # of a row's sum, what float32 softmax leaves


class Estimate(NamedTuple):
    """A number and its standard error."""

    value: float
    standard_error: float


class PredictionScores(NamedTuple):
    """Accuracy (share), nll (nats) and Brier score (0 to 2); or differences of them."""

    accuracy: Estimate
    nll: Estimate
    brier: Estimate


class RowScores(NamedTuple):
    """Scores (N,) float64 of each row; `correct` holds zeros and ones."""

    correct: Tensor
    nll: Tensor
    brier: Tensor


def probabilities(probs: Any, labels: Any, name: str = "probs") -> tuple[Tensor, Tensor]:
    """Probabilities (N, C) as float64 and labels (N,), checked.

    Raises:
        TypeError: no arrays.
        ValueError: not (N, C) with C >= 2, negative, rows that do not sum to one within 1e-6, or
            labels that are no class.

    >>> probabilities([[0.5, 0.5]], [1])[0]
    tensor([[0.5000, 0.5000]], dtype=torch.float64)
    """
    p = as_matrix(probs, name).double()
    if p.shape[1] < 2:
        raise ValueError(f"{name} must be (N, C) with C >= 2 classes, got {tuple(p.shape)}")
    y = as_labels(labels, "labels", len(p)).to(p.device)
    wrong = (p < 0.0).any(1) | ((p.sum(1) - 1.0).abs() > _SLACK)
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise ValueError(
            f"{name} must be >= 0 and sum to one in each row, got {p[row].tolist()} in row {row}"
        )
    if int(y.min()) < 0 or int(y.max()) >= p.shape[1]:
        got = f"{int(y.min())} to {int(y.max())}"
        raise ValueError(f"labels must be in 0 .. {p.shape[1] - 1}, got {got}")
    return p, y


def row_scores(probs: Any, labels: Any) -> RowScores:
    """Correctness, nll (nats) and Brier score of each row; nll is infinite where p_i,y_i = 0.

    Of classes that share the largest probability the first one counts as the answer.

    Raises: TypeError or ValueError as `prediction_scores`.

    >>> row_scores([[0.5, 0.5], [0.2, 0.8]], [1, 1]).brier
    tensor([0.5000, 0.0800], dtype=torch.float64)
    """
    p, y = probabilities(probs, labels)
    own = p.gather(1, y[:, None]).squeeze(1)
    brier = (p.square().sum(1) - 2.0 * own + 1.0).clamp_min(0.0)  # rounding below zero
    return RowScores((p.argmax(1) == y).double(), -own.log(), brier)


def mean_over_rows(values: Any) -> Estimate:
    """Mean of values (N,) of independent rows, and sd / sqrt(N).

    Raises: TypeError or ValueError if values are not (N,) with N >= 2.

    >>> mean_over_rows([1.0, 3.0])
    Estimate(value=2.0, standard_error=1.0)
    """
    x = as_tensor(values, "values").double()
    if x.ndim != 1 or len(x) < 2:
        raise ValueError(f"values must be (N,) with two rows or more, got {tuple(x.shape)}")
    mean = float(x.mean())
    if not mean < float("inf"):
        return Estimate(mean, float("nan"))
    return Estimate(mean, float(x.std()) / len(x) ** 0.5)


def prediction_scores(probs: Any, labels: Any) -> PredictionScores:
    """Accuracy, nll in nats and Brier score of probabilities (N, C) at labels (N,).

    A label of probability zero makes nll infinite and its standard error NaN.

    Raises:
        TypeError: no arrays.
        ValueError: probabilities that do not sum to one, labels that are no class, one row.

    >>> prediction_scores([[0.5, 0.5], [0.25, 0.75]], [0, 1]).brier.value
    0.3125
    """
    return PredictionScores(*(mean_over_rows(score) for score in row_scores(probs, labels)))


def score_differences(probs: Any, others: Any, labels: Any) -> PredictionScores:
    """Scores of `probs` minus scores of `others`, both (N, C), on the same rows, paired.

    Raises: as `prediction_scores`; ValueError for shapes that differ.

    >>> better = score_differences([[0.9, 0.1], [0.2, 0.8]], [[0.6, 0.4], [0.4, 0.6]], [0, 1])
    >>> better.accuracy.value, round(better.nll.value, 3)
    (0.0, -0.347)
    """
    p, q = row_scores(probs, labels), row_scores(others, labels)
    return PredictionScores(*(mean_over_rows(a - b) for a, b in zip(p, q, strict=True)))


def crossed_mean(values: Any) -> Estimate:
    r"""Mean of values (R, N): R runs (networks, training sets) scored on the same N rows.

    The standard error covers both the choice of runs and of rows: with row means a_r over a run
    and b_i over a row, its square is var(a) / R + var(b) / N. Both terms hold the variance of the
    remainder, one of them too many, so this errs on the large side. With R = 1 the rows alone
    remain.

    Raises: TypeError or ValueError if values are not finite (R, N), N >= 2.

    >>> crossed_mean([[1.0, 3.0], [2.0, 4.0]])
    Estimate(value=2.5, standard_error=1.118033988749895)
    """
    x = as_tensor(values, "values").double()
    if x.ndim != 2 or x.shape[0] < 1 or x.shape[1] < 2:
        raise ValueError(f"values must be (R, N) with N >= 2, got {tuple(x.shape)}")
    check_finite(x, "values")
    runs, rows = x.shape
    square = x.mean(0).var() / rows
    if runs > 1:
        square = square + x.mean(1).var() / runs
    return Estimate(float(x.mean()), float(torch.sqrt(square)))
