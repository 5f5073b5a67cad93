"""One Gibbs sweep over codes, row after row and unit after unit, compiled.

Symbols: x (N, D); codes (N, K); mean (N, D) = m; units in the order of the sweep, with slopes
(K, R, D), own (K, R, R) <A_kr, A_ks> - |A_kr|^2 / 2 and log_weights (K, R); eta = 1/s2.
"""

from typing import Any

import numpy as np

from probact.compiled import compiled

__all__ = ["code_sweep"]


def _code_sweep(
    x: Any,
    codes: Any,
    mean: Any,
    units: Any,
    slopes: Any,
    own: Any,
    log_weights: Any,
    eta: float,
    uniforms: Any,
) -> None:
    """Change codes and mean in place."""
    num_rows, dim = x.shape
    num_units, num_regions = log_weights.shape
    residual, weight = np.empty(dim), np.empty(num_regions)
    for n in range(num_rows):
        for d in range(dim):
            residual[d] = x[n, d] - mean[n, d]
        for j in range(num_units):
            k = units[j]
            old = codes[n, k]
            top = -np.inf
            for r in range(num_regions):
                score = 0.0
                for d in range(dim):
                    score += residual[d] * slopes[j, r, d]
                weight[r] = eta * (score + own[j, r, old]) + log_weights[j, r]
                top = max(top, weight[r])
            total = 0.0
            for r in range(num_regions):
                weight[r] = np.exp(weight[r] - top)
                total += weight[r]
            level, new, cdf = uniforms[n, k] * total, 0, weight[0]
            while new < num_regions - 1 and level >= cdf:
                new += 1
                cdf += weight[new]
            if new != old:
                codes[n, k] = new
                for d in range(dim):
                    residual[d] += slopes[j, old, d] - slopes[j, new, d]
        for d in range(dim):
            mean[n, d] = x[n, d] - residual[d]


code_sweep = compiled(
    _code_sweep, fastmath={"reassoc", "contract"}
)  # vectors in the inner product
