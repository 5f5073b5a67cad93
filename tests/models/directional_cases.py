"""Programs of directional laws and data for them, shared by their tests."""

from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from sphere_oracles import unit_rows, vmf_draws
from torch.distributions import Distribution

from probact.models import DirectionalModel

__all__ = ["F64", "build", "labelled", "prior_of"]

F64 = torch.float64


def labelled(dim: int, kappas: tuple[float, ...], rows: int) -> tuple[Any, np.ndarray, np.ndarray]:
    """Directions mu (C, D) and vMF data x (C * rows, D), y."""
    rng = np.random.default_rng(dim)
    mu = unit_rows(rng, len(kappas), dim)
    x = np.concatenate([vmf_draws(m, k, rows, rng) for m, k in zip(mu, kappas, strict=True)])
    return mu, x, np.repeat(np.arange(len(kappas)), rows)


def prior_of(classes: tuple[int, ...]) -> dist.LogNormal:
    return dist.LogNormal(torch.full(classes, 2.0, dtype=F64), torch.tensor(1.0, dtype=F64))


def build(family: Any, prior: Distribution, mu: np.ndarray | None, shape: Any) -> DirectionalModel:
    directions = None if mu is None else torch.tensor(mu)
    return DirectionalModel(
        family, prior, num_classes=shape[0], dim=shape[1], directions=directions
    )
