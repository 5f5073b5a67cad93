"""Midpoints and paths in the space of patterns: identities, who is best, refusals."""

import pytest
import torch
from torch import nn

from probact.analysis.midpoints import (
    conditional_geodesic,
    find_midpoints,
    gate_scores,
    halved_path,
    path_of,
)
from probact.analysis.patterns import pattern_at
from probact.datasets import digits
from probact.nn import train_classifier


@pytest.fixture(scope="module")
def trained():
    data = digits(train=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(),
            nn.Linear(64, 10),
        )  # fmt: skip
    x = data.floats()
    for _ in train_classifier(net, x, data.labels, epochs=10, seed=0):
        pass
    return net.eval(), x[:8], x[8:16]


def test_scores_are_signed_as_bits():
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8, 3),
        nn.Hardtanh(),
    ).eval()
    x = torch.randn(5, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(gate_scores(net, x) > 0, pattern_at(net, x).bits())


@pytest.mark.parametrize("algorithm", ["straight", "features", "masked", "agreed"])
def test_distances_and_their_identity(trained, algorithm):
    net, x0, x1 = trained
    found = find_midpoints(net, x0, x1, algorithm=algorithm, steps=20)
    bits = [pattern_at(net, x).bits() for x in (x0, found.z, x1)]
    assert torch.equal(found.to_first, (bits[0] != bits[1]).sum(1))
    assert torch.equal(found.to_second, (bits[1] != bits[2]).sum(1))
    agreed = (bits[0] == bits[2]) & (bits[0] != bits[1])
    assert torch.equal(found.wrong_units, agreed.sum(1))
    assert torch.equal(found.between, ~agreed.any(1))


def test_agreed_units_are_the_way(trained):
    net, x0, x1 = trained
    wrong = {
        name: find_midpoints(net, x0, x1, algorithm=name, norm=norm, steps=300)
        for name, norm in (("straight", 2), ("masked", 2), ("agreed", 2))
    }
    best = wrong["agreed"]
    assert bool(best.between.all())
    assert float(best.imbalance.double().mean()) < float(
        wrong["straight"].imbalance.double().mean()
    )
    assert float(wrong["masked"].wrong_units.double().mean()) > 10
    assert all(p.requires_grad for p in net.parameters())


def test_halved_path_is_a_geodesic(trained):
    net, x0, x1 = trained
    path = halved_path(net, x0[0], x1[0], depth=2, steps=300)
    assert path.points.shape[0] == 5
    assert torch.equal(path.points[0], x0[0])
    assert torch.equal(path.points[-1], x1[0])
    assert path.length == path.distance + 2 * path.excess
    straight = path_of(
        net, torch.stack([x0[0] + t * (x1[0] - x0[0]) for t in (0, 0.25, 0.5, 0.75, 1)])
    )
    assert path.distance == straight.distance
    assert path.excess <= straight.excess


def test_conditional_geodesic_lowers_the_energy_of_features(trained):
    net, x0, x1 = trained
    line = torch.stack([x0[0] + t * (x1[0] - x0[0]) for t in torch.linspace(0, 1, 9)])
    path = conditional_geodesic(net, x0[0], x1[0], num_steps=8, rounds=2, iterations=60)

    def energy(points):
        f = gate_scores(net, points).relu()
        return float((f[1:] - f[:-1]).square().sum())

    with torch.no_grad():
        assert energy(path.points) < energy(line)
    assert torch.equal(path.points[[0, -1]], line[[0, -1]])


def test_refusals(trained):
    net, x0, x1 = trained
    with pytest.raises(ValueError, match="algorithm must be one of"):
        find_midpoints(net, x0, x1, algorithm="best")
    with pytest.raises(ValueError, match="norm must be 1 or 2"):
        find_midpoints(net, x0, x1, norm=3)
    with pytest.raises(ValueError, match="must be batches of one shape"):
        find_midpoints(net, x0, x1[:2])
    with pytest.raises(ValueError, match="x0 has 1 row with NaN"):
        find_midpoints(net, x0.index_fill(0, torch.tensor([1]), float("nan")), x1)
    with pytest.raises(ValueError, match="only choices"):
        gate_scores(nn.MaxPool1d(2).eval(), torch.ones(1, 1, 4))
    with pytest.raises(ValueError, match="training mode"):
        find_midpoints(
            nn.Sequential(nn.Linear(2, 2), nn.Dropout(), nn.ReLU()), [[0.0, 1.0]], [[1.0, 0.0]]
        )
