"""Counts of regions: closed forms, their recurrence, exact counts, bounds."""

import itertools
import math

import numpy as np
import pytest
import torch
from pattern_networks import mlp

from probact.analysis.patterns import pattern_at
from probact.analysis.regions import (
    arrangement_regions,
    count_regions,
    region_upper_bound,
    slice_regions,
)


@pytest.mark.parametrize(
    ("units", "inputs", "regions"), [(6, 2, 22), (8, 2, 37), (6, 3, 42), (7, 3, 64)]
)
def test_one_layer(units, inputs, regions):
    found = count_regions(mlp(inputs, units, 1))
    assert found.regions == regions == arrangement_regions(units, inputs)
    assert regions == sum(math.comb(units, i) for i in range(inputs + 1))
    assert 0 < found.programs <= 2 * units * regions


def test_central_and_low_rank_layers():
    net = mlp(3, 6, 1)
    net[0].bias.data.zero_()
    assert count_regions(net).regions == 32 == arrangement_regions(6, 3, central=True)
    net = mlp(4, 6, 1)
    torch.manual_seed(5)
    net[0].weight.data = torch.randn(6, 2).double() @ torch.randn(2, 4).double()
    assert count_regions(net).regions == 22 == arrangement_regions(6, 2)
    net[0].weight.data.zero_()
    assert count_regions(net).regions == 1


def test_the_count_has_no_scale():
    for scale in (1e-15, 1e12):
        net = mlp(2, 6, 1)
        net[0].weight.data *= scale
        net[0].bias.data *= scale
        assert count_regions(net).regions == 22


def test_recurrence():
    """Equation 61 of the paper, for both kinds: only the start f(n, 1) tells them apart."""
    for central in (False, True):

        def f(n, r, central=central):
            return arrangement_regions(n, r, central=central)

        for n, r in itertools.product(range(1, 15), range(1, 12)):
            assert f(n + 1, r + 1) == f(n, r + 1) + f(n, r)
        for n in range(1, 12):
            assert f(n, n) == 2**n
            assert f(n, 1) == (2 if central else n + 1)


def grid_patterns(net, box, side):
    z = torch.linspace(-box, box, side, dtype=torch.float64)
    points = torch.cartesian_prod(z, z)
    return set(itertools.chain(*(pattern_at(net, p).keys() for p in points.split(50_000))))


def test_two_layers_against_a_grid_and_slices():
    net = mlp(2, 6, 6, 1, seed=3)
    whole = count_regions(net).regions
    inside = count_regions(net, box=3.0).regions
    grid = len(grid_patterns(net, 3.0, 200))
    plane = slice_regions(net, [0.0, 0.0], [3.0, 0.0], [0.0, 3.0])
    assert grid <= inside == len(plane.polygons) <= whole <= region_upper_bound(2, [6, 6])
    assert inside - grid <= 8
    assert count_regions(net, box=1e4).regions == whole


def test_patterns_of_two_layers_by_enumeration():
    """Every sign of every unit of a 2-3-2 net through its own linear program elsewhere."""
    from probact.analysis.regions import reach

    net = mlp(2, 3, 2, 1, seed=1)
    first = pattern_at(net, torch.zeros(1, 2).double())
    reached = 0
    for bits in itertools.product((False, True), repeat=5):
        reached += reach(net, first.with_bits(torch.tensor([bits])), [0.0, 0.0]) is not None
    assert count_regions(net).regions == reached


def serra(room, widths):
    if not widths:
        return 1
    n, *rest = widths
    return sum(math.comb(n, j) * serra(min(room, n - j), rest) for j in range(min(room, n) + 1))


def test_upper_bound():
    assert region_upper_bound(2, [6, 6]) == 484
    assert region_upper_bound(3, [7]) == 64
    for d, widths in ((1, [3, 4]), (3, [4, 2, 5]), (5, [3, 6])):
        assert region_upper_bound(d, widths) == serra(d, widths)
    rng = np.random.default_rng(0)
    for seed in range(4):
        widths = [int(n) for n in rng.integers(2, 6, 2)]
        net = mlp(2, *widths, 1, seed=seed)
        assert count_regions(net).regions <= region_upper_bound(2, widths)


def test_caps_say_what_was_found():
    with pytest.raises(ValueError, match=r"max_programs=10 .* 484|max_programs=10 .*4.8e\+02"):
        count_regions(mlp(2, 6, 6, 1), max_programs=10)
    with pytest.raises(ValueError, match=r"768 units on 784 inputs are too many .* \d+ s"):
        count_regions(mlp(784, 256, 256, 256, 10))


@pytest.mark.parametrize("net", [
    torch.nn.Linear(2, 2),
    torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Tanh()),
    torch.nn.Sequential(torch.nn.Linear(2, 2)),
    torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(2, 2)),
])  # fmt: skip
def test_other_networks_are_refused(net):
    with pytest.raises(TypeError, match="net"):
        count_regions(net)
