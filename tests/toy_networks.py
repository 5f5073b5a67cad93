"""Small networks: one that is easy to compute by hand, and chains of named modules."""

import torch
from torch import nn


class Net(nn.Module):
    """A map, a pooled vector and a head, with everything that may leave traces."""

    def __init__(self, dtype=torch.float64):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, dtype=dtype)
        self.bn = nn.BatchNorm2d(5, dtype=dtype)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(5, 2, dtype=dtype)
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, image):
        self.passes += 1
        maps = self.relu(self.bn(self.conv(image)))
        return self.fc(self.drop(maps.mean((2, 3)) + 0 * torch.rand(1, dtype=maps.dtype)))


def images(n=7, dtype=torch.float64):
    return torch.randn(n, 3, 6, 6, dtype=dtype), torch.arange(n) % 3


def by_hand(net, x):
    """(penultimate features, averaged output of bn) in eval mode."""
    net.eval()
    with torch.no_grad():
        maps = net.bn(net.conv(x))
    net.train()
    return maps.clamp(min=0).mean((2, 3)), maps.mean((2, 3))


class Chain(nn.Module):
    """Modules under given names, run in the order of `order`."""

    def __init__(self, order=(), **modules):
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self.order = order or list(modules)

    def forward(self, x):
        for name in self.order:
            x = self.get_submodule(name)(x)
        return x


def trunk():
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU())
