r"""Components of a full-covariance mixture as the blocked sweep keeps them: compiled, on the CPU.

Symbols, for a component of n points: kappa = kappa_0 + n, nu = nu_0 + n; m (D,) posterior mean and
S (D, D) posterior scale of its normal-inverse-Wishart law; W = chol(S)^-1, lower triangular. With
x~ = (x, 1), mean and scale are one augmented matrix

    L = [[S + kappa m m^T, kappa m], [kappa m^T, kappa]] = L_0 + sum_i x~_i x~_i^T
    r_i = x~_i^T L^-1 x~_i = |W (x_i - m)|^2 + 1/kappa,    log|L| = log|S| + log kappa

W is cut into panels of rows: panel p has `height` rows of each slot, one slot after the other, and
the (p + 1) height leading columns, right of which W is zero; D is padded with zeros up to a
multiple of the height. So whitening all slots is one matrix product a panel.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from probact.compiled import compiled

__all__ = [
    "LOSS",
    "Clusters",
    "Floats",
    "Ints",
    "SweepResult",
    "Work",
    "allocate",
    "collect",
    "factorise",
    "reset",
    "shift",
    "whiten",
]

LOSS = 1e-10  # of a pivot: ten of its digits have cancelled
_ROWS = 128  # members of a component in one matrix product

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class SweepResult(NamedTuple):
    """Labels after a sweep; log probability (nats) of the labels taken, one by one."""

    z: Ints  # (N,)
    moved: int
    born: int
    died: int
    log_prob: float


class Clusters(NamedTuple):
    """Slots of components; an empty slot's numbers mean nothing. Arrays change in place."""

    sizes: Ints  # (slots,)
    means: Floats  # (slots, D) m
    scales: Floats  # (slots, D, D) S; only the upper triangle is kept up
    log_dets: Floats  # (slots,) log|L|
    panels: Floats  # (panels in a row,) W
    offsets: Floats  # (slots, padded D) W m
    inv_kappa: Floats  # (slots,) 1/kappa when W was computed
    stale: NDArray[np.bool_]  # (slots,) m, S have changed since W was computed
    scratch: Floats  # (2, D, D)


class Work(NamedTuple):
    """Memory of a block of B points: y~ = (y, kappa^-1/2) with y = W (x - m), and r = |y~|^2."""

    xt: Floats  # (padded D x B,)
    y: Floats  # (panels, slots x height x B), a panel in the order slot, row, point
    r: Floats  # (slots, B)
    lift: Floats  # (slots, B) last coordinate of y~
    f: Floats  # (B,)
    weights: Floats  # (slots + 1,)
    shares: Floats  # (slots + 1,)


def allocate(slots: int, dim: int, height: int) -> Clusters:
    """Empty slots."""
    count = -(-dim // height)
    return Clusters(
        sizes=np.zeros(slots, np.int64),
        means=np.zeros((slots, dim)),
        scales=np.zeros((slots, dim, dim)),
        log_dets=np.zeros(slots),
        panels=np.zeros(slots * height * height * count * (count + 1) // 2),
        offsets=np.zeros((slots, count * height)),
        inv_kappa=np.zeros(slots),
        stale=np.zeros(slots, np.bool_),
        scratch=np.empty((2, dim, dim)),
    )


@compiled
def take(row: Floats, other: Floats, factor: float, first: int, last: int) -> None:
    """row -= factor other, from first to last."""
    for b in range(first, last):
        row[b] -= factor * other[b]


@compiled
def factorise(clusters: Clusters, k: int, kappa: float, height: int, loss: float) -> bool:
    """Compute W, W m and log|L| of slot k from m and S.

    False where S is not positive definite, or a pivot is less than `loss` of what it began as.
    """
    upper, inverse = clusters.scratch[0], clusters.scratch[1]
    scale, dim = clusters.scales[k], upper.shape[0]
    log_det = math.log(kappa)
    for a in range(dim):  # rows all along, so that every inner loop runs over memory in order
        row = upper[a]
        row[a:] = scale[a, a:]
        for c in range(a):
            take(row, upper[c], upper[c, a], a, dim)
        pivot = row[a]
        if not (pivot > loss * scale[a, a] and pivot < np.inf):
            return False
        log_det += math.log(pivot)
        row[a:] *= 1.0 / math.sqrt(pivot)
    for a in range(dim):
        row = inverse[a]
        row[: a + 1] = 0.0
        for c in range(a):
            take(row, inverse[c], upper[c, a], 0, c + 1)
        row[a] = 1.0
        row[: a + 1] *= 1.0 / upper[a, a]
    store(clusters, k, inverse, height)
    clusters.log_dets[k] = log_det
    clusters.inv_kappa[k] = 1.0 / kappa
    clusters.stale[k] = False
    return True


@compiled
def store(clusters: Clusters, k: int, inverse: Floats, height: int) -> None:
    """Write W (D, D) of slot k into its panels, and W m."""
    slots = len(clusters.sizes)
    for a in range(inverse.shape[0]):
        p = a // height
        width = (p + 1) * height
        start = slots * height * height * p * (p + 1) // 2 + (k * height + a - p * height) * width
        clusters.panels[start : start + a + 1] = inverse[a, : a + 1]
        offset = 0.0
        for b in range(a + 1):
            offset += inverse[a, b] * clusters.means[k, b]
        clusters.offsets[k, a] = offset


@compiled
def summarise(x: Floats, z: Ints, sizes: Ints, means: Floats, scatters: Floats) -> None:
    """Add up the sizes, means and scatters about the means of the slots z (N,); all begin at 0."""
    for i in range(len(z)):
        sizes[z[i]] += 1
        take(means[z[i]], x[i], -1.0, 0, x.shape[1])
    ends = sizes.cumsum()
    members = np.empty(len(z), np.int64)
    for i in range(len(z) - 1, -1, -1):
        ends[z[i]] -= 1  # now where the slot's members begin
        members[ends[z[i]]] = i
    rows, product = np.empty((_ROWS, x.shape[1])), np.empty((x.shape[1], x.shape[1]))
    for k in range(len(sizes)):
        n, mean = sizes[k], means[k]
        if n == 0:
            continue
        mean /= n
        for start in range(ends[k], ends[k] + n, _ROWS):
            count = min(_ROWS, ends[k] + n - start)
            part = rows[:count]
            for j in range(count):
                part[j] = x[members[start + j]]
                take(part[j], mean, 1.0, 0, len(mean))
            np.dot(part.T, part, product)
            scatters[k] += product


@compiled
def collect(clusters: Clusters, prior: Clusters, x: Floats, z: Ints, height: int) -> None:
    """All slots from the labels, centred at their means; `stale` where the factor fails."""
    kappa_0 = 1.0 / prior.inv_kappa[0]
    summarise(x, z, clusters.sizes, clusters.means, clusters.scales)
    for k in range(len(clusters.sizes)):
        n, mean, scale = clusters.sizes[k], clusters.means[k], clusters.scales[k]
        if n == 0:
            continue
        scale += prior.scales[0]
        gap = prior.means[0] - mean
        for a in range(len(gap)):
            take(scale[a], gap, -gap[a] * kappa_0 * n / (kappa_0 + n), a, len(gap))
        mean += kappa_0 / (kappa_0 + n) * gap
        clusters.stale[k] = True
        factorise(clusters, k, kappa_0 + n, height, LOSS)


@compiled
def reset(clusters: Clusters, k: int, prior: Clusters, height: int) -> None:
    """Make slot k an empty component: what the prior's only slot holds."""
    slots, count = len(clusters.sizes), clusters.offsets.shape[1] // height
    clusters.sizes[k] = 0
    clusters.means[k] = prior.means[0]
    clusters.scales[k] = prior.scales[0]
    clusters.log_dets[k] = prior.log_dets[0]
    clusters.offsets[k] = prior.offsets[0]
    clusters.inv_kappa[k] = prior.inv_kappa[0]
    for p in range(count):
        size = height * height * (p + 1)
        source = height * height * p * (p + 1) // 2
        start = slots * source + k * size
        clusters.panels[start : start + size] = prior.panels[source : source + size]


@compiled
def shift(clusters: Clusters, k: int, x: Floats, kappa: float, sign: int) -> None:
    """Add (sign 1) or drop (sign -1) the point x (D,); kappa is that before it."""
    mean, scale = clusters.means[k], clusters.scales[k]
    gap = x - mean
    weight = sign * kappa / (kappa + sign)
    for a in range(len(x)):
        take(scale[a], gap, -weight * gap[a], a, len(x))
    mean += sign / (kappa + sign) * gap
    clusters.sizes[k] += sign
    clusters.stale[k] = True


@compiled
def whiten(clusters: Clusters, first: int, last: int, height: int, xt: Floats, work: Work) -> None:
    """y~ and r of the points xt (padded D, B) in slots first..last."""
    slots, size = len(clusters.sizes), xt.shape[1]
    y, r = work.y, work.r
    for k in range(first, last):
        r[k, :size] = clusters.inv_kappa[k]
        work.lift[k, :size] = math.sqrt(clusters.inv_kappa[k])
    for p in range(xt.shape[0] // height):
        width = (p + 1) * height
        start = slots * height * height * p * (p + 1) // 2
        rows = clusters.panels[start + first * height * width : start + last * height * width]
        out = y[p, first * height * size : last * height * size]
        out = out.reshape(((last - first) * height, size))
        np.dot(rows.reshape(((last - first) * height, width)), xt[:width], out)
        for k in range(first, last):
            leverage = r[k]
            for a in range(height):
                offset = clusters.offsets[k, p * height + a]
                row = out[(k - first) * height + a]
                for j in range(size):
                    row[j] -= offset
                    leverage[j] += row[j] * row[j]
