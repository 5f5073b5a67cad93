r"""One exact sweep of collapsed Gibbs over a full-covariance mixture, in blocks of B points.

The points of a block are whitened against all components by a few matrix products; then they are
drawn one after the other. A move of point i changes one component's L by a rank-one term (symbols
in `blocked_clusters`). With y~ = (y, kappa^-1/2), so that x~_j^T L^-1 x~_i = y~_j . y~_i = f_j,
and sign 1 to add and -1 to drop, the later points j of the block follow by

    r_j -= sign f_j^2 / (1 + sign f_i),    log|L| += log(1 + sign f_i),
    y~_j -= (1 - (1 + sign f_i)^-1/2) f_j / f_i y~_i

This is the chain of the textbook sampler (Neal 2000, algorithm 3), not an approximation. Weights
(Murphy 2012, eq. 4.215, and Sherman-Morrison), with c the constants of the Student-t density:

    i not in k:  log n_k + c(n_k) - log|L_k|/2 - (nu_0 + n_k + 1)/2 log1p(r_ik)
    i in k:      log(n_k - 1) + c(n_k - 1) - log|L_k|/2 + (nu_0 + n_k - 1)/2 log1p(-r_ik)
    new:         log alpha + c(0) - log|L_0|/2 - (nu_0 + 1)/2 log1p(r_i0)
"""

import math
from typing import NamedTuple

import numpy as np

from probact.compiled import compiled
from probact.inference.dirichlet.blocked_clusters import (
    LOSS,
    Clusters,
    Floats,
    Ints,
    Work,
    factorise,
    reset,
    shift,
    whiten,
)

__all__ = ["DONE", "FULL", "HARD", "NOTHING", "STALE", "Rules", "Scan", "draw_blocks", "weigh"]

DONE, HARD, FULL, STALE = 0, 1, 2, 3  # why draw_blocks came back
_CLOSEST = 1e-8  # 1 - r below this has lost half its digits
NOTHING = -80.0  # exp of less adds nothing to one, nor do all of 10^18 such terms


class Rules(NamedTuple):
    """What does not change during a sweep."""

    table: Floats  # (N + 1,) log n + c(n), and c(0) at 0
    log_new: Floats  # (N,) weights of a new component
    kappa: float
    df: float
    prior: Clusters  # one slot, without points


class Scan(NamedTuple):
    """Which points are drawn, in which order, with which uniforms."""

    x: Floats  # (N, D)
    z: Ints  # (N,) changes in place
    order: Ints  # (T,)
    uniforms: Floats  # (T,)
    forced: Ints  # (T,) labels to take instead of draws, or (0,)
    tally: Floats  # (4,) moves, births, deaths, log probability of the labels taken


@compiled
def weigh(
    weights: Floats,
    r: Floats,
    own: int,
    clusters: Clusters,
    rules: Rules,
    log_new: float,
    floor: float,
) -> bool:
    """Log weights of the slots and of a new component, given r (slots,); False if r misleads.

    own is the slot of the point, -1 for a point outside all; an option that is none is -inf. So
    is one that is `floor` (nats, negative) below another by 2r/(2 + r) <= log1p(r) already.
    """
    slots, df, best = len(r), rules.df, log_new
    weights[slots] = log_new
    if own >= 0:
        n = clusters.sizes[own]
        if n > 1:
            if not r[own] < 1.0 - _CLOSEST:
                return False
            gain = 0.5 * (df + n - 1) * math.log1p(-r[own])
            weights[own] = rules.table[n - 1] - 0.5 * clusters.log_dets[own] + gain
            best = max(best, weights[own])
        else:
            weights[own] = -np.inf
    for k in range(slots):
        n = clusters.sizes[k]
        if k == own:
            continue
        weights[k] = -np.inf
        if n > 0:
            weight = rules.table[n] - 0.5 * clusters.log_dets[k]
            half = 0.5 * (df + n + 1)
            if weight - half * 2.0 * r[k] / (2.0 + r[k]) >= best + floor:
                weights[k] = weight - half * math.log1p(r[k])
                best = max(best, weights[k])
    return True


@compiled
def exponentiate(weights: Floats, shares: Floats) -> tuple[float, float]:
    """Shares exp(weights - c), and c and the log of their sum."""
    best = weights[0]
    for weight in weights:
        best = max(best, weight)
    total = 0.0
    for k in range(len(weights)):
        gap = weights[k] - best
        shares[k] = math.exp(gap) if gap > NOTHING else 0.0
        total += shares[k]
    return best, total


@compiled
def choose(shares: Floats, total: float, uniform: float) -> int:
    """The option whose interval of the cumulative shares holds the uniform."""
    target, total, last = uniform * total, 0.0, 0
    for k in range(len(shares)):
        if shares[k] > 0.0:
            total += shares[k]
            last = k
            if total > target:
                break
    return last


@compiled
def carry(
    clusters: Clusters, work: Work, k: int, i: int, size: int, height: int, sign: int
) -> None:
    """Add or drop point i of the block in slot k: y and r of the later points, and log|L|."""
    f, y, lift, r = work.f, work.y, work.lift[k], work.r[k]
    for j in range(i, size):
        f[j] = lift[i] * lift[j]
    for p in range(y.shape[0]):
        for a in range(height):
            start = (k * height + a) * size
            row = y[p, start : start + size]
            here = row[i]
            for j in range(i, size):
                f[j] += here * row[j]
    factor = 1.0 + sign * f[i]
    shrink = (1.0 - 1.0 / math.sqrt(factor)) / f[i]
    for p in range(y.shape[0]):
        for a in range(height):
            start = (k * height + a) * size
            row = y[p, start : start + size]
            here = shrink * row[i]
            for j in range(i, size):
                row[j] -= here * f[j]
    here = shrink * lift[i]
    for j in range(i, size):
        lift[j] -= here * f[j]
        r[j] -= sign / factor * f[j] * f[j]
    clusters.log_dets[k] += math.log(factor)


@compiled
def bear(rules: Rules, clusters: Clusters, work: Work, xt: Floats, height: int) -> int:
    """Make the lowest free slot a component without points; -1 if none is free."""
    for k in range(len(clusters.sizes)):
        if clusters.sizes[k] == 0:
            reset(clusters, k, rules.prior, height)
            whiten(clusters, k, k + 1, height, xt, work)
            return k
    return -1


@compiled
def draw_block(
    scan: Scan, rules: Rules, clusters: Clusters, work: Work, start: int, size: int, height: int
) -> tuple[int, int]:
    """Draw points start..start + size of the order; how many were drawn, and why it ended."""
    slots = len(clusters.sizes)
    xt = work.xt[: clusters.offsets.shape[1] * size].reshape((clusters.offsets.shape[1], size))
    for j in range(size):
        xt[: scan.x.shape[1], j] = scan.x[scan.order[start + j]]
    top = slots
    while top > 0 and clusters.sizes[top - 1] == 0:
        top -= 1
    whiten(clusters, 0, top, height, xt, work)
    floor = -np.inf if len(scan.forced) > 0 else NOTHING
    for j in range(size):
        i = scan.order[start + j]
        old = scan.z[i]
        r, log_new = work.r[:top, j], rules.log_new[i]
        if not weigh(work.weights, r, old, clusters, rules, log_new, floor):
            return j, HARD
        best, total = exponentiate(work.weights[: top + 1], work.shares[: top + 1])
        if len(scan.forced) > 0:
            new = scan.forced[start + j]
        else:
            new = choose(work.shares[: top + 1], total, scan.uniforms[start + j])
        scan.tally[3] += work.weights[new] - best - math.log(total)
        born = new == top
        if born and clusters.sizes[old] == 1:
            new, born = old, False
        if new == old:
            continue
        if born:
            new = bear(rules, clusters, work, xt, height)
            if new < 0:
                return j, FULL
            top = max(top, new + 1)
        for k, sign in ((old, -1), (new, 1)):
            carry(clusters, work, k, j, size, height, sign)
            shift(clusters, k, scan.x[i], rules.kappa + clusters.sizes[k], sign)
        scan.z[i] = new
        scan.tally[0] += 1
        scan.tally[1] += born
        scan.tally[2] += clusters.sizes[old] == 0
    return size, DONE


@compiled
def draw_blocks(
    scan: Scan,
    rules: Rules,
    clusters: Clusters,
    work: Work,
    start: int,
    block: int,
    height: int,
) -> tuple[int, int]:
    """Draw the order from `start` on; where it stopped, and why.

    HARD: the next point's r is too near one. FULL: the next point wants a slot and none is free.
    STALE: slots marked stale could not be factorised. DONE: the end.
    """
    while start < len(scan.order):
        size = min(block, len(scan.order) - start)
        drawn, reason = draw_block(scan, rules, clusters, work, start, size, height)
        start += drawn
        for k in range(len(clusters.sizes)):
            if clusters.stale[k]:
                kappa = rules.kappa + clusters.sizes[k]
                if clusters.sizes[k] == 0:
                    clusters.stale[k] = False
                elif not factorise(clusters, k, kappa, height, LOSS):
                    reason = STALE
        if reason != DONE:
            return start, reason
    return start, DONE
