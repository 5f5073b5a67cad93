"""The memorisation check: counts by hand, calibration on honest samples, power on memorisers."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from bad_inputs import data_cases, verdict
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial.distance import cdist
from statcheck import AlphaBudget

from probact.analysis import Memorisation, memorisation

Array = NDArray[np.float64]


def three(rng: np.random.Generator, n: int = 200, dim: int = 4) -> tuple[Array, Array, Array]:
    """Generated, training and held-out rows of one law."""
    generated, train, held_out = rng.standard_t(8, size=(3, n, dim))
    return generated, train, held_out


def test_readings_by_hand() -> None:
    rng = np.random.default_rng(0)
    generated, train, held_out = three(rng, 150)
    generated, train = 0.9 * generated[:120], train[:90]
    found = memorisation(generated, train, held_out, level=0.05)
    own, other = cdist(generated, train).min(1), cdist(held_out, train).min(1)
    np.testing.assert_allclose(found.generated_distance, own, rtol=1e-12)
    np.testing.assert_allclose(found.held_out_distance, other, rtol=1e-12)
    np.testing.assert_array_equal(found.nearest_train, cdist(generated, train).argmin(1))
    test = stats.mannwhitneyu(
        own, other, alternative="less", method="asymptotic", use_continuity=False
    )
    assert found.p_value == pytest.approx(test.pvalue)
    assert stats.norm.cdf(found.z_score) == pytest.approx(test.pvalue)
    wins = (own[:, None] > other).mean()
    assert math.copysign(1.0, found.z_score) == math.copysign(1.0, wins - 0.5)
    assert found.threshold == pytest.approx(np.sort(other)[6])  # rank 7 = floor(0.05 * 151)
    assert found.near_share == (own < np.sort(other)[6]).mean()
    assert found.near_share_expected == 7 / 151


def test_near_share_has_the_law_it_is_tested_against(budget: AlphaBudget) -> None:
    """Uniform distances: the count below the third smallest of 40 among 25, many times."""
    rng = np.random.default_rng(1)
    p, q = np.sort(rng.random((20_000, 40)), 1), rng.random((20_000, 25))
    counts = np.bincount((q < p[:, 2:3]).sum(1), minlength=26)
    law = stats.betabinom(25, 3, 38).pmf(np.arange(26))
    kept = law * 20_000 >= 5
    observed = np.append(counts[kept], counts[~kept].sum())
    expected = np.append(law[kept], law[~kept].sum()) * 20_000
    budget.check("beta-binomial", float(stats.chisquare(observed, expected).pvalue))


def test_honest_generators_are_let_pass(budget: AlphaBudget) -> None:
    """p-values of 300 data sets with generated rows of the true law."""
    found = []
    for seed in range(300):
        found.append(memorisation(*three(np.random.default_rng(seed), 100), level=0.05))
    p = np.array([f.p_value for f in found])
    budget.check("Mann-Whitney p-values", float(stats.kstest(p, "uniform").pvalue))
    z = np.array([f.z_score for f in found])
    budget.check("z-scores", float(stats.kstest(z, "norm").pvalue))
    low = sum(f.near_p_value <= 0.05 for f in found)  # discrete: at most its level
    budget.check("near p-values", float(stats.binom.sf(low - 1, 300, 0.05)))
    share = np.array([f.near_share - f.near_share_expected for f in found])
    z = share.mean() / (share.std(ddof=1) / math.sqrt(300))
    budget.check("near share", float(2 * stats.norm.sf(abs(z))))


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.25])
def test_memorisers_are_caught(noise: float) -> None:
    rng = np.random.default_rng(2)
    _, train, held_out = three(rng)
    found = memorisation(train + noise * rng.normal(size=train.shape), train, held_out)
    assert found.z_score < -6
    assert found.p_value < 1e-8
    assert found.near_share > 0.5 if noise < 0.2 else found.near_share > 0.01
    if noise == 0.0:
        assert bool((found.generated_distance == 0.0).all())
        assert found.nearest_train.tolist() == list(range(200))


def test_a_few_copies_show_in_the_near_share() -> None:
    """One row in ten is a copy: ranks hardly notice, the share nearer than 1 % does."""
    rng = np.random.default_rng(3)
    generated, train, held_out = three(rng)
    generated[::10] = train[::10] + 1e-3
    found = memorisation(generated, train, held_out)
    assert found.near_p_value < 1e-6
    assert found.near_share >= 0.1
    assert found.p_value > 1e-6


def test_a_poor_generator_is_far_and_no_copier() -> None:
    rng = np.random.default_rng(4)
    generated, train, held_out = three(rng)
    found = memorisation(3.0 * generated, train, held_out)
    assert found.z_score > 6
    assert found.p_value > 1 - 1e-8


def same(one: Memorisation, other: Memorisation, unit: float = 1.0) -> None:
    for a, b in zip(one, other, strict=True):
        if isinstance(a, torch.Tensor):
            np.testing.assert_allclose(a, b * (unit if b.is_floating_point() else 1), rtol=1e-9)
    assert one.z_score == pytest.approx(other.z_score)
    assert one.near_share == other.near_share
    assert one.threshold == pytest.approx(unit * other.threshold)


def test_units_images_and_types() -> None:
    rng = np.random.default_rng(5)
    images = rng.random((3, 120, 1, 4, 4)).astype(np.float32)
    want = memorisation(*images)
    same(memorisation(*images.reshape(3, 120, 16)), want)
    same(memorisation(*torch.from_numpy(images).unbind()), want)
    same(memorisation(*(2.0**-200 * images.astype(float))), want, unit=2.0**-200)


def test_ties() -> None:
    """Held-out rows that are copies themselves: no distance is below the threshold."""
    x = np.random.default_rng(6).normal(size=(100, 3))
    found = memorisation(x, x, x)
    assert (found.z_score, found.near_share, found.near_p_value) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize(("name", "make", "expect"), list(data_cases()))
def test_awkward_rows(name: str, make: Any, expect: str) -> None:
    few = name.startswith(("3-d", "N=", "D>", "two", "all", "broad")) and name != "N=0"
    wanted = "either" if (few and expect == "ok") or name == "3-d" else expect

    def thunk() -> Any:
        return memorisation(make(), make(), make(), level=0.1)

    assert verdict(thunk, wanted, lambda f: all(math.isfinite(v) for v in f[:6])) is None


@pytest.mark.parametrize(
    ("generated", "held_out", "level", "message"),
    [
        (np.zeros((5, 3)), np.zeros((99, 2)), 0.01, "generated must have 2 numbers a row, got 3"),
        (np.zeros((5, 2)), np.zeros((98, 2)), 0.01, "held_out must have at least 99 rows for le"),
        (np.zeros((5, 2)), np.zeros((99, 2)), 1.0, "level must lie between 0 and 1, got 1.0"),
        (np.zeros((5, 2)), np.full((99, 2), np.inf), 0.01, "held_out has 99 rows with NaN"),
        (np.zeros((0, 2)), np.zeros((99, 2)), 0.01, "generated must have rows"),
    ],
)
def test_refuses(generated: Array, held_out: Array, level: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        memorisation(generated, np.ones((7, 2)), held_out, level=level)
