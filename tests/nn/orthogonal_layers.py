"""Weights and layers of chosen shapes, and how far rows are from orthogonal."""

import torch
from torch import Tensor, nn


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def off_diagonal(gram: Tensor) -> float:
    """Largest cosine of two different rows."""
    lengths = gram.diagonal().sqrt()
    cosines = gram / lengths / lengths[:, None]
    return float((cosines - cosines.diagonal().diag()).abs().max())


def linear(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> nn.Linear:
    layer = nn.Linear(shape[1], shape[0], dtype=dtype)
    layer.weight.data = draw(*shape, seed=seed, dtype=dtype)
    return layer
