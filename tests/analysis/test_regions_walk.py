"""Hit-and-run: inside, uniform, seeded; and regions are wider than a rejection walk says."""

import math

import numpy as np
import pytest
import torch
from pattern_networks import mlp
from region_networks import polygon_of
from scipy import stats
from statcheck import batch_means_z, dkw_pvalue

from probact.analysis.patterns import pattern_at
from probact.analysis.regions import chebyshev_ball, hit_and_run, region


def test_moments_of_a_triangle(budget):
    triangle = polygon_of([[1.0, 1.0], [-1.0, 0.0], [0.0, -1.0]], [1.0, 0.0, 0.0], box=2.0)
    z = hit_and_run(triangle, [0.2, 0.2], draws=20_000, thin=3, tune=50, seed=1)[0].numpy()
    assert bool(triangle.contains(torch.from_numpy(z), tolerance=1e-12).all())
    for name, values, mean in (
        ("x", z[:, 0], 1 / 3), ("y", z[:, 1], 1 / 3), ("xy", z[:, 0] * z[:, 1], 1 / 12),
        ("xx", z[:, 0] ** 2, 1 / 6),
    ):  # fmt: skip
        score = batch_means_z(values, mean, n_batches=100)
        budget.check(f"triangle {name}", 2 * stats.t.sf(abs(score), 99))
    far = hit_and_run(triangle, [0.2, 0.2], draws=3000, thin=40, tune=50, seed=2)[0].numpy()
    budget.check("triangle, law of x", dkw_pvalue(far[:, 0], lambda x: 1 - (1 - x) ** 2))


def test_box_bounds_the_walk(budget):
    strip = polygon_of([[1.0, 0.0]], [0.0], box=1.0)
    z = hit_and_run(strip, [-0.5, 0.9], draws=3000, thin=40, seed=3, chains=2)
    assert z.shape == (2, 3000, 2)
    assert bool(strip.contains(z).all())
    budget.check("strip, x", dkw_pvalue(z[0, :, 0].numpy(), lambda x: np.clip(1 + x, 0, 1)))
    budget.check("strip, y", dkw_pvalue(z[1, :, 1].numpy(), lambda y: np.clip((1 + y) / 2, 0, 1)))


def test_walk_is_seeded_and_thinned(monkeypatch):
    from probact.analysis.regions import hit_and_run as module  # the function hides its module

    square = polygon_of([[1.0, 0.0]], [0.3], box=1.0)
    fine = hit_and_run(square, [0.0, 0.0], draws=60, seed=7)
    assert torch.equal(fine, hit_and_run(square, [0.0, 0.0], draws=60, seed=7))
    assert not torch.equal(fine, hit_and_run(square, [0.0, 0.0], draws=60, seed=8))
    some = hit_and_run(square, [0.0, 0.0], draws=16, thin=3, tune=12, seed=7)
    assert torch.equal(some[0], fine[0, 14::3])
    two = hit_and_run(square, [0.0, 0.0], draws=60, chains=2, seed=7)
    assert torch.equal(two[0], fine[0])
    assert not torch.equal(two[1], fine[0])
    monkeypatch.setitem(module.__globals__, "_BLOCK", 5 * 17)  # other blocks, same rules
    short = hit_and_run(square, [0.0, 0.0], draws=20, thin=3, tune=5, seed=7)
    assert bool(square.contains(short).all())
    assert len(torch.unique(short[0], dim=0)) == 20


def test_walk_against_a_plain_loop():
    """The same directions and uniforms through a loop over numpy arrays."""
    net, x = mlp(5, 12, 8, 2), torch.zeros(5, dtype=torch.float64)
    polytope = region(net, x, box=2.0)
    found = hit_and_run(polytope, x, draws=450, seed=4)[0].numpy()
    generator = torch.Generator().manual_seed(4)
    u = torch.randn(450, 5, dtype=torch.float64, generator=generator)
    u = (u / u.norm(dim=1, keepdim=True)).numpy()
    share = torch.rand(450, dtype=torch.float64, generator=generator).numpy()
    n = np.vstack([polytope.normals.numpy(), np.eye(5), -np.eye(5)])
    c = np.concatenate([polytope.offsets.numpy(), np.full(10, 2.0)])
    z = np.zeros(5)
    for t in range(450):
        rate, slack = n @ u[t], c - n @ z
        ahead, back = (slack / rate)[rate > 0].min(), (slack / rate)[rate < 0].max()
        z = z + (back + share[t] * (ahead - back)) * u[t]
        assert np.allclose(found[t], z, atol=1e-9)


def test_rounding_of_a_thin_region():
    """A needle of ratio 10^4: directions of its shape mix at once, others do not."""
    turn = torch.tensor([[1.0, 0.0], [1.0, 1e-4]]).double()
    n = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]).double()
    n = n @ torch.linalg.inv(turn)
    needle = polygon_of(n.tolist(), [1.0] * 4, box=5.0)
    spread = {}
    for name, shape in (("round", turn), ("plain", None)):
        z = hit_and_run(needle, [0.0, 0.0], draws=400, thin=5, seed=5, shape=shape)[0]
        spread[name] = float((z @ torch.linalg.inv(turn).T)[:, 0].std())
    assert spread["round"] == pytest.approx(1 / math.sqrt(3), rel=0.1)
    assert spread["plain"] < 0.5 * spread["round"]


def rejection_walk(net, x, generator, points=256, rounds=60):
    """Steps of uniform noise that is halved where few keep the pattern, as in the paper."""
    here, z, size = pattern_at(net, x[None]), x.expand(points, -1), 0.5
    for _ in range(rounds):
        noise = 2.0 * torch.rand(z.shape, dtype=torch.float64, generator=generator) - 1.0
        y = z + size * noise
        kept = here.matches(pattern_at(net, y))
        if not bool(kept.any()):
            z, size = x.expand(points, -1), size / 2
            continue
        size = size / 2 if float(kept.double().mean()) < 0.2 else size
        z = y[kept][torch.randint(int(kept.sum()), (points,), generator=generator)]
    return z


def test_regions_are_not_small(generator):
    net, x = mlp(20, 32, 32, 32, 3), torch.randn(20, dtype=torch.float64, generator=generator)
    polytope = region(net, x, box=3.0)
    ball = chebyshev_ball(polytope)
    walk = hit_and_run(polytope, ball.centre, draws=500, thin=20, tune=2000, seed=0)[0]
    assert bool(pattern_at(net, x[None]).matches(pattern_at(net, walk)).all())
    near = rejection_walk(net, x, generator)
    assert bool(polytope.contains(near).all())
    assert float(walk.std(0).mean()) > 2.0 * float(near.std(0).mean())
    assert ball.radius > 3.0 * polytope.noise_radius(x).l2
