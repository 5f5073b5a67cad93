"""Gibbs sweeps over the units of an Ising model, chain after chain, compiled."""

from typing import Any

import numpy as np

from probact.compiled import compiled

__all__ = ["unit_sweep"]


def _unit_sweep(a: Any, field: Any, coupling: Any, uniforms: Any) -> None:
    """One sweep over all units of every chain; a (M, n) float64 changes in place."""
    num_chains, num_units = a.shape
    for m in range(num_chains):
        for i in range(num_units):
            score = field[i]
            for j in range(num_units):
                score += coupling[i, j] * a[m, j]
            a[m, i] = 1.0 if uniforms[m, i] * (1.0 + np.exp(-score)) < 1.0 else 0.0


unit_sweep = compiled(_unit_sweep, fastmath={"reassoc", "contract"}, error_model="numpy")
