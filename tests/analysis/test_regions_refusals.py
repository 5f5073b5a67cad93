"""What regions refuse, in words."""

import math
import re

import pytest
import torch
from pattern_networks import mlp
from region_networks import polygon_of
from torch import nn

from probact.analysis.patterns import pattern_at
from probact.analysis.regions import (
    analytic_centre,
    arrangement_regions,
    chebyshev_ball,
    essential_faces,
    hit_and_run,
    local_affine,
    local_affine_maps,
    noise_radius,
    program_seconds,
    reach,
    region,
    region_of_pattern,
    region_upper_bound,
    slice_regions,
    traverse,
    width,
)

X = torch.zeros(3, dtype=torch.float64)
NET = mlp(3, 4, 2)
BY_NETWORK = {
    "local_affine": lambda net, x: local_affine(net, x),
    "noise_radius": lambda net, x: noise_radius(net, x),
    "region": lambda net, x: region(net, x),
    "traverse": lambda net, x: traverse(net, x, x),
    "slice_regions": lambda net, x: slice_regions(net, x, x, x),
    "reach": lambda net, x: reach(net, pattern_at(NET, X[None]), x),
}


@pytest.mark.parametrize("name", BY_NETWORK)
def test_bad_networks_and_inputs(name):
    call = BY_NETWORK[name]
    with pytest.raises(ValueError, match="training"):
        call(mlp(3, 4, 2).train(), X)
    with pytest.raises(ValueError, match="smooth"):
        call(nn.Sequential(nn.Linear(3, 2), nn.GELU()).double().eval(), X)
    with pytest.raises(ValueError, match="piecewise-linear"):
        call(nn.Linear(3, 2).double().eval(), X)
    with pytest.raises(TypeError, match="net must be a module"):
        call("net", X)
    with pytest.raises(ValueError, match="NaN"):
        call(NET, X * math.nan)
    with pytest.raises(ValueError, match="cannot take"):
        call(NET, X[:2])
    with pytest.raises(ValueError, match=r"float64 and the network torch.float32"):
        call(mlp(3, 4, 2).float(), X)
    with pytest.raises(TypeError, match="tensor, an array or a list"):
        call(NET, "x")
    with pytest.raises(ValueError, match="floating point"):
        call(NET, X.long())


def test_float32_is_refused_where_boundaries_matter():
    net, x = mlp(3, 4, 2).float(), X.float()
    for call in (lambda: traverse(net, x, x + 1), lambda: slice_regions(net, x, x, x)):
        with pytest.raises(ValueError, match=re.escape("net.double()")):
            call()
    assert local_affine(net, x).weight.dtype == torch.float32
    assert region(net, x + 0.3).normals.dtype == torch.float64


def test_curved_networks_are_refused():
    class Squared(nn.Module):
        def forward(self, x):
            return torch.relu(x) * x

    for name, call in BY_NETWORK.items():
        if name != "reach":
            with pytest.raises(ValueError, match="not affine"):
                call(Squared().eval(), X + 1.0)


def test_patterns_of_other_networks():
    other = pattern_at(mlp(3, 5, 2), X[None])
    with pytest.raises(ValueError, match="not of the same calls"):
        reach(NET, other, X)
    two = pattern_at(NET, torch.stack([X, X]))
    with pytest.raises(ValueError, match="one row"):
        region_of_pattern(NET, two, X)
    with pytest.raises(TypeError, match="pattern must be a Pattern"):
        region_of_pattern(NET, two.bits(), X)


def test_costs_are_told_before_they_are_paid():
    wide = region(mlp(300, 250, 2), torch.zeros(300, dtype=torch.float64), box=1.0)
    seconds = program_seconds(250 + 600, 300)
    for call, rows in ((chebyshev_ball, 1), (essential_faces, 251)):
        with pytest.raises(ValueError, match=r"about \d+ s, more than max_seconds=0.1") as told:
            call(wide, max_seconds=0.1)
        assert f"{rows * seconds:.0f} s" in str(told.value)
    with pytest.raises(ValueError, match="max_seconds=0"):
        width(wide, torch.ones(300), max_seconds=0.0)
    with pytest.raises(ValueError, match="max_seconds=0"):
        reach(NET, pattern_at(NET, X[None]), X, max_seconds=0.0)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: region(NET, X, box=0.0), "box"),
    (lambda: region(NET, X, box=math.nan), "box"),
    (lambda: local_affine_maps(NET, X[None], outputs=[2]), "outputs"),
    (lambda: local_affine_maps(NET, X[None], outputs=[]), "outputs"),
    (lambda: local_affine_maps(NET, X[None], outputs=[True]), "outputs"),
    (lambda: traverse(NET, X, X[:2]), "shapes"),
    (lambda: traverse(NET, X - 99, X + 99, max_regions=1), "max_regions=1"),
    (lambda: traverse(NET, X, X, max_regions=0), "max_regions"),
    (lambda: slice_regions(NET, X, X[:2], X), "one shape"),
    (lambda: slice_regions(NET, X, 9 * torch.eye(3).double()[0], torch.eye(3).double()[1],
                           max_regions=1), "max_regions=1"),
    (lambda: width(polygon_of([[1.0, 0.0]], [1.0]), [1.0]), "direction"),
    (lambda: polygon_of([[1.0, 0.0]], [1.0]).slack([1.0]), "columns"),
    (lambda: polygon_of([[1.0, 0.0]], [1.0]).noise_radius([[0.0, 0.0]]), "one point"),
    (lambda: hit_and_run(polygon_of([[1.0, 0.0]], [1.0]), [0.0, 0.0]), "finite"),
    (lambda: hit_and_run(polygon_of([[1.0, 0.0]], [1.0], 1.0), [0.0]), "start"),
    (lambda: hit_and_run(polygon_of([[1.0, 0.0]], [0.5], 1.0), [0.9, 0.0]), "inside"),
    (lambda: hit_and_run(polygon_of([[1.0, 0.0]], [1.0], 1.0), [0.0, 2.0]), "inside"),
    (lambda: hit_and_run(polygon_of([[1.0, 0.0]], [1.0], 1.0), [0.0, 0.0], draws=0), "draws"),
    (lambda: hit_and_run(polygon_of([[1.0, 0.0]], [1.0], 1.0), [0.0, 0.0], tune=-1), "tune"),
    (lambda: hit_and_run(polygon_of([[1.0, 0.0]], [1.0], 1.0), [0.0, 0.0],
                         shape=[[1.0, 1.0], [1.0, 1.0]]), "shape"),
    (lambda: analytic_centre(polygon_of([[1.0, 0.0]], [1.0]), [0.0, 0.0]), "finite"),
    (lambda: analytic_centre(polygon_of([[1.0, 0.0]], [1.0], 2.0), [1.0, 0.0]), "inside"),
    (lambda: analytic_centre(polygon_of([[1.0, 0.0]], [1.0], 2.0), [0.0]), "start"),
    (lambda: arrangement_regions(0, 1), "num_units"),
    (lambda: arrangement_regions(1, 1.5), "rank"),
    (lambda: region_upper_bound(2, []), "widths"),
    (lambda: region_upper_bound(2, [3, 0]), "widths"),
])  # fmt: skip
def test_bad_arguments(call, words):
    with pytest.raises(ValueError, match=words):
        call()
