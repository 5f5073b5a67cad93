"""Collapsed Gibbs as textbooks have it: every statistic anew for every point, by the oracle."""

import math
from types import SimpleNamespace

import numpy as np
import torch

from probact.inference.dirichlet.problem import pose
from probact.inference.dirichlet.state import DPState

__all__ = ["chain_state", "mixture_model", "textbook_sweep"]


def mixture_model(prior, concentration=1.5, scale_factor=None):
    """What a kernel reads off a model, from an oracle's prior."""
    base = SimpleNamespace(
        loc=torch.tensor(prior.mu0),
        kappa=prior.kappa0,
        scale=torch.tensor(prior.psi0),
        df=prior.nu0,
        diagonal=prior.diagonal,
    )
    return SimpleNamespace(base=base, concentration=concentration, scale_factor=scale_factor)


def chain_state(model, x, labels, alpha=1.0, scale_factor=1.0):
    """A state of the chain at given values."""
    problem = pose(model, torch.as_tensor(x))
    z = torch.as_tensor(np.array(labels))
    values = (torch.tensor(v, dtype=torch.float64) for v in (alpha, scale_factor))
    return DPState(z, *values, problem, {})


def textbook_sweep(x, z, alpha, prior, order, uniforms):
    """Neal (2000), algorithm 3: slots in their order, then the lowest free slot; labels (N,)."""
    z = np.unique(z, return_inverse=True)[1]
    for i, u in zip(order, uniforms, strict=True):
        old, z[i] = z[i], -1
        slots = np.unique(z[z >= 0])
        log_w = [math.log((z == k).sum()) + prior.log_predictive(x[i], x[z == k]) for k in slots]
        log_w.append(math.log(alpha) + prior.log_predictive(x[i], x[:0]))
        w = np.cumsum(np.exp(np.array(log_w) - max(log_w)))
        choice = int(np.searchsorted(w, u * w[-1], side="right"))
        fresh = next(k for k in range(len(z) + 1) if k not in slots)
        if old not in slots:
            fresh = old
        z[i] = slots[choice] if choice < len(slots) else fresh
    return z
