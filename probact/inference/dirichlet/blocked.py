r"""Collapsed Gibbs in blocks: sets up, runs and mends the compiled sweep of `blocked_sweep`.

All that a sweep needs is computed from the labels. Two rare events leave the compiled loop: an
r too near one, where a point is all that holds a component's scale open, and a scale whose
Cholesky factor fails. Then the component is factorised by QR from its members, centred at their
mean, and the point is drawn with itself left out; nothing is clamped.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import gammaln

from probact.inference.dirichlet.blocked_clusters import (
    Clusters,
    Floats,
    Ints,
    SweepResult,
    Work,
    allocate,
    collect,
    factorise,
    store,
    whiten,
)
from probact.inference.dirichlet.blocked_sweep import (
    DONE,
    FULL,
    HARD,
    Rules,
    Scan,
    choose,
    draw_blocks,
    exponentiate,
    weigh,
)
from probact.inference.dirichlet.problem import Problem

__all__ = ["blocked_sweep", "log_table", "site_weights"]

_SPARE = 8  # free slots beyond those in use


class Engine(NamedTuple):
    """A sweep's arrays, with the prior's pieces that repairs need."""

    scan: Scan
    rules: Rules
    clusters: Clusters
    work: Work
    height: int
    root: Floats  # (D, D) transposed Cholesky factor of s S_0


def blocked_sweep(
    problem: Problem,
    scale_factor: float,
    concentration: float,
    z: Ints,
    order: Ints,
    uniforms: Floats,
    *,
    block: int = 128,
    forced: Ints | None = None,
) -> SweepResult:
    """Draw the labels of the points `order` (T,) one after the other, full covariance.

    z (N,) are slots, counted from 0. A concentration of 0 allows no new component: with two
    components that each hold a point outside the order it is a restricted scan (Jain & Neal
    2004), whose log transition probability is `log_prob`. Labels `forced` (T,) are taken instead
    of draws. z itself is not changed.

    Raises: ValueError where a component's scale matrix leaves the range of float64.
    """
    scan = Scan(
        x=problem.x.numpy(),
        z=z.copy(),
        order=order,
        uniforms=uniforms,
        forced=np.empty(0, np.int64) if forced is None else forced,
        tally=np.zeros(4),
    )
    engine = build(problem, scale_factor, concentration, scan, block)
    start, reason = 0, FULL
    while True:
        start, reason = draw_blocks(
            scan, engine.rules, engine.clusters, engine.work, start, block, engine.height
        )
        if reason == DONE:
            moved, born, died, log_prob = scan.tally
            return SweepResult(scan.z, int(moved), int(born), int(died), float(log_prob))
        if reason == FULL:
            engine = grow(engine)
        elif reason == HARD:
            engine = grow(engine)
            draw_alone(engine, start)
            start += 1
        for k in np.flatnonzero(engine.clusters.stale):
            rebuild(engine, int(k))


def site_weights(
    problem: Problem, scale_factor: float, concentration: float, z: Ints, site: int
) -> Floats:
    """Log weights (slots + 1,) of one point, by the sweep's own code; the last is a new slot."""
    none = np.empty(0, np.int64)
    scan = Scan(problem.x.numpy(), z.copy(), none, np.empty(0), none, np.zeros(4))
    engine = build(problem, scale_factor, concentration, scan, 1)
    slots = int(z.max()) + 1
    if not leverages(engine, site, slots, int(z[site])):
        take_out(engine, site)
        leverages(engine, site, slots, -1)
    return engine.work.weights[: slots + 1].copy()


def build(
    problem: Problem, scale_factor: float, concentration: float, scan: Scan, block: int
) -> Engine:
    """Everything from the labels."""
    n, d = scan.x.shape
    height = max(1, -(-d // max(1, min(4, d // 8))))
    prior = allocate(1, d, height)
    scale = scale_factor * problem.scale.numpy()
    prior.means[0], prior.scales[0] = problem.loc.numpy(), scale
    if not factorise(prior, 0, problem.kappa, height, 0.0):
        raise ValueError(f"scale must be positive definite, got one that is not: {problem.scale}")
    table = log_table(n, d, problem.kappa, problem.df)
    log_new = np.full(n, -np.inf)
    if concentration > 0:
        constant = math.log(concentration) + table[0] - 0.5 * prior.log_dets[0]
        r = prior_leverages(problem, scale_factor)
        log_new = constant - 0.5 * (problem.df + 1) * np.log1p(r)
    rules = Rules(table, log_new, problem.kappa, problem.df, prior)
    slots = int(scan.z.max()) + 1 + _SPARE
    clusters = allocate(slots, d, height)
    work = workspace(slots, block, clusters.offsets.shape[1], height)
    engine = Engine(
        scan, rules, clusters, work, height, np.linalg.cholesky(scale).T.astype(np.float64)
    )
    collect(clusters, prior, scan.x, scan.z, height)
    for k in np.flatnonzero(clusters.stale):
        rebuild(engine, int(k))
    return engine


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


def log_table(n: int, d: int, kappa: float, df: float) -> Floats:
    """log m + c(m) for m = 0..n points, log m left out at 0."""
    m = np.arange(n + 1.0)
    kappas, dfs = kappa + m, df + m  # (N + 1,)
    table: Floats = gammaln((dfs + 1) / 2) - gammaln((dfs + 1 - d) / 2)
    table += 0.5 * (d - dfs - 1) * np.log(kappas / (kappas + 1)) + 0.5 * np.log(kappas)
    table -= 0.5 * d * math.log(math.pi)
    table[1:] += np.log(m[1:])
    return table


def prior_leverages(problem: Problem, scale_factor: float) -> Floats:
    """r (N,) of the points under the prior."""
    x = problem.x.numpy() - problem.loc.numpy()
    scale = scale_factor * problem.scale.numpy()
    diagonal = np.diagonal(scale)
    quadratic: Floats
    if np.count_nonzero(scale) == len(scale):
        quadratic = (x * x) @ (1 / diagonal)
    else:
        y = solve_triangular(np.linalg.cholesky(scale), x.T, lower=True)
        quadratic = np.einsum("dn,dn->n", y, y)
    return quadratic + 1 / problem.kappa


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
    upper = np.linalg.qr(np.vstack([engine.root, rows, gap]), mode="r")  # S = upper^T upper
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
