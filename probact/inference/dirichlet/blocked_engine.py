r"""The arrays of a blocked sweep: how they are made, and mended where the compiled loop stops.

Two rare events leave the compiled loop: an r too near one, where a point is all that holds a
component's scale open, and a scale whose Cholesky factor fails. Then the component is factorised
by QR from its members, centred at their mean, and the point is drawn with itself left out; nothing
is clamped.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular

from probact.inference.dirichlet.blocked_clusters import (
    Clusters,
    Floats,
    Work,
    allocate,
    collect,
    store,
    whiten,
)
from probact.inference.dirichlet.blocked_sweep import Rules, Scan, choose, exponentiate, weigh

__all__ = [
    "Engine",
    "build",
    "draw_alone",
    "grow",
    "leverages",
    "mend",
    "panel_height",
    "take_out",
]


class Engine(NamedTuple):
    """A sweep's arrays."""

    scan: Scan
    rules: Rules
    clusters: Clusters
    work: Work
    height: int


def panel_height(d: int) -> int:
    """Rows of W in one panel."""
    return max(1, -(-d // max(1, min(4, d // 8))))


def build(rules: Rules, scan: Scan, slots: int, block: int) -> Engine:
    """Everything from the labels."""
    d = scan.x.shape[1]
    height = panel_height(d)
    clusters = allocate(slots, d, height)
    work = workspace(slots, block, clusters.offsets.shape[1], height)
    engine = Engine(scan, rules, clusters, work, height)
    collect(clusters, rules.prior, scan.x, scan.z, height)
    mend(engine)
    return engine


def mend(engine: Engine) -> None:
    """Rebuild the slots whose scale could not be factorised."""
    for k in np.flatnonzero(engine.clusters.stale):
        rebuild(engine, int(k))


def workspace(slots: int, block: int, padded: int, height: int) -> Work:
    return Work(
        xt=np.zeros(padded * block),
        y=np.empty((padded // height, slots * height * block)),
        r=np.empty((slots, block)),
        lift=np.empty((slots, block)),
        f=np.empty(block),
        weights=np.empty(slots + 1),
        shares=np.empty(slots + 1),
    )


def centred(engine: Engine, k: int, x: Floats) -> tuple[Floats, Floats]:
    """Rows (n, D) and gap (D,), S = s S_0 + rows^T rows + gap gap^T, from members x (n, D).

    Sets n and m; x is overwritten.
    """
    rules, clusters = engine.rules, engine.clusters
    n, mean = len(x), x.mean(0)
    kappa = rules.kappa + n
    gap = rules.prior.means[0] - mean
    clusters.sizes[k] = n
    clusters.means[k] = mean + rules.kappa / kappa * gap
    x -= mean
    return x, math.sqrt(rules.kappa * n / kappa) * gap


def rebuild(engine: Engine, k: int) -> None:
    """Slot k from its members by QR, where the scale itself has lost too many digits."""
    scan = engine.scan
    fill(engine, k, scan.x[scan.z == k])


def fill(engine: Engine, k: int, x: Floats) -> None:
    clusters = engine.clusters
    rows, gap = centred(engine, k, x)
    kappa = engine.rules.kappa + len(x)
    root = np.linalg.cholesky(engine.rules.prior.scales[0]).T
    upper = np.linalg.qr(np.vstack([root, rows, gap]), mode="r")  # S = upper^T upper
    pivots = np.abs(np.diagonal(upper))
    if not (np.isfinite(upper).all() and (pivots > 0).all()):
        raise ValueError(
            f"component {k} ({len(x)} points) has a scale matrix that float64 cannot hold:"
            " x spreads too far for the prior's scale"
        )
    upper = upper * np.sign(np.diagonal(upper))[:, None]
    inverse = solve_triangular(upper, np.eye(len(upper)), trans="T")
    clusters.scales[k] = upper.T @ upper
    store(clusters, k, np.ascontiguousarray(inverse), engine.height)
    clusters.log_dets[k] = 2 * np.log(pivots).sum() + math.log(kappa)
    clusters.inv_kappa[k] = 1 / kappa
    clusters.stale[k] = False


def grow(engine: Engine) -> Engine:
    """Twice as many slots."""
    old, height = engine.clusters, engine.height
    slots, d = old.means.shape
    clusters = allocate(2 * slots, d, height)
    for new_array, array in zip(clusters, old, strict=True):
        if array is not old.panels and array is not old.scratch:
            new_array[:slots] = array
    for p in range(old.offsets.shape[1] // height):
        unit = height * height * (p + 1)  # numbers of one slot in the panel
        source = slots * height * height * p * (p + 1) // 2
        clusters.panels[2 * source : 2 * source + slots * unit] = old.panels[
            source : source + slots * unit
        ]
    block = len(engine.work.f)
    work = workspace(2 * slots, block, clusters.offsets.shape[1], height)
    return engine._replace(clusters=clusters, work=work)


def take_out(engine: Engine, site: int) -> None:
    """Leave the point out of its component, which is made anew; its label stays."""
    scan = engine.scan
    own = scan.z[site]
    members = scan.z == own
    members[site] = False
    fill(engine, own, scan.x[members])


def leverages(engine: Engine, site: int, slots: int, own: int) -> bool:
    """Fill the weights of one point; False where r of its own slot misleads."""
    scan, work, rules = engine.scan, engine.work, engine.rules
    xt = np.zeros((engine.clusters.offsets.shape[1], 1))
    xt[: scan.x.shape[1], 0] = scan.x[site]
    whiten(engine.clusters, 0, slots, engine.height, xt, work)
    r = np.ascontiguousarray(work.r[:slots, 0])
    log_new = rules.log_new[site]
    return bool(weigh(work.weights, r, own, engine.clusters, rules, log_new, -np.inf))


def draw_alone(engine: Engine, position: int) -> None:
    """Draw one point outside the compiled loop, its own component made without it."""
    scan, work, clusters = engine.scan, engine.work, engine.clusters
    site = scan.order[position]
    old = scan.z[site]
    take_out(engine, site)
    slots = int(np.flatnonzero(clusters.sizes)[-1]) + 1
    leverages(engine, site, slots, -1)
    weights, shares = work.weights[: slots + 1], work.shares[: slots + 1]
    best, total = exponentiate(weights, shares)
    if len(scan.forced):
        new = int(scan.forced[position])
    else:
        new = choose(shares, total, scan.uniforms[position])
    scan.tally[3] += weights[new] - best - math.log(total)
    if new == slots:
        new = int(np.flatnonzero(clusters.sizes == 0)[0])
        scan.tally[1] += 1
    scan.tally[0] += new != old
    scan.z[site] = new
    rebuild(engine, new)
