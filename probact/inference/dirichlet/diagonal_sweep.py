r"""One exact sweep of collapsed Gibbs over a mixture with diagonal covariances, point by point.

Symbols, for a component of n points and each of D independent coordinates: kappa = kappa_0 + n,
nu = nu_0 - D + 1 + n; m posterior mean and S posterior scale of its normal-inverse-gamma law. A
point moves a component in O(D). Weights, with c the constants of the Student-t density:

    i not in k:  log n + D c(n) - sum log S/2 - (nu + 1)/2 sum log(1 + q),
                 q = kappa/(kappa + 1) (x_i - m)^2/S
    i in k:      log(n - 1) + D c(n - 1) - sum log S/2 + (nu - 1)/2 sum log(1 - q),
                 q = kappa/(kappa - 1) (x_i - m)^2/S
    new:         log alpha + D c(0) - sum log S_0/2 - (nu + 1)/2 sum log(1 + q) under the prior
"""

import math
from functools import partial
from typing import NamedTuple

import numpy as np

from probact.compiled import compiled
from probact.inference.dirichlet.blocked_clusters import Floats, Ints
from probact.inference.dirichlet.blocked_sweep import Scan, choose, exponentiate

__all__ = ["Coordinates", "DiagonalRules", "collect", "draw_points", "weigh_point"]

_CLOSEST = 1e-8  # 1 - q below this has lost half its digits
_CHUNK = 32  # factors of a product before its logarithm


class DiagonalRules(NamedTuple):
    """What does not change during a sweep."""

    table: Floats  # (N + 1,) log n + D c(n), and D c(0) at 0
    log_alpha: float
    kappa: float
    df: float  # nu_0 - D + 1
    mean: Floats  # (D,) m_0
    scale: Floats  # (D,) s S_0


class Coordinates(NamedTuple):
    """Slots of components; arrays change in place. An empty slot holds the prior."""

    sizes: Ints  # (slots,)
    means: Floats  # (slots, D)
    scales: Floats  # (slots, D) S
    inverse: Floats  # (slots, D) 1/S
    log_dets: Floats  # (slots,) sum log S
    weights: Floats  # (slots + 1,)
    shares: Floats  # (slots + 1,)


@partial(compiled, fastmath={"reassoc", "contract"})
def log_product(x: Floats, mean: Floats, inverse: Floats, factor: float) -> float:
    """sum_d log(1 + factor (x - mean)^2 inverse), with few logarithms; NaN below _CLOSEST."""
    total = 0.0
    for start in range(0, len(x), _CHUNK):
        stop = min(start + _CHUNK, len(x))
        product, smallest = 1.0, 1.0
        for d in range(start, stop):
            gap = x[d] - mean[d]
            term = 1.0 + factor * gap * gap * inverse[d]
            smallest = min(smallest, term)
            product *= term
        if smallest < _CLOSEST:
            return math.nan
        if product < 1e300:
            total += math.log(product)
        else:
            for d in range(start, stop):
                gap = x[d] - mean[d]
                total += math.log1p(factor * gap * gap * inverse[d])
    return total


@compiled
def renew(clusters: Coordinates, k: int) -> None:
    """What follows from S of slot k."""
    total = 0.0
    for d in range(clusters.means.shape[1]):
        clusters.inverse[k, d] = 1.0 / clusters.scales[k, d]
        total += math.log(clusters.scales[k, d])
    clusters.log_dets[k] = total


@compiled
def collect(scan: Scan, rules: DiagonalRules, clusters: Coordinates, k: int, skip: int) -> None:
    """Slot k from its members in two passes, without the point `skip` (-1: with all)."""
    mean, scale, n = np.zeros(len(rules.mean)), rules.scale.copy(), 0
    for i in range(len(scan.z)):
        if scan.z[i] == k and i != skip:
            mean += scan.x[i]
            n += 1
    if n > 0:
        mean /= n
        scale += rules.kappa * n / (rules.kappa + n) * (mean - rules.mean) ** 2
    for i in range(len(scan.z)):
        if scan.z[i] == k and i != skip:
            scale += (scan.x[i] - mean) ** 2
    clusters.sizes[k] = n
    clusters.means[k] = mean + rules.kappa / (rules.kappa + n) * (rules.mean - mean)
    clusters.scales[k] = scale
    renew(clusters, k)


@compiled
def shift(clusters: Coordinates, k: int, x: Floats, kappa: float, sign: int) -> None:
    """Add (sign 1) or drop (sign -1) the point x (D,); kappa is that before it."""
    for d in range(len(x)):
        gap = x[d] - clusters.means[k, d]
        clusters.scales[k, d] += sign * kappa / (kappa + sign) * gap * gap
        clusters.means[k, d] += sign / (kappa + sign) * gap
    clusters.sizes[k] += sign
    renew(clusters, k)


@compiled
def weigh_point(clusters: Coordinates, rules: DiagonalRules, x: Floats, own: int) -> bool:
    """Log weights of all slots and of a new component; False where 1 - q of `own` is too small.

    own is the slot of the point, -1 for a point outside all; an option that is none is -inf.
    """
    slots, weights = len(clusters.sizes), clusters.weights
    for k in range(slots):
        n = clusters.sizes[k]
        if n == 0 or (k == own and n == 1):
            weights[k] = -np.inf
            continue
        kappa, sign = rules.kappa + n, -1 if k == own else 1
        factor = sign * kappa / (kappa + sign)
        total = log_product(x, clusters.means[k], clusters.inverse[k], factor)
        if not math.isfinite(total):
            return False
        half = 0.5 * (rules.df + n + sign)
        weights[k] = rules.table[n if sign > 0 else n - 1] - 0.5 * clusters.log_dets[k]
        weights[k] -= sign * half * total
    weights[slots] = -np.inf
    if rules.log_alpha > -np.inf:
        factor = rules.kappa / (rules.kappa + 1)
        total = log_product(x, rules.mean, 1.0 / rules.scale, factor)
        weights[slots] = rules.log_alpha + rules.table[0] - 0.5 * np.log(rules.scale).sum()
        weights[slots] -= 0.5 * (rules.df + 1) * total
    return True


@compiled
def draw_points(scan: Scan, rules: DiagonalRules, clusters: Coordinates, start: int) -> int:
    """Draw the order from `start` on; where it stopped for want of a free slot, or its length."""
    slots = len(clusters.sizes)
    for t in range(start, len(scan.order)):
        i = scan.order[t]
        old, x, inside = scan.z[i], scan.x[i], True
        if clusters.sizes.min() > 0:
            return t
        if not weigh_point(clusters, rules, x, old):
            collect(scan, rules, clusters, old, i)
            inside = False
            weigh_point(clusters, rules, x, -1)
        best, total = exponentiate(clusters.weights, clusters.shares)
        if len(scan.forced) > 0:
            new = scan.forced[t]
        else:
            new = choose(clusters.shares, total, scan.uniforms[t])
        scan.tally[3] += clusters.weights[new] - best - math.log(total)
        born = new == slots
        if born and clusters.sizes[old] == (1 if inside else 0):
            new, born = old, False
        if born:
            new = clusters.sizes.argmin()
            collect(scan, rules, clusters, new, i)
        if new != old and inside:
            shift(clusters, old, x, rules.kappa + clusters.sizes[old], -1)
        if new != old or not inside:
            shift(clusters, new, x, rules.kappa + clusters.sizes[new], 1)
        scan.z[i] = new
        scan.tally[0] += new != old
        scan.tally[1] += born
        scan.tally[2] += new != old and clusters.sizes[old] == 0
    return len(scan.order)
