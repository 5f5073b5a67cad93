"""What the split tree keeps under the laws it is named for, and how often its tests err."""

import math

import pytest
import scipy.integrate
import scipy.optimize
import torch
from scipy import stats
from statcheck import AlphaBudget, paired_mean_pvalue
from torch import Generator, Tensor

from probact.models.neuron_split import split_tree
from probact.models.neuron_split.node_fit import anderson_darling, exponential_pvalue, suffix


def exponential(shape: tuple[int, int], generator: Generator) -> Tensor:
    return torch.empty(shape, dtype=torch.float64).exponential_(generator=generator)


def laplace(shape: tuple[int, int], generator: Generator) -> Tensor:
    """Asymmetric Laplace rows around zero, both sides of the same scale."""
    return (exponential(shape, generator) - exponential(shape, generator)) / 30.0


def test_sizes_under_the_law(budget: AlphaBudget, generator: Generator) -> None:
    tree = split_tree(laplace((400, 2048), generator))
    sizes = [tree.sizes("+" * depth).double() for depth in range(1, 6)]
    mirrored = [tree.sizes("-" * depth).double() for depth in range(1, 6)]
    measured = (1022, 376, 138, 51, 19)  # 25 classes of an earlier implementation
    for chain in (sizes, mirrored):
        for size, before in zip(chain, measured, strict=True):
            assert float(size[size > 0].mean()) == pytest.approx(before, rel=0.02)
    for depth in range(3):  # N (1 - 1/N)^(N-1) = (N + 1/2 + ...) / e of N above their mean
        gap = sizes[depth + 1] - (sizes[depth] + 0.5) / math.e
        budget.check(f"split tree, size at depth {depth + 2}", paired_mean_pvalue(gap))
        kept = sizes[depth + 1].mean() / sizes[depth].mean()
        assert float(kept) == pytest.approx(math.exp(-1.0), rel=0.1)
    ratio = tree.excess_ratio[:, :, 1:3]
    assert float(ratio.mean()) == pytest.approx(1.0, abs=0.02)


def population_share(density: object, survival: object) -> float:
    """Share above the mode of the asymmetric Laplace law fitted to log d, d of that density."""

    def h(m: float) -> float:
        def part(y: float) -> float:
            return float(density(math.exp(y)) * math.exp(y))

        above = scipy.integrate.quad(lambda y: (y - m) * part(y), m, m + 12)[0]
        below = scipy.integrate.quad(lambda y: (m - y) * part(y), m - 40, m, limit=200)[0]
        return math.sqrt(above) + math.sqrt(below)

    best = scipy.optimize.minimize_scalar(h, bounds=(-2, 2), method="bounded")
    return float(survival(math.exp(best.x)))


def test_log_mode_keeps_what_the_population_says(
    budget: AlphaBudget, generator: Generator
) -> None:
    draws = {
        "exponential": (exponential((400, 2048), generator), stats.expon, 0.267),
        "half-normal": (
            torch.randn((400, 2048), generator=generator, dtype=torch.float64).abs(),
            stats.halfnorm, 0.195),
    }  # fmt: skip
    for name, (weights, law, before) in draws.items():
        tree = split_tree(weights, cut="log_mode", max_depth=2)
        kept = tree.sizes("++").double() / 2048
        expected = population_share(law.pdf, law.sf)
        assert expected == pytest.approx(before, abs=0.002)
        assert float(kept.mean()) == pytest.approx(before, abs=0.004)
        budget.check(f"log_mode, {name}", paired_mean_pvalue(kept - expected))


@pytest.mark.parametrize(("n", "before"), [(64, 28), (256, 2), (1024, 2)])
def test_false_splits_by_bic(
    n: int, before: int, budget: AlphaBudget, generator: Generator
) -> None:
    tree = split_tree(exponential((2000, n), generator), stop="bic", max_depth=2)
    found = int((tree.sizes("++") > 0).sum())
    assert found == int((tree.bic_gain[:, 0, 0] > 0.0).sum())
    table = [[before, 2000 - before], [found, 2000 - found]]  # of an earlier implementation
    budget.check(f"BIC false splits, n = {n}", stats.fisher_exact(table).pvalue)


def test_the_literal_cut_peels_two_weights_per_level(generator: Generator) -> None:
    weights = laplace((50, 2048), generator)
    with pytest.warns(UserWarning, match="two weights are peeled off per level"):
        tree = split_tree(weights, cut="mode", max_depth=10)
    sizes = torch.stack([tree.sizes("+" * d) for d in range(1, 11)], dim=1)  # (50, 10)
    peeled = -sizes.diff(dim=1)
    assert float(peeled.double().median()) == 2.0
    assert (sizes[:, -1] > 0.9 * sizes[:, 0]).double().mean() > 0.9


@pytest.mark.parametrize("n", [20, 200])
def test_anderson_darling_pvalues(n: int, budget: AlphaBudget, generator: Generator) -> None:
    x = exponential((4000, n), generator).sort(dim=1).values
    node = suffix(x, torch.zeros(4000, dtype=torch.int64))
    distance = anderson_darling(node, x, x.mean(1, keepdim=True))
    p = exponential_pvalue(distance, torch.full((4000,), float(n)))
    for level in (0.01, 0.05, 0.1, 0.5):
        count = int((p < level).sum())
        pvalue = stats.binomtest(count, 4000, level).pvalue
        budget.check(f"AD p-value, n = {n}, level {level}", pvalue)
    z = torch.linspace(0.0, 30.0, 3001, dtype=torch.float64)
    curve = exponential_pvalue(z, torch.full_like(z, math.inf))
    assert (curve.diff() <= 1e-3).all()  # the pieces meet within that
    assert (curve >= 0.0).all()
    assert (curve <= 1.0).all()
