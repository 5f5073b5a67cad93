"""Inputs of given patterns: found where there are, shown impossible where not, refusals."""

import itertools

import pytest
import torch
from torch import nn

from probact.analysis.midpoints import conditional_geodesic, find_midpoints, realise
from probact.analysis.patterns import pattern_at


def small(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2)]
    return nn.Sequential(*layers).double().eval()


def inputs(count, seed=1):
    return torch.randn(
        count, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


def test_search_finds_patterns_that_exist():
    net, there = small(), inputs(20)
    bits = pattern_at(net, there).bits()
    found = realise(net, bits, torch.zeros_like(there), margin=0.01)
    got = pattern_at(net, found.x).bits()
    assert torch.equal(found.missed, (got != bits).sum(1))
    assert float((found.missed == 0).double().mean()) >= 0.7
    assert found.possible is None
    assert all(p.requires_grad for p in net.parameters())
    at_home = realise(net, bits, there, steps=1)
    assert torch.equal(at_home.x, there)
    assert int(at_home.missed.sum()) == 0


def test_programs_decide():
    """Every pattern of a line's three hinges: four are possible of eight."""
    net = nn.Sequential(nn.Linear(1, 3), nn.ReLU()).double().eval()
    net[0].weight.data = torch.ones(3, 1).double()
    net[0].bias.data = torch.tensor([1.0, 0.0, -1.0]).double()
    bits = torch.tensor(list(itertools.product((0, 1), repeat=3)))
    found = realise(net, bits, torch.zeros(8, 1).double(), method="program")
    ordered = (bits.diff(dim=1) <= 0).all(1)
    assert torch.equal(found.possible, ordered)
    assert torch.equal(found.missed == 0, ordered)
    searched = realise(net, bits, torch.zeros(8, 1).double(), margin=0.1)
    assert torch.equal(searched.missed == 0, ordered)


def test_programs_find_what_a_deep_network_has():
    net, there = small(), inputs(10)
    bits = pattern_at(net, there).bits()
    found = realise(net, bits, inputs(10, seed=2), method="program")
    assert bool(found.possible.all())
    assert torch.equal(pattern_at(net, found.x).bits(), bits)


def test_one_layer_and_limits():
    net, there = small(), inputs(12)
    bits = pattern_at(net, there).bits(["3"])
    found = realise(net, bits, torch.zeros_like(there), layer="3", limits=(-2.0, 1.5))
    assert torch.equal(found.missed, (pattern_at(net, found.x).bits(["3"]) != bits).sum(1))
    assert float(found.missed.double().mean()) < 0.5
    assert -2.0 <= float(found.x.min()) <= float(found.x.max()) <= 1.5


def test_searches_under_inference_mode():
    net, there = small(), inputs(4)
    bits = pattern_at(net, there).bits()

    def searches():
        yield realise(net, bits, there.flip(0), steps=5).x
        for algorithm in ("features", "masked", "agreed"):
            yield find_midpoints(net, there, there.flip(0), algorithm=algorithm, steps=3).z
        yield conditional_geodesic(
            net, there[0], there[1], num_steps=3, rounds=1, iterations=3
        ).points

    want = list(searches())
    with torch.inference_mode():
        found = list(searches())
    assert all(torch.equal(a, b) for a, b in zip(found, want, strict=True))


def test_refusals():
    net, x = small(), inputs(2)
    bits = pattern_at(net, x).bits()
    with pytest.raises(ValueError, match="method must be search or program"):
        realise(net, bits, x, method="gradient")
    with pytest.raises(ValueError, match=r"bits must be \(2, 9\), a row a start, got \(2, 8\)"):
        realise(net, bits[:, :8], x)
    with pytest.raises(ValueError, match=r"bits must be \(2, 9\)"):
        realise(net, bits[:1], x)
    with pytest.raises(ValueError, match="bits must hold 0 and 1 alone"):
        realise(net, bits * 2, x)
    with pytest.raises(ValueError, match="start has 2 rows with NaN"):
        realise(net, bits, x * float("nan"))
    with pytest.raises(ValueError, match="layers names 'conv': no such gate"):
        realise(net, bits, x, layer="conv")
    with pytest.raises(ValueError, match="a program takes bits of all layers"):
        realise(net, bits[:, 5:], x, layer="3", method="program")
    for limits in ((1.0, 0.0), 3.0, (0.0, float("nan"))):
        with pytest.raises(ValueError, match="limits must be"):
            realise(net, bits, x, limits=limits)
    with pytest.raises(ValueError, match="x1 must be floating point"):
        conditional_geodesic(net, x[0], [0, 1, 1])
