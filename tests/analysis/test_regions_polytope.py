"""Polytopes of regions: membership, noise radius, balls, faces, widths, reachability."""

import itertools
import math

import numpy as np
import pytest
import torch
from pattern_networks import hostile, mlp
from region_networks import in_place, polygon_of, pooled

from probact.analysis.patterns import pattern_at
from probact.analysis.regions import (
    Polytope,
    analytic_centre,
    chebyshev_ball,
    essential_faces,
    interior_point,
    noise_radius,
    reach,
    region,
    region_of_pattern,
    width,
)


def brute_corners(polytope):
    """Corners of a polygon: pairs of lines that meet inside."""
    n, c = polytope.normals.numpy(), polytope.offsets.numpy()
    if math.isfinite(polytope.box):
        centre = polytope.centre.numpy()
        n = np.vstack([n, np.eye(2), -np.eye(2)])
        c = np.concatenate([c, centre + polytope.box, polytope.box - centre])
    found = []
    for i, j in itertools.combinations(range(len(c)), 2):
        if abs(np.linalg.det(n[[i, j]])) > 1e-12:
            z = np.linalg.solve(n[[i, j]], c[[i, j]])
            if (n @ z <= c + 1e-9).all():
                found.append((z, i, j))
    return found


def perceptron():
    return mlp(6, 12, 12, 3), torch.randn(2, 6, dtype=torch.float64)


@pytest.mark.parametrize("made", [perceptron, hostile, pooled, in_place])
def test_noise_radius_both_ways(made, generator):
    net, x = made()
    x = x[0]
    here = pattern_at(net, x[None])
    polytope = region(net, x)
    radius = polytope.noise_radius(x.flatten())
    alone = noise_radius(net, x)
    assert alone.l2 == pytest.approx(radius.l2, rel=1e-9)
    assert alone.linf == pytest.approx(radius.linf, rel=1e-9)
    assert (alone.l2_unit, alone.linf_unit) == (radius.l2_unit, radius.linf_unit)
    assert radius.l2 > 0
    assert radius.linf <= radius.l2 <= math.sqrt(x.numel()) * radius.linf * (1 + 1e-12)
    u = torch.randn(500, x.numel(), dtype=torch.float64, generator=generator)
    u = u / u.norm(dim=1, keepdim=True)
    v = 2.0 * torch.rand(500, x.numel(), dtype=torch.float64, generator=generator) - 1.0
    v = torch.cat([v, v.sign()])
    for size, steps in ((radius.l2, u), (radius.linf, v)):
        inside = x + 0.9999 * size * steps.reshape(-1, *x.shape)
        assert bool(here.matches(pattern_at(net, inside)).all())
    for size, unit, norm in ((radius.l2, radius.l2_unit, 2), (radius.linf, radius.linf_unit, 1)):
        n = polytope.normals[int((polytope.units == unit).nonzero()[0, 0])]
        step = n / n.norm() if norm == 2 else n.sign()
        for factor, same in ((0.9999, True), (1.0001, False)):
            point = x + factor * size * step.reshape(x.shape)
            there = pattern_at(net, point[None])
            assert bool(here.matches(there)) == same
            assert bool(polytope.contains(point.flatten())) == same
        bits = here.bits(choices=True) ^ there.bits(choices=True)
        assert bool(bits[0, unit])


def test_rows_are_margins():
    """slack = the margins of replay = |pre-activations| at points of the region."""
    net, x = perceptron()
    polytope = region(net, x[0])
    h = net[0](x[0])
    second = net[2](torch.relu(h))
    expected = torch.cat([h, second]).abs().detach()
    assert polytope.units.tolist() == list(range(24))
    assert torch.allclose(polytope.slack(x[0]), expected, atol=1e-12)
    assert bool(polytope.contains(x).numpy()[0])


def test_region_of_random_points_is_where_the_pattern_is(generator):
    net = mlp(3, 5, 4, 2)
    x = torch.zeros(3, dtype=torch.float64)
    polytope, here = region(net, x), pattern_at(net, x[None])
    z = 2.0 * torch.randn(3000, 3, dtype=torch.float64, generator=generator)
    inside = polytope.contains(z)
    assert 10 < int(inside.sum()) < 2990
    assert torch.equal(inside, here.matches(pattern_at(net, z)))


def test_largest_ball():
    net, x = mlp(20, 32, 32, 32, 3), torch.randn(20, dtype=torch.float64)
    polytope = region(net, x, box=3.0)
    ball = chebyshev_ball(polytope)
    assert bool(pattern_at(net, x[None]).matches(pattern_at(net, ball.centre[None])))
    radius = polytope.noise_radius(x).l2
    assert ball.radius >= radius
    inside = polytope.noise_radius(ball.centre).l2
    to_box = 3.0 - float((ball.centre - x).abs().max())
    assert ball.radius == pytest.approx(min(inside, to_box), rel=1e-8)
    centre = analytic_centre(polytope, x)
    assert bool(polytope.contains(centre))
    assert torch.allclose(analytic_centre(polytope, ball.centre), centre, atol=1e-6)
    slack = torch.cat([polytope.slack(centre), 3.0 - (centre - x), 3.0 + (centre - x)])
    n = torch.cat([polytope.normals, torch.eye(20).double(), -torch.eye(20).double()])
    assert float((n / slack[:, None]).sum(0).norm()) < 1e-6 * float((n / slack[:, None]).norm())


def test_balls_of_known_polygons():
    triangle = polygon_of([[1.0, 1.0], [-1.0, 0.0], [0.0, -2.0]], [1.0, 0.0, 0.0])
    ball = chebyshev_ball(triangle)
    assert ball.radius == pytest.approx(1.0 / (2.0 + math.sqrt(2.0)), rel=1e-9)
    assert torch.allclose(ball.centre, torch.full((2,), ball.radius).double())
    half = polygon_of([[1.0, 0.0]], [-2.0])
    ball = chebyshev_ball(half)
    assert ball.radius == math.inf
    assert bool(half.contains(ball.centre))
    assert width(half, [0.0, 1.0]) == (-math.inf, math.inf)
    assert width(half, [1.0, 0.0])[0] == -math.inf
    assert width(half, [1.0, 0.0])[1] == pytest.approx(-2.0)
    centre = analytic_centre(polygon_of([[1.0, 0.0]], [1.0], box=1.0), [0.0, 0.0])
    assert centre.tolist() == pytest.approx([-1.0 / 3.0, 0.0], abs=1e-8)  # slacks twice 4/3, 2/3
    empty = polygon_of([[1.0, 0.0], [-1.0, 0.0]], [0.0, -1e-6])
    assert interior_point(empty) is None
    for call in (chebyshev_ball, essential_faces, lambda p: width(p, [1.0, 0.0])):
        with pytest.raises(ValueError, match="empty"):
            call(empty)


def test_faces_and_width_of_polygons():
    for seed in range(6):
        net = mlp(2, 8, 6, 2, seed=seed)
        x = torch.randn(2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        polytope = region(net, x, box=1.5)
        corners = brute_corners(polytope)
        rows = len(polytope.offsets)
        faces = sorted({k for _, i, j in corners for k in (i, j) if k < rows})
        assert essential_faces(polytope).tolist() == faces
        for u in ([1.0, 0.0], [0.6, -0.8]):
            values = [float(np.dot(u, z)) for z, _, _ in corners]
            assert width(polytope, u) == pytest.approx((min(values), max(values)), abs=1e-8)


def test_equal_rows_leave_one_face():
    square = [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]
    twice = polygon_of([*square, [2.0, 0.0], [1.0, 1.0], [0.0, 5.0]], [1, 1, 1, 1, 2, 2, 9])
    assert essential_faces(twice).tolist() == [0, 1, 2, 3]
    net, x = pooled(channels=1)  # a pooled unit that is off has the row of its ReLU
    polytope = region(net, x[0], box=1.0)
    faces = essential_faces(polytope)
    rows = polytope.normals / polytope.normals.norm(dim=1, keepdim=True)
    assert len(torch.unique(rows[faces].round(decimals=9), dim=0)) == len(faces)
    kept = Polytope(
        polytope.normals[faces], polytope.offsets[faces], faces, (36,), polytope.centre, 1.0
    )
    ball, again = chebyshev_ball(polytope), chebyshev_ball(kept)
    assert again.radius == pytest.approx(ball.radius, rel=1e-8)


def test_witness_has_the_pattern():
    net = mlp(6, 10, 10, 2, seed=4)
    rng = torch.Generator().manual_seed(0)
    x0, x1 = torch.randn(2, 6, dtype=torch.float64, generator=rng)
    a, b = pattern_at(net, x0[None]), pattern_at(net, x1[None])
    bits, differing = a.bits()[0], (a.bits() != b.bits())[0].nonzero().flatten()
    assert reach(net, b, x0).confirmed
    reached = 0
    for _ in range(12):
        half = bits.clone()
        flipped = torch.randperm(len(differing), generator=rng)[: len(differing) // 2]
        half[differing[flipped]] = ~bits[differing[flipped]]
        wanted = a.with_bits(half[None])
        witness = reach(net, wanted, x0)
        if witness is not None:
            reached += 1
            assert witness.confirmed
            assert torch.equal(pattern_at(net, witness.x[None]).bits()[0], half)
    assert reached > 0


def test_reach_decides_every_pattern():
    """A pattern has a witness where sampling or the corners of the plane find it, and else not."""
    net = mlp(2, 3, 2, 1, seed=1)
    first = pattern_at(net, torch.zeros(1, 2).double())
    z = 30.0 * torch.randn(200_000, 2, dtype=torch.float64).div(3.0).tan()
    sampled = {tuple(row) for row in torch.unique(pattern_at(net, z).bits(), dim=0).int().tolist()}
    found = set()
    for bits in itertools.product((0, 1), repeat=5):
        wanted = first.with_bits(torch.tensor([bits]).bool())
        witness = reach(net, wanted, torch.zeros(2).double())
        if witness is None:
            polytope = region_of_pattern(net, wanted, torch.zeros(2).double())
            assert interior_point(polytope) is None
        else:
            assert witness.confirmed
            found.add(bits)
    assert sampled == found
    assert len(found) < 32


def test_reach_within_a_box():
    net = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.ReLU()).double().eval()
    net[0].weight.data, net[0].bias.data = torch.ones(1, 1).double(), -5.0 * torch.ones(1).double()
    on = pattern_at(net, torch.full((1, 1), 9.0).double())
    zero = torch.zeros(1).double()
    assert reach(net, on, zero, box=4.9) is None
    assert reach(net, on, zero, box=5.1).confirmed
    net[0].weight.data.zero_()  # a unit that no input changes
    assert reach(net, on, zero) is None
    assert reach(net, on.with_bits(~on.bits()), zero).confirmed
