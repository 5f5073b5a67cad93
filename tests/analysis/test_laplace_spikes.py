"""Features that no class uses, and weights that repeat."""

import math
from collections import Counter

import pytest
import torch
from torch import Generator

from probact.analysis.laplace_fits import (
    dead_features,
    fit_asymmetric_laplace,
    most_repeated_value,
)
from probact.distributions import AsymmetricLaplace


def test_most_repeated_value_is_what_counting_says(generator: Generator) -> None:
    x = torch.randint(-3, 4, (300, 12), generator=generator) * 0.5
    found = most_repeated_value(x)
    for row, value, count in zip(x.tolist(), found.value, found.num_equal, strict=True):
        counts = Counter(row)
        most = max(counts.values())
        assert int(count) == most
        assert float(value) == min(v for v, c in counts.items() if c == most)
    torch.testing.assert_close(found.share, found.num_equal.double() / 12)


def test_one_column_and_no_repeats() -> None:
    assert most_repeated_value(torch.tensor([[2.0], [3.0]])).num_equal.tolist() == [1, 1]
    assert most_repeated_value(torch.tensor([[0.0, -0.0, 1.0]])).num_equal.tolist() == [2]
    assert most_repeated_value(torch.arange(5.0)[None]).share.item() == pytest.approx(0.2)


def test_dead_features_spoil_a_fit_and_are_found(generator: Generator) -> None:
    one = torch.tensor(1.0, dtype=torch.float64)
    x = AsymmetricLaplace(-0.1 * one, 0.03 * one, one).sample((30, 1000), generator=generator)
    whole = fit_asymmetric_laplace(x)
    x[:, 100:250] = 1e-6 * torch.randn(30, 150, dtype=torch.float64, generator=generator)
    dead = dead_features(x)
    assert dead.nonzero().flatten().tolist() == list(range(100, 250))
    spoilt, kept = fit_asymmetric_laplace(x), fit_asymmetric_laplace(x[:, ~dead])
    assert abs(kept.scale.mean() / whole.scale.mean() - 1.0) < 0.03
    assert (spoilt.scale / kept.scale - 1.0).abs().mean() > 0.1


@pytest.mark.parametrize("factor", [1e-200, 1.0, 1e200])
def test_dead_features_at_any_size(factor: float) -> None:
    x = torch.tensor([[1.0, 1e-9, -2.0, 0.0], [0.5, 0.0, 1.0, 0.0]], dtype=torch.float64)
    assert dead_features(x * factor).tolist() == [False, True, False, True]
    assert dead_features(x * factor, tolerance=1e-12).tolist() == [False, False, False, True]


def test_nothing_alive_and_refusals() -> None:
    assert dead_features(torch.zeros(2, 3)).all()
    with pytest.raises(ValueError, match="tolerance"):
        dead_features(torch.ones(2, 3), tolerance=0.0)
    for reading in (dead_features, most_repeated_value):
        with pytest.raises(ValueError, match="first: row 1"):
            reading(torch.tensor([[1.0, 2.0], [math.nan, 1.0]]))
        with pytest.raises(ValueError, match="matrix"):
            reading(torch.ones(3))
