"""Predictive checks of patterns: statistics by loops, p-values by ranks, models told apart."""

import itertools

import numpy as np
import pytest
import torch

from probact.analysis.patterns import PackedPatterns
from probact.analysis.patterns.predictive_checks import STATISTICS, predictive_check
from probact.models import BetaBernoulliPatterns, PatternMixture

F64 = torch.float64


def test_statistics_against_loops():
    generator = torch.Generator().manual_seed(0)
    bits = torch.rand(12, 7, generator=generator) < torch.rand(7, generator=generator)
    a = bits.numpy().astype(int)
    distances = [np.abs(x - y).sum() for x, y in itertools.combinations(a, 2)]
    q = [
        np.mean([abs(int(x[i]) - int(y[i])) for x, y in itertools.combinations(a, 2)])
        for i in range(7)
    ]
    second = (2 * a - 1).T @ (2 * a - 1) / 12
    want = {
        "mean_distance": np.mean(distances),
        "variance_ratio": np.var(distances) / sum(v * (1 - v) for v in q),
        "count_deviation": a.sum(1).std(ddof=1),
        "largest_eigenvalue": np.linalg.eigvalsh(second)[-1] / 7,
        "unique_patterns": len({tuple(row) for row in a}),
    }
    for name, value in want.items():
        assert STATISTICS[name](bits.to(torch.uint8)) == pytest.approx(value, rel=1e-12), name


def test_p_values_are_ranks():
    a = torch.tensor([[1, 0], [0, 0]])
    replicates = torch.tensor([[[0, 0], [0, 0]], [[1, 0], [0, 0]], [[1, 1], [1, 0]]])
    check = predictive_check(a, replicates, {"ones": lambda bits: float(bits.sum())})
    assert check.observed == {"ones": 1.0}
    assert check.replicated["ones"].tolist() == [0.0, 1.0, 3.0]
    assert check.p_values["ones"] == 1.0  # 1 + 2 of 3 + 1 on either side
    beyond = predictive_check(1 - a, replicates[:2], {"ones": lambda bits: float(bits.sum())})
    assert beyond.p_values["ones"] == 2 / 3  # 3 ones against 0 and 1: its own value alone
    frame = predictive_check(a, replicates[2:], {"ones": lambda b: float(b.sum())}).to_frame()
    assert frame.loc["ones", "p_value"] == 1.0
    assert frame.loc["ones", "mean"] == 3.0


def test_independence_is_rejected_where_it_is_wrong_and_classes_are_not():
    centres = torch.tensor([[0.9] * 8 + [0.1] * 8, [0.1] * 8 + [0.9] * 8, [0.5] * 16])
    generator = torch.Generator().manual_seed(0)
    z = torch.randint(3, (300,), generator=generator)
    a = (torch.rand(300, 16, generator=generator) < centres[z]).to(torch.uint8)
    names = ["variance_ratio", "largest_eigenvalue", "mean_distance"]
    alone = predictive_check(a, BetaBernoulliPatterns(16).replicates(a, 300, seed=1), names)
    assert alone.observed["variance_ratio"] > 2.5
    assert alone.p_values["variance_ratio"] < 0.05
    assert alone.p_values["largest_eigenvalue"] < 0.05
    assert alone.p_values["mean_distance"] > 0.05  # blind to dependence
    model = PatternMixture(3, 16)
    fit = model.em(a)
    stream = torch.Generator().manual_seed(2)
    drawn = [model.sample_patterns(300, *fit[:2], generator=stream) for _ in range(60)]
    classes = predictive_check(a, torch.stack(drawn), names)
    assert min(classes.p_values.values()) > 0.05


def test_refusals():
    a = torch.tensor([[1, 0], [0, 1]])
    with pytest.raises(ValueError, match=r"replicates must be \('S', 2, 2\), like a"):
        predictive_check(a, a)
    with pytest.raises(ValueError, match="statistics must be of"):
        predictive_check(a, a[None], ["mean"])
    with pytest.raises(ValueError, match="replicates must hold 0 and 1 alone"):
        predictive_check(a, 2 * a[None])
    with pytest.raises(ValueError, match=r"x must be finite, got nan for a"):
        predictive_check(a, a[None], {"x": lambda bits: float("nan")})
    with pytest.raises(ValueError, match=r"x must be finite, got inf for replicates\[1\]"):
        predictive_check(a, torch.stack([a, 1 - a]), {"x": lambda b: 1 / b[0, 0].double()})
    with pytest.raises(ValueError, match="a must have two rows at least"):
        predictive_check(a[:1], a[None, :1])
    for wrong in ({}, {"x": 3}):
        with pytest.raises(ValueError, match="statistics must map names to functions"):
            predictive_check(a, a[None], wrong)
    some = torch.rand(9, 3, generator=torch.Generator().manual_seed(0)) < 0.5
    with pytest.raises(ValueError, match=r"replicates\[0\] has no variance_ratio: patterns must"):
        predictive_check(some, torch.ones(1, 9, 3), ["variance_ratio"])
    with pytest.raises(TypeError, match=r"got PackedPatterns: pass its \.bits\(\)"):
        predictive_check(PackedPatterns.from_bits(a), a[None])
