"""Steps of hit-and-run in a polytope, compiled.

Symbols: {z : n_j z <= c_j} with box bounds; slack = c - n z, kept along in O(m) a step and
computed afresh now and then against the drift of its updates; rates (T, m) = directions n^T.
"""

from typing import Any

import numpy as np

from probact.compiled import compiled

__all__ = ["hit_and_run_steps"]


def _hit_and_run_steps(
    normals: Any,
    offsets: Any,
    low: Any,
    high: Any,
    z: Any,
    directions: Any,
    rates: Any,
    uniforms: Any,
    path: Any,
    refresh: int,
) -> None:
    """Move z (D,) in place, a step for each direction (T, D) and uniform (T,); path (T, D)."""
    num_rows, dim = normals.shape
    slack = offsets - np.dot(normals, z)
    for t in range(len(directions)):
        if t % refresh == 0:
            slack = offsets - np.dot(normals, z)
        ahead, back = np.inf, -np.inf
        for j in range(num_rows):
            rate = rates[t, j]
            if rate > 0.0:
                ahead = min(ahead, slack[j] / rate)
            elif rate < 0.0:
                back = max(back, slack[j] / rate)
        for d in range(dim):
            u = directions[t, d]
            if u > 0.0:
                ahead = min(ahead, (high[d] - z[d]) / u)
                back = max(back, (low[d] - z[d]) / u)
            elif u < 0.0:
                ahead = min(ahead, (low[d] - z[d]) / u)
                back = max(back, (high[d] - z[d]) / u)
        if back <= 0.0 <= ahead and np.isfinite(ahead - back):  # else on a face, by rounding
            step = back + uniforms[t] * (ahead - back)
            for d in range(dim):
                z[d] += step * directions[t, d]
            for j in range(num_rows):
                slack[j] -= step * rates[t, j]
        path[t] = z


hit_and_run_steps = compiled(_hit_and_run_steps)
