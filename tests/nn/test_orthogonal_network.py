"""Orthogonal filters throughout a network."""

import pytest
import torch
from orthogonal_layers import off_diagonal
from torch import nn

from probact.nn import accuracy
from probact.nn.orthogonal.network import orthogonalize_network


def network() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 12, 3), nn.ReLU(), nn.Conv2d(12, 8, 3), nn.Flatten())
    net.append(nn.Sequential(nn.Linear(128, 16), nn.Tanh(), nn.Linear(16, 16)))
    net.append(nn.Unflatten(1, (1, 16)))
    net.append(nn.ConvTranspose1d(1, 2, 2))
    net.append(nn.Flatten())
    net.append(nn.Linear(34, 10))
    return net


def test_network_says_what_it_took() -> None:
    net = network()
    taken, left = orthogonalize_network(net, skip=["8"])
    assert taken == ("2", "4.0", "4.2")
    assert set(left) == {"0", "6", "8"}
    assert left["8"] == "skipped"
    assert 'pass groups="auto"' in left["0"]
    assert left["6"].startswith("ConvTranspose1d has no filters")
    assert off_diagonal(net[4][0].weight.detach() @ net[4][0].weight.detach().T) < 1e-6
    again = orthogonalize_network(net, groups="auto", skip=["8"])
    assert again.taken == ("0",)
    assert again.left["2"].startswith("weight is parametrized already")
    assert set(again.left) == {"2", "4.0", "4.2", "6", "8"}
    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert 0.0 <= accuracy(net, images, torch.arange(6)) <= 1.0


def test_network_skips_whole_parts_and_leaves_ties() -> None:
    net = network()
    assert orthogonalize_network(net, skip=["4", "8"]).taken == ("2",)
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    tied[2].weight = tied[0].weight
    record = orthogonalize_network(tied)
    assert record.taken == ("1",)
    assert record.left["2"] == "shares its weight with 0"
    assert tied[2].weight is tied[0].weight


def test_network_refusals() -> None:
    with pytest.raises(TypeError, match=r"net must be a torch\.nn\.Module, got str"):
        orthogonalize_network("net")
    with pytest.raises(TypeError, match="skip must be a list of names, got '7'"):
        orthogonalize_network(network(), skip="7")
    with pytest.raises(ValueError, match="skip names head: the network has no such module"):
        orthogonalize_network(network(), skip=["head"])
    with pytest.raises(ValueError, match="norm must be one of"):
        orthogonalize_network(nn.ReLU(), norm="no")
