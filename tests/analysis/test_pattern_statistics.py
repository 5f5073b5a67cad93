"""Statistics of patterns against brute force, enumeration and simulation."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial.distance import pdist

from probact.analysis.patterns import (
    PackedPatterns,
    activation_probabilities,
    bernoulli_test,
    collect,
    constellations,
    dependence_test,
    marginal_test,
    strict_constellations,
)


def packed(bits):
    return PackedPatterns.from_bits(np.asarray(bits))


def coins(rows, bits, seed=0, p=0.5):
    return np.random.default_rng(seed).random((rows, bits)) < p


@pytest.mark.parametrize("level", [0.9, 0.99])
def test_intervals_against_scipy_and_by_their_definition(level):
    rows = 17
    bits = np.tril(np.ones((rows, rows + 1)), -1) == 1  # counts 16, 15, .., 0, 0
    bits = np.concatenate([bits, np.ones((rows, 1), bool)], 1)
    counts = bits.sum(0)
    for interval, name in (("wilson", "wilson"), ("clopper_pearson", "exact")):
        found = activation_probabilities(packed(bits), level=level, interval=interval)
        assert found.counts.tolist() == counts.tolist()
        for c, low, high in zip(counts, found.low, found.high, strict=True):
            ci = stats.binomtest(int(c), rows).proportion_ci(level, name)
            np.testing.assert_allclose([low, high], [ci.low, ci.high], atol=1e-12)
    found = activation_probabilities(packed(bits), level=level, interval="jeffreys")
    inner = (counts > 0) & (counts < rows)
    law = stats.beta(counts[inner] + 0.5, rows - counts[inner] + 0.5)
    np.testing.assert_allclose(law.cdf(found.low[inner]), (1 - level) / 2, atol=1e-12)
    np.testing.assert_allclose(law.sf(found.high[inner]), (1 - level) / 2, atol=1e-12)
    assert found.low[counts == 0].tolist() == [0.0, 0.0]
    assert found.high[counts == rows].tolist() == [1.0]


def test_dead_always_on_and_saturated_units_by_layer():
    net = torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.ReLU(), torch.nn.ReLU6()).eval()
    with torch.no_grad():
        net[0].weight.fill_(1.0)
        net[0].bias.copy_(torch.tensor([-500.0, 500.0, 0.0, -98.5]))
    x = torch.arange(100.0)[:, None]
    found = activation_probabilities(collect(net, x))
    assert found.dead.tolist()[:4] == [True, False, False, False]
    assert found.always_on.tolist()[:4] == [False, True, False, False]
    assert found.saturated(0.02).tolist()[:4] == [True, True, True, True]
    assert found.saturated(0.005).tolist()[:4] == [True, True, False, False]
    relu, relu6 = found.layers()
    assert (relu.name, relu.num_bits, relu.dead, relu.always_on) == ("1", 4, 0.25, 0.25)
    p = np.array([0.0, 1.0, 0.99, 0.01])
    assert math.isclose(relu.mean, p.mean())
    assert math.isclose(relu.variance, p.var())
    assert relu6.num_bits == 8


def test_bernoulli_test_is_exact():
    bits = coins(9, 6, seed=3)
    found = bernoulli_test(packed(bits), seed=1)
    total = found.mean * found.num_pairs
    n = 6 * found.num_pairs
    law = [math.comb(n, k) / 2**n for k in range(n + 1)]
    exact = sum(w for k, w in enumerate(law) if abs(k - n / 2) >= abs(total - n / 2) - 1e-9)
    assert found.num_pairs == 4
    np.testing.assert_allclose(found.p_value, min(1.0, exact), rtol=1e-10)
    np.testing.assert_allclose(found.all_pairs_mean, pdist(bits, "cityblock").mean(), rtol=1e-12)
    assert found.expected == 3.0
    assert found == bernoulli_test(packed(bits), seed=1)


def test_errors_of_the_mean_distances_of_fair_coins():
    """Both standard errors by enumeration: all 2^(N n) patterns of 4 rows and 2 bits."""
    means = []
    for row in itertools.product([False, True], repeat=8):
        means.append(bernoulli_test(packed(np.reshape(row, (4, 2)))))
    for name, error in (("mean", "standard_error"), ("all_pairs_mean", "all_pairs_error")):
        values = np.array([getattr(m, name) for m in means])
        np.testing.assert_allclose(values.mean(), 1.0, rtol=1e-12)
        np.testing.assert_allclose(values.std(), getattr(means[0], error), rtol=1e-12)
    p = np.array([m.p_value for m in means])
    for level in np.unique(p):  # every level of the test is held exactly
        np.testing.assert_allclose((p <= level + 1e-9).mean(), level, rtol=1e-9)


def test_p_values_of_fair_coins_are_uniform(budget):
    p = [bernoulli_test(packed(coins(200, 300, seed))).p_value for seed in range(200)]
    budget.check("bernoulli test", stats.kstest(p, "uniform").pvalue)


def test_marginal_test_against_scipy():
    bits = coins(60, 40, p=np.linspace(0.2, 0.8, 40))
    found = marginal_test(packed(bits), level=0.1)
    p = [stats.binomtest(int(c), 60).pvalue for c in bits.sum(0)]
    np.testing.assert_allclose(found.p_values, p, rtol=1e-9)
    adjusted = stats.false_discovery_control(p)
    assert found.rejected.tolist() == (adjusted <= 0.1).tolist()
    assert not marginal_test(packed(coins(60, 40))).rejected.any()


def test_blind_spot_of_the_mean_and_the_variance_ratio():
    half = coins(2000, 128)
    twice = packed(np.concatenate([half, half], 1))
    assert bernoulli_test(twice).p_value > 0.01
    found = dependence_test(twice)
    assert abs(found.variance_ratio - 2.0) < 0.01
    assert found.p_value < 1e-12
    assert abs(found.effective_bits - 128.0) < 1.0
    unfair = packed(coins(2000, 256, p=np.random.default_rng(1).beta(2, 2, 256)))
    assert bernoulli_test(unfair).p_value < 1e-12
    assert dependence_test(unfair).p_value > 0.01
    opposite = packed(np.concatenate([half, ~half], 1))
    np.testing.assert_allclose(dependence_test(opposite).variance_ratio, found.variance_ratio)


def variance_ratio(bits):
    distances = pdist(bits, "cityblock")
    rows, ones = len(bits), bits.sum(0)
    q = 2 * ones * (rows - ones) / (rows * (rows - 1))
    return distances.var() / (q * (1 - q)).sum()


def test_null_of_the_variance_ratio_by_enumeration():
    """Every place of the ones of two of three bits in 5 rows: mean 1, variance as computed."""
    bits = np.array([[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]]).T
    values = []
    for two in itertools.combinations(range(5), 2):
        for three in itertools.combinations(range(5), 3):
            moved = np.zeros((5, 3), int)
            moved[0, 0] = 1
            moved[list(two), 1] = moved[list(three), 2] = 1
            values.append(variance_ratio(moved))
    found = dependence_test(packed(bits))
    np.testing.assert_allclose(found.variance_ratio, variance_ratio(bits), rtol=1e-12)
    np.testing.assert_allclose(np.mean(values), 1.0, rtol=1e-10)
    np.testing.assert_allclose(np.std(values), found.standard_error, rtol=1e-10)


def test_p_values_of_independent_unfair_bits(budget):
    p = np.random.default_rng(7).beta(1, 1, 40)
    found = [dependence_test(packed(coins(60, 40, seed, p))) for seed in range(300)]
    values = np.array([f.p_value for f in found])
    budget.check("dependence test", stats.kstest(values, "uniform").pvalue)
    budget.check("its level", stats.binomtest(int((values < 0.05).sum()), 300, 0.05).pvalue)
    z = np.array([(f.variance_ratio - 1) / f.standard_error for f in found])
    budget.check("its error", 2 * stats.norm.sf(abs(z.mean()) * math.sqrt(len(z))))


def complete_linkage_heights(distances):
    groups = [[i] for i in range(len(distances))]
    heights = []
    while len(groups) > 1:
        best = min(
            (max(distances[i][j] for i in a for j in b), k, m)
            for k, a in enumerate(groups)
            for m, b in enumerate(groups[:k])
        )
        height, k, m = best
        heights.append(height)
        joined = groups[k] + groups[m]
        groups = [g for n, g in enumerate(groups) if n not in (k, m)] + [joined]
    return heights


def test_constellation_score_and_its_area_identity():
    bits = np.array([[0] * 9, [0] * 8 + [1], [1] * 9, [1] * 7 + [0] * 2, [1] * 4 + [0] * 5])
    distances = (bits[:, None] != bits[None]).sum(-1)
    found = constellations(packed(bits))
    assert found.heights.tolist() == sorted(complete_linkage_heights(distances))
    curve = found.curve()
    assert curve.tolist() == [1 + int((found.heights > h).sum()) for h in range(10)]
    assert int(curve[:-1].sum()) == 9 + int(found.heights.sum())  # the area below C
    above = (found.heights - 1).clamp_min(0)
    assert int(curve[1:].sum()) == 9 + int(above.sum())
    assert math.isclose(found.score, float(found.heights.sum()) / (9 * 4))


def test_constellations_of_clusters_and_of_coins():
    random = np.random.default_rng(0)
    centres = np.repeat(random.random((10, 64)) < 0.5, 20, 0)
    clusters = centres ^ (random.random((200, 64)) < 0.05)
    found = constellations(packed(clusters), seed=1)
    assert found.score < 0.15 < 0.35 < found.matched <= found.fair + 0.02
    low, high = found.plateau()
    assert found.curve()[low] == 10
    assert high > low + 2
    few = constellations(packed(clusters), max_rows=50)
    assert len(few.heights) == 49


@pytest.mark.parametrize("diameter", [0, 4, 9, 14, 30])
def test_strict_constellations_by_brute_force(diameter):
    random = np.random.default_rng(0)
    centres = np.repeat(random.random((8, 40)) < 0.5, 5, 0)
    bits = centres ^ (random.random((40, 40)) < 0.06)
    near = (bits[:, None] != bits[None]).sum(-1) <= diameter
    groups = [frozenset(np.flatnonzero(row).tolist()) for row in near]
    expected = {g for g in groups if len(g) > 1 and all(groups[j] == g for j in g)}
    found = strict_constellations(packed(bits), diameter)
    assert {frozenset(g.tolist()) for g in found} == expected


@pytest.mark.parametrize(
    "function",
    [activation_probabilities, bernoulli_test, marginal_test, dependence_test, constellations],
)
def test_refusals(function):
    with pytest.raises(TypeError, match="must be PackedPatterns"):
        function(torch.zeros(3, 4))
    if function is not activation_probabilities:
        with pytest.raises(ValueError, match="must have"):
            function(packed([[0, 1]]))


def test_refused_arguments():
    patterns = packed(coins(5, 4))
    for level in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match="level"):
            activation_probabilities(patterns, level=level)
        with pytest.raises(ValueError, match="level"):
            marginal_test(patterns, level=level)
    with pytest.raises(ValueError, match="interval must be one of"):
        activation_probabilities(patterns, interval="wald")
    with pytest.raises(ValueError, match="share must"):
        activation_probabilities(patterns).saturated(0.5)
    with pytest.raises(ValueError, match="seed"):
        bernoulli_test(patterns, seed=-1)
    with pytest.raises(ValueError, match="max_rows"):
        constellations(patterns, max_rows=1)
    with pytest.raises(ValueError, match="diameter"):
        strict_constellations(patterns, -1)
    with pytest.raises(ValueError, match="2 bits that vary, got 4 and 1"):
        dependence_test(packed([[0, 0, 1], [0, 1, 1], [0, 1, 1], [0, 1, 1]]))
