"""Maximum mean discrepancy: a double loop, exact means over all samples, and like laws."""

from itertools import product

import pytest
import torch
from scipy import stats
from statcheck import AlphaBudget
from torch import Tensor

from probact.models.discrepancy import inverse_multiquadratic, mmd


def kernel(a: Tensor, b: Tensor, scale: float, furthest: float = float("inf")) -> float:
    square = min(sum((float(u) - float(v)) ** 2 for u, v in zip(a, b, strict=True)), furthest)
    return scale / (scale + square)


def by_loops(
    x: Tensor, y: Tensor, scale: float, *, unbiased: bool, furthest: float = float("inf")
) -> float:
    """The estimators as sums over pairs, one term after the other."""
    total = 0.0
    for sample in (x, y):
        n = len(sample)
        pairs = [(i, j) for i in range(n) for j in range(n) if i != j or not unbiased]
        total += sum(kernel(sample[i], sample[j], scale, furthest) for i, j in pairs) / len(pairs)
    between = [kernel(a, b, scale, furthest) for a in x for b in y]
    return total - 2.0 * sum(between) / len(between)


@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize(
    ("n", "m", "d", "scale"), [(2, 2, 1, 1.0), (5, 3, 4, 8.0), (7, 7, 2, 0.1)]
)
def test_is_the_sum_over_pairs(
    n: int, m: int, d: int, scale: float, unbiased: bool, generator: torch.Generator
) -> None:
    x = torch.randn(n, d, dtype=torch.float64, generator=generator)
    y = 3.0 * torch.randn(m, d, dtype=torch.float64, generator=generator) + 1.0
    wanted = by_loops(x, y, scale, unbiased=unbiased)
    assert float(mmd(x, y, scale, unbiased=unbiased)) == pytest.approx(wanted, abs=1e-12)
    clipped = by_loops(x, y, scale, unbiased=unbiased, furthest=2.0)
    found = mmd(x, y, scale, unbiased=unbiased, furthest=2.0)
    assert float(found) == pytest.approx(clipped, abs=1e-12)


def test_unbiased_over_every_sample_of_two_discrete_laws() -> None:
    p, q = torch.tensor([0.0, 1.0, 3.0]), torch.tensor([1.0, 2.0])
    probs = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    points = {float(v): float(w) for v, w in zip(p, probs, strict=True)}
    even = {float(v): 0.5 for v in q}

    def mean_kernel(a: dict[float, float], b: dict[float, float]) -> float:
        return sum(u * v * 2.0 / (2.0 + (s - t) ** 2) for s, u in a.items() for t, v in b.items())

    truth = mean_kernel(points, points) + mean_kernel(even, even) - 2 * mean_kernel(points, even)
    diagonal = 0.0
    means = {True: 0.0, False: 0.0}
    for rows in product(points, repeat=2):
        for others in product(even, repeat=3):
            weight = points[rows[0]] * points[rows[1]] * 0.5**3
            x = torch.tensor(rows, dtype=torch.float64)[:, None]
            y = torch.tensor(others, dtype=torch.float64)[:, None]
            for unbiased in means:
                means[unbiased] += weight * float(mmd(x, y, 2.0, unbiased=unbiased))
    assert means[True] == pytest.approx(truth, abs=1e-12)
    diagonal = (1 - mean_kernel(points, points)) / 2 + (1 - mean_kernel(even, even)) / 3
    assert means[False] == pytest.approx(truth + diagonal, abs=1e-12)


def test_mean_zero_for_like_laws(budget: AlphaBudget, generator: torch.Generator) -> None:
    draws = torch.randn(2000, 2, 16, 3, dtype=torch.float64, generator=generator)
    values = torch.stack([mmd(x, y, 6.0) for x, y in draws])
    z = float(values.mean() / (values.std() / len(values) ** 0.5))
    budget.check("MMD of like laws", 2 * stats.norm.sf(abs(z)))
    assert float(torch.stack([mmd(x, y, 6.0, unbiased=False) for x, y in draws[:50]]).min()) >= 0


def test_gradient(generator: torch.Generator) -> None:
    x = torch.randn(4, 2, dtype=torch.float64, generator=generator, requires_grad=True)
    y = torch.randn(3, 2, dtype=torch.float64, generator=generator, requires_grad=True)
    for unbiased in (True, False):
        assert torch.autograd.gradcheck(
            lambda x, y, u=unbiased: mmd(x, y, 4.0, unbiased=u), (x, y)
        )


def test_distances_that_round_below_zero() -> None:
    x = torch.full((3, 50), 1234.567)
    assert float(inverse_multiquadratic(x, x, 1e-3).max()) <= 1.0


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((torch.zeros(3), torch.zeros(3, 1), 1.0), {}, "x and y must be"),
        ((torch.zeros(3, 2), torch.zeros(3, 1), 1.0), {}, "x and y must be"),
        ((torch.zeros(1, 2), torch.zeros(3, 2), 1.0), {}, "2 rows or more, got 1 and 3"),
        ((torch.zeros(0, 2), torch.zeros(3, 2), 1.0), {"unbiased": False}, "1 rows or more"),
        ((torch.zeros(3, 2), torch.zeros(3, 2), 0.0), {}, "scale must be positive"),
        ((torch.zeros(3, 2), torch.zeros(3, 2), 1.0), {"furthest": -1.0}, "furthest must be"),
    ],
)
def test_refusals(arguments: tuple, options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        mmd(*arguments, **options)
