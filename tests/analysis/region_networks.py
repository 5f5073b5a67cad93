"""Networks and polygons for the tests of linear regions."""

import math

import torch
from torch import nn

from probact.analysis.regions import Polytope


def pooled(channels=4):
    """Max-pooling of overlapping windows, behind ReLU, so that many choices are ties."""
    torch.manual_seed(2)
    layers = [nn.Conv2d(1, channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.Flatten()]
    net = nn.Sequential(*layers, nn.Linear(9 * channels, 8), nn.LeakyReLU(0.2), nn.Linear(8, 3))
    return net.double().eval(), torch.randn(5, 1, 6, 6, dtype=torch.float64)


def in_place():
    """The first call works on the input itself."""
    torch.manual_seed(3)
    net = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 3), nn.ReLU(inplace=True))
    return net.double().eval(), torch.randn(5, 4, dtype=torch.float64)


def polygon_of(normals, offsets, box=math.inf):
    """The polytope of rows n z <= c about zero."""
    n = torch.tensor(normals).double()
    c, centre = torch.tensor(offsets).double(), torch.zeros(n.shape[1]).double()
    return Polytope(n, c, torch.arange(len(c)), (n.shape[1],), centre, box)
