"""One collapsed Gibbs sweep over the labels of a mixture of Bernoulli products, compiled.

Symbols: a (N, n) patterns; z (N,) labels; size (C,)
n_c; count (C, n) s_ci = sum of a_i in component c. With the probabilities and the weights summed
out (Beta(alpha, beta) and Dirichlet(c) priors), the other rows being given,

    p(z = c) ~ (n_c + conc) prod_i (s_ci + alpha)^a_i (n_c - s_ci + beta)^(1 - a_i)
               / (n_c + alpha + beta)
"""

from typing import Any

import numpy as np

from probact.compiled import compiled

__all__ = ["label_sweep", "label_weights"]


def _label_weights(
    row: Any, size: Any, count: Any, concentration: float, alpha: float, beta: float, weight: Any
) -> None:
    """Log weights (C,) of the labels of a row that is in no component, into `weight`."""
    num_components, num_units = count.shape
    for c in range(num_components):
        held, total = size[c], 1.0
        score = np.log(held + concentration) - num_units * np.log(held + alpha + beta)
        for i in range(num_units):
            factor = count[c, i] + alpha if row[i] else held - count[c, i] + beta
            total *= factor
            if total > 1e200 or total < 1e-200:
                score += np.log(total)
                total = 1.0
        weight[c] = score + np.log(total)


label_weights = compiled(_label_weights)


def _label_sweep(
    a: Any,
    z: Any,
    size: Any,
    count: Any,
    concentration: float,
    alpha: float,
    beta: float,
    uniforms: Any,
) -> None:
    """Change z, size and count in place, row after row."""
    num_components, num_units = count.shape
    weight = np.empty(num_components)
    for n in range(a.shape[0]):
        old = z[n]
        size[old] -= 1.0
        for i in range(num_units):
            count[old, i] -= a[n, i]
        label_weights(a[n], size, count, concentration, alpha, beta, weight)
        top = weight.max()
        total = 0.0
        for c in range(num_components):
            weight[c] = np.exp(weight[c] - top)
            total += weight[c]
        level, new, cdf = uniforms[n] * total, 0, weight[0]
        while new < num_components - 1 and level >= cdf:
            new += 1
            cdf += weight[new]
        z[n] = new
        size[new] += 1.0
        for i in range(num_units):
            count[new, i] += a[n, i]


label_sweep = compiled(_label_sweep)
