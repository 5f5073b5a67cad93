"""Chinese restaurant process and product partitions: all partitions of few points, enumerated."""

import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from partition_oracle import NIW, blocks, canonical, frequency_test, log_crp, set_partitions
from scipy import stats
from statcheck import AlphaBudget, dkw_pvalue, paired_mean_pvalue
from torch import Generator

from probact.distributions import (
    ChineseRestaurantProcess,
    NormalInverseWishart,
    ProductPartition,
)
from probact.distributions.component_statistics import statistics_of
from probact.inference.dirichlet.conjugate import log_marginal
from probact.inference.dirichlet.problem import pose
from probact.models import DPGMM

F64 = torch.float64


@pytest.mark.parametrize("alpha", [1e-3, 0.7, 30.0])
def test_partitions_sum_to_one(alpha: float) -> None:
    for n in range(1, 8):
        z = torch.tensor(list(set_partitions(n)))
        log_prob = ChineseRestaurantProcess(alpha, n).log_prob(z)
        assert log_prob.exp().sum().item() == pytest.approx(1.0, rel=1e-13)
        expected = [log_crp(tuple(row), alpha) for row in z.tolist()]
        np.testing.assert_allclose(log_prob, expected, rtol=1e-12, atol=1e-13)


def test_labels_may_have_any_names_and_order() -> None:
    law = ChineseRestaurantProcess(0.7, 6)
    z = torch.tensor([0, 1, 0, 2, 1, 0])
    names = torch.tensor([9, 4, 1000])
    assert law.log_prob(names[z]) == law.log_prob(z)
    for order in itertools.islice(itertools.permutations(range(6)), 0, 720, 97):
        torch.testing.assert_close(law.log_prob(z[list(order)]), law.log_prob(z))
    assert law.log_prob(z.to(torch.int16)) == law.log_prob(z)


@pytest.mark.parametrize("alpha", [0.3, 4.0])
def test_draws_have_their_probabilities(
    alpha: float, generator: Generator, budget: AlphaBudget
) -> None:
    law = ChineseRestaurantProcess(alpha, 6)
    draws = [tuple(z) for z in law.sample((20_000,), generator=generator).tolist()]
    assert all(z == canonical(z) for z in set(draws))
    exact = {z: math.exp(log_crp(z, alpha)) for z in set_partitions(6)}
    budget.check(f"CRP {alpha}", frequency_test(draws, exact))


def test_many_customers(generator: Generator, budget: AlphaBudget) -> None:
    """Tables of n customers have mean sum alpha / (alpha + i), and are Poisson binomial."""
    n, alpha = 20_000, 2.5
    law = ChineseRestaurantProcess(alpha, n)
    z = law.sample((300,), generator=generator)
    assert z.shape == (300, n)
    p = alpha / (alpha + np.arange(n))
    assert law.mean_num_tables.item() == pytest.approx(p.sum(), rel=1e-12)
    tables = z.amax(-1).double().numpy() + 1.0
    budget.check("CRP tables", paired_mean_pvalue(tables - p.sum()))
    share = (z == z[:, :1]).double().mean(-1).numpy()  # of the first customer: Beta(1, alpha)
    budget.check("CRP first table", dkw_pvalue(share, stats.beta(1.0, alpha).cdf))
    assert law.log_prob(z).isfinite().all()


def test_batches_and_gradients() -> None:
    alpha = torch.tensor([0.5, 2.0], dtype=F64, requires_grad=True)
    law = ChineseRestaurantProcess(alpha, 4)
    z = law.sample((3,), seed=0)
    assert z.shape == (3, 2, 4)
    assert law.log_prob(z).shape == (3, 2)
    assert law.expand([5, 2]).sample().shape == (5, 2, 4)
    (slope,) = torch.autograd.grad(law.log_prob(z).sum(), alpha)
    step = 1e-6
    for j in range(2):
        ends = [
            sum(log_crp(tuple(row), alpha.tolist()[j] + s) for row in z[:, j].tolist())
            for s in (-step, step)
        ]
        assert slope[j].item() == pytest.approx((ends[1] - ends[0]) / (2 * step), rel=1e-5)
    assert torch.equal(law.sample(seed=3), law.sample(seed=3))


@pytest.mark.parametrize(
    ("alpha", "size", "name"),
    [
        (0.0, 3, "concentration"),
        (-1.0, 3, "concentration"),
        (math.nan, 3, "concentration"),
        (math.inf, 3, "concentration"),
        ([1.0, -1.0], 3, "concentration"),
        ("1", 3, "concentration"),
        (None, 3, "concentration"),
        (1.0, 0, "size"),
        (1.0, 2.5, "size"),
        (1.0, True, "size"),
    ],
)
def test_awkward_parameters(alpha: Any, size: Any, name: str) -> None:
    with pytest.raises((ValueError, TypeError), match=name):
        ChineseRestaurantProcess(alpha, size)


def test_support() -> None:
    law = ChineseRestaurantProcess(1.0, 3)
    for value in ([0, 1], [0, 1, -1], [0.5, 1.0, 1.0]):
        with pytest.raises(ValueError, match=r"support|size|shape"):
            law.log_prob(torch.tensor(value))


def base_of(diagonal: bool) -> tuple[NormalInverseWishart, NIW]:
    loc, scale = np.array([0.3, -0.2]), np.array([[1.0, 0.4], [0.4, 2.0]])
    scale = scale * np.eye(2) if diagonal else scale
    ours = NormalInverseWishart(loc, 0.5, scale, 3.5, diagonal=diagonal)
    return ours, NIW(loc, 0.5, 3.5, scale, diagonal=diagonal)


@pytest.mark.parametrize("diagonal", [False, True])
def test_product_partition(diagonal: bool) -> None:
    """The oracle's sum over blocks, and what the kernels compute in their own coordinates."""
    base, oracle = base_of(diagonal)
    x, s = torch.randn(6, 2, dtype=F64) + 3.0, 1.7
    problem = pose(DPGMM(base), x)
    scaled = NIW(oracle.mu0, 0.5, 3.5, s * oracle.psi0, diagonal=diagonal)
    for z in ([0, 0, 0, 0, 0, 0], [0, 1, 0, 2, 1, 0], [7, 1, 0, 4, 3, 2]):
        labels = torch.tensor(z)
        found = ProductPartition(labels, base).log_prob(x).item()
        expected = sum(oracle.log_marginal(x.numpy()[b]) for b in blocks(z))
        assert found == pytest.approx(expected, rel=1e-12)
        scale = torch.tensor(s, dtype=F64)
        clusters = statistics_of(problem.x, labels, diagonal=problem.diagonal)
        kernels = log_marginal(problem, clusters, scale).sum() - 6 * problem.log_volume
        law = ProductPartition(labels, base, s)
        torch.testing.assert_close(law.log_prob(x), kernels, rtol=1e-12, atol=0.0)
        expected = sum(scaled.log_marginal(x.numpy()[b]) for b in blocks(z))
        assert law.log_prob(x).item() == pytest.approx(expected, rel=1e-12)


def test_gradient_in_the_scale_factor() -> None:
    base, _ = base_of(False)
    z, x = torch.tensor([0, 1, 0, 1]), torch.randn(4, 2, dtype=F64)
    s = torch.tensor(1.3, dtype=F64, requires_grad=True)
    (slope,) = torch.autograd.grad(ProductPartition(z, base, s).log_prob(x), s)
    ends = [ProductPartition(z, base, 1.3 + h).log_prob(x) for h in (-1e-6, 1e-6)]
    assert slope.item() == pytest.approx(float(ends[1] - ends[0]) / 2e-6, rel=1e-6)


@pytest.mark.parametrize("diagonal", [False, True])
def test_draws_given_a_partition(
    diagonal: bool, generator: Generator, budget: AlphaBudget
) -> None:
    """Two rows of one label: x_1 is Student t, and so is x_2 given x_1; labels are independent."""
    base, _ = base_of(diagonal)
    x = ProductPartition(torch.tensor([4, 4, 0]), base).sample((600,), generator=generator)
    assert x.shape == (600, 3, 2)
    nu = base.df - 1
    width = math.sqrt(1.5 / (0.5 * nu))
    for row, d in itertools.product(range(3), range(2)):
        law = stats.t(nu, float(base.loc[d]), width * math.sqrt(float(base.scale[d, d])))
        p = dkw_pvalue(x[:, row, d].numpy(), law.cdf)
        budget.check(f"product partition {diagonal} {row} {d}", p)
    laws = [base.posterior(pair[:1]).predictive() for pair in x]
    widths = [t.scale[0] if diagonal else t.scale_tril[0, 0] for t in laws]
    gaps = [(v[1, 0] - t.loc[0]) / w for t, v, w in zip(laws, x, widths, strict=True)]
    cdf = stats.t(float(laws[0].df)).cdf
    budget.check(f"second row given the first {diagonal}", dkw_pvalue(torch.stack(gaps), cdf))
    tau = stats.kendalltau(x[:, 0, 0].numpy(), x[:, 2, 0].numpy())
    budget.check(f"labels are independent {diagonal}", tau.pvalue)


def test_product_partition_takes_labels_as_a_chain_returns_them() -> None:
    base, _ = base_of(False)
    z, x = torch.tensor([0, 1, 0]), torch.randn(3, 2, dtype=F64)
    want = ProductPartition(z, base).log_prob(x)
    assert torch.equal(ProductPartition(z.double(), base).log_prob(x), want)


def test_product_partition_refusals() -> None:
    base, _ = base_of(False)
    z, x = torch.tensor([0, 1, 0]), torch.randn(3, 2, dtype=F64)
    cases = [
        (lambda: ProductPartition(z + 0.5, base), "labels"),
        (lambda: ProductPartition(z - 1, base), "labels"),
        (lambda: ProductPartition(z[None], base), "labels"),
        (lambda: ProductPartition(z[:0], base), "labels"),
        (lambda: ProductPartition([0, 1], base), "labels"),  # type: ignore[arg-type]
        (lambda: ProductPartition(z, "base"), "base"),  # type: ignore[arg-type]
        (lambda: ProductPartition(z, base, 0.0), "factor"),
        (lambda: ProductPartition(z, base, math.nan), "factor"),
        (lambda: ProductPartition(z, base).log_prob(x[:2]), "value"),
        (lambda: ProductPartition(z, base).log_prob(x * math.nan), "NaN"),
    ]
    for call, message in cases:
        with pytest.raises((ValueError, TypeError), match=message):
            call()


def test_sizes_are_those_of_the_draws() -> None:
    sizes = Counter(ChineseRestaurantProcess(1.0, 50).sample(seed=5).tolist())
    assert sum(sizes.values()) == 50
    assert list(sizes) == list(range(len(sizes)))
