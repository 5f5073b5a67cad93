"""Scores by hand, AUROC against scikit-learn, its standard error against many data sets."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score, roc_curve
from torch import Generator

from probact.analysis import (
    auroc,
    auroc_difference,
    energy_score,
    false_positive_rate,
    max_logit_score,
    max_probability_score,
    mutual_information,
    predictive_entropy,
)


def two_kinds(n: int, m: int, seed: int, *, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    inside, outside = rng.normal(size=n), rng.normal(1.0, 1.5, size=m)
    return (np.round(inside), np.round(outside)) if ties else (inside, outside)


def truth(inside: np.ndarray, outside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    kind = np.concatenate([np.zeros(len(inside)), np.ones(len(outside))])
    return kind, np.concatenate([inside, outside])


@pytest.mark.parametrize("ties", [False, True])
def test_auroc_is_that_of_scikit_learn(ties: bool) -> None:
    pair = two_kinds(70, 40, seed=0, ties=ties)
    assert auroc(*pair).value == pytest.approx(roc_auc_score(*truth(*pair)), abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_standard_error_is_de_longs_by_brute_force(ties: bool) -> None:
    inside, outside = two_kinds(15, 11, seed=2, ties=ties)
    kernel = (outside[:, None] > inside) + 0.5 * (outside[:, None] == inside)  # (M, N)
    variance = kernel.mean(1).var(ddof=1) / 11 + kernel.mean(0).var(ddof=1) / 15
    assert auroc(inside, outside).standard_error == pytest.approx(math.sqrt(variance))


def test_standard_error_is_the_spread_over_data_sets() -> None:
    found = [auroc(*two_kinds(60, 90, seed=s)) for s in range(600)]
    spread = np.std([f.value for f in found])
    assert np.mean([f.standard_error for f in found]) == pytest.approx(spread, rel=0.1)
    exact = stats.norm.cdf(1.0 / math.sqrt(1.0 + 1.5**2))
    assert np.mean([f.value for f in found]) == pytest.approx(exact, abs=4 * spread / 600**0.5)


def test_difference_of_correlated_scores() -> None:
    def both(seed: int) -> tuple[np.ndarray, ...]:
        rng = np.random.default_rng(seed + 10_000)
        inside, outside = two_kinds(60, 90, seed)
        return (inside, outside, inside + 0.5 * rng.normal(size=60),
                outside + 0.5 * rng.normal(size=90))  # fmt: skip

    found = [auroc_difference(*both(s)) for s in range(600)]
    one = both(7)
    assert found[7].value == pytest.approx(auroc(*one[:2]).value - auroc(*one[2:]).value)
    spread = np.std([f.value for f in found])
    assert np.mean([f.standard_error for f in found]) == pytest.approx(spread, rel=0.1)
    assert found[7].standard_error < 0.7 * auroc(*one[:2]).standard_error


@pytest.mark.parametrize("tpr", [0.5, 0.95, 1.0])
def test_false_positives_are_those_of_the_roc_curve(tpr: float) -> None:
    inside, outside = two_kinds(80, 50, seed=4)
    # inside is the positive kind, accepted where -score is large
    kind, score = truth(inside, outside)
    false, true, _ = roc_curve(1.0 - kind, -score, drop_intermediate=False)
    expected = false[np.argmax(true >= tpr - 1e-12)]
    assert false_positive_rate(inside, outside, tpr=tpr).value == pytest.approx(expected)


def test_false_positives_with_ties_and_their_spread() -> None:
    assert false_positive_rate([1.0, 1.0, 2.0, 2.0], [1.0, 2.0, 3.0, 3.0], tpr=0.5).value == 0.25
    found = [false_positive_rate(*two_kinds(200, 150, s), draws=100) for s in range(200)]
    spread = np.std([f.value for f in found])
    assert np.mean([f.standard_error for f in found]) == pytest.approx(spread, rel=0.2)


def test_scores_by_hand() -> None:
    p = [[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]]
    assert max_probability_score(p).tolist() == [0.5, 0.0]
    assert predictive_entropy(p).tolist() == pytest.approx([1.5 * math.log(2.0), 0.0])
    logits = [[1.0, 2.0], [-800.0, 800.0]]
    assert max_logit_score(logits).tolist() == [-2.0, -800.0]
    assert energy_score(logits).tolist() == pytest.approx([-math.log(math.e + math.e**2), -800.0])


def test_mutual_information_by_enumeration(generator: Generator) -> None:
    p = torch.softmax(2.0 * torch.randn(6, 4, 3, generator=generator).double(), -1)
    joint = p / 6.0  # of draw and label, (S, N, C)
    marginal = joint.sum(0)
    ratio = joint / (marginal * (1.0 / 6.0))
    expected = (joint * ratio.log()).sum((0, 2))
    torch.testing.assert_close(mutual_information(p), expected)
    assert mutual_information(p[:1].expand(5, 4, 3)).tolist() == pytest.approx([0.0] * 4)


def test_bias_of_mutual_information_is_bounded(generator: Generator) -> None:
    p = torch.distributions.Dirichlet(torch.ones(2, 4).double())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        draws = p.sample((40_000,))  # (T, 2, 4)
    whole = mutual_information(draws)
    few = torch.stack([mutual_information(part) for part in draws.split(20)]).mean(0)
    bias = whole - few
    assert bool((bias > 0).all())
    assert bool((bias < 1.2 * 3 / 40).all())


def test_refuses() -> None:
    with pytest.raises(ValueError, match=r"inside must be \(N,\) with two rows"):
        auroc([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="outside has 1 row with NaN or infinity"):
        auroc([1.0, 2.0], [1.0, float("nan")])
    with pytest.raises(ValueError, match="inside has 2 rows for one score and 3"):
        auroc_difference([1.0, 2.0], [1.0, 2.0], [1.0, 2.0, 3.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="tpr must lie in"):
        false_positive_rate([1.0, 2.0], [1.0, 2.0], tpr=1.5)
    with pytest.raises(ValueError, match="tpr must be finite and above 0"):
        false_positive_rate([1.0, 2.0], [1.0, 2.0], tpr=0.0)
    with pytest.raises(ValueError, match=r"draws must be \(S, N, C\)"):
        mutual_information([[0.5, 0.5]])
    with pytest.raises(ValueError, match=r"probs must lie in \[0, 1\]"):
        predictive_entropy([[1.5, -0.5]])
    with pytest.raises(ValueError, match="draws must be an integer"):
        false_positive_rate([1.0, 2.0], [1.0, 2.0], draws=1)
    with pytest.raises(TypeError, match="logits must be a tensor"):
        energy_score(None)
