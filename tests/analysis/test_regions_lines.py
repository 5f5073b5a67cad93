"""Lines and planes through regions, against dense grids."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from pattern_networks import Call, hostile, mlp
from region_networks import pooled
from torch import nn

from probact.analysis.patterns import pattern_at
from probact.analysis.regions import count_regions, slice_regions, traverse


def grid_flips(net, x0, x1, points=20_001, choices=False):
    t = torch.linspace(0, 1, points, dtype=torch.float64).reshape(-1, *([1] * x0.ndim))
    parts = [pattern_at(net, x0 + part * (x1 - x0)) for part in t.split(2000)]
    bits = torch.cat([part.bits(choices=choices) for part in parts])
    changed = bits[1:] != bits[:-1]
    return int(changed.sum()), int(changed.any(1).sum()), int((bits[0] != bits[-1]).sum())


@pytest.mark.parametrize("widths", [(20, 32, 3), (20, 32, 32, 32, 3)])
def test_lines_against_a_grid(widths):
    for seed in range(3):
        net = mlp(*widths, seed=seed)
        x0, x1 = torch.randn(2, 20, dtype=torch.float64)
        line = traverse(net, x0, x1)
        flips, steps, distance = grid_flips(net, x0, x1)
        assert (line.num_flips, line.distance) == (flips, distance)
        assert line.num_regions >= steps + 1  # a step of the grid may hold two crossings
        if len(widths) == 3:  # every hyperplane is met at most once
            assert line.num_flips == line.distance
            assert line.detour == 0.0
        assert line.detour == 0.5 * (line.num_flips - line.distance)
        ends = [0.0, *line.crossings.tolist(), 1.0]
        assert ends == sorted(ends)
        middle = torch.tensor([0.5 * (a + b) for a, b in pairwise(ends)])
        bits = pattern_at(net, x0 + middle[:, None] * (x1 - x0)).bits()
        assert torch.equal(bits[:1], pattern_at(net, x0[None]).bits())
        for r, flipped in enumerate(line.flips):
            assert (bits[r] != bits[r + 1]).nonzero().flatten().tolist() == flipped.tolist()


@pytest.mark.parametrize("made", [hostile, pooled])
def test_lines_of_convolutions(made):
    net, x = made()
    far = x[1] if made is pooled else x[0] + 0.05 * (x[1] - x[0])
    for choices in (False, True):
        line = traverse(net, x[0], far, choices=choices)
        flips, _, distance = grid_flips(net, x[0], far, 2001, choices)
        assert (line.num_flips, line.distance) == (flips, distance)
        assert line.num_flips > 10


def test_lines_of_pools_alone():
    net = Call(lambda x: torch.max_pool1d(x[:, None], 3)).eval()
    x0, x1 = [3.0, 2.0, 1.0], [1.0, 2.0, 2.5]
    line = traverse(net, x0, x1)
    assert line.crossings.tolist() == pytest.approx([1.0 / 2.0, 2.0 / 3.0])
    assert line.num_flips == line.distance == 0
    line = traverse(net, x0, x1, choices=True)
    assert [flips.tolist() for flips in line.flips] == [[0, 1], [1, 2]]
    assert (line.distance, line.detour) == (2, 1.0)


def test_ends_on_a_boundary():
    net = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1)).double().eval()
    net[0].weight.data, net[0].bias.data = torch.ones(1, 1).double(), torch.zeros(1).double()
    for x0, x1, crossings in (
        (0.0, 1.0, [0.0]), (1.0, 0.0, [1.0]), (0.0, -1.0, []), (-1.0, 0.0, []),
        (-1.0, 1.0, [0.5]), (1.0, 1.0, []), (0.0, 0.0, []),
    ):  # fmt: skip
        line = traverse(net, [x0], [x1])
        assert line.crossings.tolist() == crossings
        assert line.num_flips == line.distance == len(crossings)
        assert line.detour == 0.0


def test_all_hyperplanes_at_once():
    """Without biases a line through zero meets all hyperplanes there."""
    net = mlp(4, 9, 7, 2)
    for module in net:
        if isinstance(module, nn.Linear):
            module.bias.data.zero_()
    x = torch.randn(4, dtype=torch.float64)
    line = traverse(net, -x, x)
    assert line.crossings.tolist() == pytest.approx([0.5])
    assert line.num_flips == line.distance >= 9


def area(polygon):
    x, y = polygon.T
    return 0.5 * (x @ np.roll(y, -1) - y @ np.roll(x, -1))


def centroid(polygon):
    triangles = [(polygon[0], polygon[k], polygon[k + 1]) for k in range(1, len(polygon) - 1)]
    sizes = np.array([np.linalg.det(np.stack([b - a, c - a])) for a, b, c in triangles])
    return (np.array([sum(t) / 3 for t in triangles]) * sizes[:, None]).sum(0) / sizes.sum()


def check_slice(net, origin, u, v, found):
    assert found.covered == pytest.approx(1.0, abs=1e-9)
    areas = [area(polygon) for polygon in found.polygons]
    assert min(areas) > 0.0  # counter-clockwise
    assert sum(areas) == pytest.approx(4.0, abs=1e-9)
    assert len(set(found.keys)) == len(found.keys) == len(found.polygons)
    middle = torch.tensor(np.array([centroid(polygon) for polygon in found.polygons]))
    shape = (-1, *([1] * origin.ndim))
    x = origin + middle[:, 0].reshape(shape) * u + middle[:, 1].reshape(shape) * v
    assert pattern_at(net, x).keys() == found.keys


def test_slices_of_two_inputs_are_all_regions():
    u, v = 2.0 * torch.eye(2, dtype=torch.float64)
    origin = torch.zeros(2, dtype=torch.float64)
    for seed, widths in enumerate([(2, 7, 1), (2, 6, 6, 1), (2, 5, 5, 5, 1)]):
        net = mlp(*widths, seed=seed)
        found = slice_regions(net, origin, u, v)
        check_slice(net, origin, u, v, found)
        assert len(found.polygons) == count_regions(net, box=2.0).regions


def test_slices_of_many_inputs():
    net = mlp(20, 30, 30, 3)
    origin, u, v = torch.randn(3, 20, dtype=torch.float64)
    found = slice_regions(net, origin, u, v)
    check_slice(net, origin, u, v, found)
    side = torch.linspace(-1, 1, 200, dtype=torch.float64)
    s, t = (g.flatten()[:, None] for g in torch.meshgrid(side, side, indexing="ij"))
    grid = set(pattern_at(net, origin + s * u + t * v).keys())
    assert grid <= set(found.keys)
    assert len(found.keys) < 1.2 * len(grid)


def test_slices_with_pools_and_with_a_start_on_a_boundary():
    net, x = pooled(channels=1)
    u, v = x[1] - x[0], x[2] - x[0]
    check_slice(net, x[0], u, v, slice_regions(net, x[0], u, v))
    diagonal = Call(lambda x: torch.relu(x[:, :1] - x[:, 1:])).eval()
    origin, (u, v) = torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)
    found = slice_regions(diagonal, origin, u, v)
    check_slice(diagonal, origin, u, v, found)
    assert len(found.polygons) == 2
