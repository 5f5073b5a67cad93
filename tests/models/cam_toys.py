"""Small networks and images that tests of node maps share."""

import torch
from torch import Tensor, nn

__all__ = ["flat_net", "gap_net", "images"]


def gap_net(channels: int = 32, classes: int = 5, pool: nn.Module | None = None) -> nn.Sequential:
    """float64: two convolutions, average pooling and a linear head."""
    torch.manual_seed(channels)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, channels, 3, padding=1), nn.ReLU(),
        pool or nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes),
    ).double()  # fmt: skip


def flat_net() -> nn.Sequential:
    """float64: the head reads every position of the map."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(6 * 36, 20), nn.ReLU(),
        nn.Linear(20, 4),
    ).double()  # fmt: skip


def images(n: int = 2, side: int = 6) -> Tensor:
    stream = torch.Generator().manual_seed(5)
    return torch.randn(n, 3, side, side, dtype=torch.float64, generator=stream)
