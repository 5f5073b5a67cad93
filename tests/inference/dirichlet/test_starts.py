"""First partitions: what they are, where they come from, and what is refused."""

import math

import numpy as np
import partition_oracle as oracle
import pytest
import torch
from scipy.stats import chi2
from sklearn.metrics import adjusted_rand_score
from textbook_gibbs import mixture_model

from probact.inference.dirichlet.problem import pose
from probact.inference.dirichlet.starts import first_partitions


def problem_of(x):
    d = x.shape[1]
    return pose(mixture_model(oracle.NIW(np.zeros(d), 0.1, d + 2.0, np.eye(d))), x)


@pytest.fixture
def groups(generator):
    """Nine tight groups (900, 3), and which is whose."""
    label = torch.arange(900) % 9
    noise = torch.randn(900, 3, dtype=torch.float64, generator=generator)
    return 20 * torch.randn(9, 3, dtype=torch.float64, generator=generator)[label] + noise, label


def test_auto_gives_the_three_by_name(groups, generator):
    starts = first_partitions(problem_of(groups[0]), "auto", generator)
    assert list(starts) == ["k-means++", "random", "one cluster"]
    for z in starts.values():
        assert z.dtype == torch.int64
        assert z.shape == (900,)
        assert set(z.tolist()) == set(range(int(z.max()) + 1))
    assert int(starts["one cluster"].max()) == 0
    assert int(starts["random"].max()) + 1 == int(math.log2(901))
    assert 20 <= int(starts["k-means++"].max()) + 1 <= 30


def test_random_labels_are_uniform(budget):
    x = torch.zeros(20_000, 1, dtype=torch.float64)
    z = first_partitions(problem_of(x), "random", torch.Generator().manual_seed(4))["random"]
    sizes = np.bincount(z.numpy())
    expected = 20_000 / 14
    assert len(sizes) == 14
    budget.check("random start", chi2.sf(((sizes - expected) ** 2 / expected).sum(), 13))


def test_k_means_does_not_mix_groups(groups, generator):
    x, label = groups
    z = first_partitions(problem_of(x), "k-means++", generator)["k-means++"]
    for k in range(int(z.max()) + 1):
        assert len(set(label[z == k].tolist())) == 1


def test_seeds_are_distinct_rows(generator):
    x = torch.tensor([[0.0], [1.0], [5.0]], dtype=torch.float64)[torch.arange(100) % 3]
    z = first_partitions(problem_of(x), "k-means++", generator)["k-means++"]
    assert adjusted_rand_score(z, torch.arange(100) % 3) == 1


@pytest.mark.parametrize("n", [1, 2, 7])
def test_equal_rows_are_one_cluster(n, generator):
    starts = first_partitions(problem_of(torch.ones(n, 2).double()), "auto", generator)
    assert starts["k-means++"].tolist() == [0] * n
    assert starts["random"].max() < max(1, int(math.log2(1 + n)))


def test_same_seed_same_labels(groups):
    one, two = (
        first_partitions(problem_of(groups[0]), "auto", torch.Generator().manual_seed(8))
        for _ in range(2)
    )
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("given", [[9, 9, 4], np.array([9, 9, -4]), torch.tensor([1, 1, 7])])
def test_given_labels(given, generator):
    x = torch.zeros(3, 1, dtype=torch.float64)
    starts = first_partitions(problem_of(x), given, generator)
    assert list(starts) == ["given"]
    assert starts["given"].tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("start", "error", "words"),
    [
        ("k-means", ValueError, "start must be auto, k-means"),
        ([0, 1], ValueError, r"shape \(3,\), got \(2,\)"),
        ([0.0, 1.0, 2.0], ValueError, "start must be integers"),
        (None, TypeError, "start must be a tensor"),
    ],
)
def test_refusals(start, error, words, generator):
    with pytest.raises(error, match=words):
        first_partitions(problem_of(torch.zeros(3, 1).double()), start, generator)
