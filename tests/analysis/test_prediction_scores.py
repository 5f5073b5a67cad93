"""Scores against scikit-learn, differences against scipy, and what a border must refuse."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss
from statcheck import AlphaBudget
from torch import Generator, Tensor

from probact.analysis import (
    crossed_mean,
    mean_over_rows,
    prediction_scores,
    row_scores,
    score_differences,
)


def predicted(n: int, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    stream = Generator().manual_seed(seed)
    logits = 2.0 * torch.randn(n, classes, dtype=torch.float64, generator=stream)
    return torch.softmax(logits, 1), torch.randint(classes, (n,), generator=stream)


@pytest.mark.parametrize("classes", [2, 7])
def test_scores_are_those_of_scikit_learn(classes: int) -> None:
    p, y = predicted(300, classes, seed=classes)
    scores = prediction_scores(p, y)
    assert scores.accuracy.value == pytest.approx(accuracy_score(y, p.argmax(1)))
    assert scores.nll.value == pytest.approx(log_loss(y, p, labels=range(classes)))
    own = np.eye(classes)[y.numpy()]
    assert scores.brier.value == pytest.approx(((p.numpy() - own) ** 2).sum(1).mean())
    if classes == 2:  # scikit-learn's counts one of the two classes
        half = brier_score_loss(y.numpy(), p[:, 1].numpy())
        assert scores.brier.value == pytest.approx(2.0 * half)
    share = scores.accuracy.value
    assert scores.accuracy.standard_error == pytest.approx((share * (1 - share) / 299) ** 0.5)


def test_differences_are_paired() -> None:
    p, y = predicted(200, 3, seed=0)
    q, _ = predicted(200, 3, seed=1)
    q = 0.9 * p + 0.1 * q
    found = score_differences(p, q, y)
    for name in ("accuracy", "nll", "brier"):
        index = ("accuracy", "nll", "brier").index(name)
        a, b = (row_scores(r, y)[index].numpy() for r in (p, q))
        estimate = getattr(found, name)
        assert estimate.value == pytest.approx((a - b).mean(), abs=1e-12)
        if np.ptp(a - b) > 0:
            z = estimate.value / estimate.standard_error
            assert z == pytest.approx(stats.ttest_rel(a, b).statistic)
    alone = prediction_scores(p, y).nll.standard_error
    assert found.nll.standard_error < 0.6 * alone  # what pairing is for


def test_standard_error_covers(budget: AlphaBudget) -> None:
    """Studentised means of many data sets have the law of a t of N - 1 degrees."""
    rng, n = np.random.default_rng(0), 50
    z = []
    for _ in range(400):
        p = rng.beta(2.0, 2.0, n)
        y = rng.random(n) < p
        probs = torch.from_numpy(np.stack([1.0 - p, p], 1))
        scores = prediction_scores(probs, torch.from_numpy(y.astype(np.int64)))
        truth = 0.4  # E 2 p (1 - p) for Beta(2, 2)
        z.append((scores.brier.value - truth) / scores.brier.standard_error)
    budget.check("studentised Brier", stats.kstest(z, stats.t(n - 1).cdf).pvalue)


def test_probability_zero_of_a_label_is_infinitely_bad() -> None:
    scores = prediction_scores([[1.0, 0.0], [0.5, 0.5]], [1, 0])
    assert scores.nll.value == float("inf")
    assert np.isnan(scores.nll.standard_error)
    assert scores.brier.value == 1.25


def test_crossed_mean_has_the_spread_of_both_layouts(generator: Generator) -> None:
    """Over data sets of runs x rows, its square is not below the variance of the mean."""
    runs, rows, sets = 5, 40, 2000
    a = torch.randn(sets, runs, 1, generator=generator).double()
    b = 2.0 * torch.randn(sets, 1, rows, generator=generator).double()
    noise = torch.randn(sets, runs, rows, generator=generator).double()
    values = a + b + noise
    found = [crossed_mean(v) for v in values]
    variance = np.var([f.value for f in found])
    square = np.mean([f.standard_error**2 for f in found])
    truth = 1.0 / runs + 4.0 / rows + 1.0 / (runs * rows)
    assert variance == pytest.approx(truth, rel=0.15)
    assert square == pytest.approx(truth + 1.0 / (runs * rows), rel=0.1)
    one = torch.tensor([1.0, 2.0, 4.0])
    assert crossed_mean(one[None]) == pytest.approx(mean_over_rows(one))


@pytest.mark.parametrize(
    ("probs", "labels", "message"),
    [
        ([[0.5, 0.6]], [0], "sum to one in each row, got .* in row 0"),
        ([[0.5, 0.5], [1.5, -0.5]], [0, 0], "in row 1"),
        ([[1.0]], [0], "C >= 2"),
        ([0.5, 0.5], [0, 1], "must be a matrix"),
        ([[0.5, 0.5]], [2], r"labels must be in 0 .. 1, got 2 to 2"),
        ([[0.5, 0.5]], [-1], r"labels must be in 0 .. 1"),
        ([[0.5, 0.5]], [0, 1], "one integer per row"),
        ([[0.5, 0.5]], [0.0], "labels must be integers"),
        ([[0.5, float("nan")]], [0], "NaN or infinity"),
        ([[0.5, 0.5]], [0], "two rows or more"),
    ],
)
def test_refuses(probs: object, labels: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prediction_scores(probs, labels)


def test_refuses_other_rows_and_values() -> None:
    with pytest.raises(ValueError, match="one integer per row"):
        score_differences([[0.5, 0.5]] * 3, [[0.5, 0.5]] * 2, [0, 1, 0])
    with pytest.raises(TypeError, match="probs must be a tensor"):
        prediction_scores("probs", [0])
    with pytest.raises(ValueError, match=r"values must be \(R, N\)"):
        crossed_mean([1.0, 2.0])
    with pytest.raises(ValueError, match="NaN or infinity"):
        crossed_mean([[1.0, float("inf")]])
