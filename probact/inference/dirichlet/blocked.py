r"""Collapsed Gibbs in blocks: sets up and runs the compiled sweep of `blocked_sweep`.

All that a sweep needs is computed from the labels.
"""

import math
from functools import lru_cache

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import gammaln

from probact.inference.dirichlet.blocked_clusters import (
    Floats,
    Ints,
    SweepResult,
    allocate,
    factorise,
)
from probact.inference.dirichlet.blocked_engine import (
    Engine,
    build,
    draw_alone,
    grow,
    leverages,
    mend,
    panel_height,
    take_out,
)
from probact.inference.dirichlet.blocked_sweep import DONE, FULL, HARD, Rules, Scan, draw_blocks
from probact.inference.dirichlet.problem import Problem

__all__ = ["blocked_sweep", "log_table", "restricted_scans", "site_weights", "sweep_rules"]

_SPARE = 8  # free slots beyond those in use
_SCAN_BLOCK = 128


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

    z (N,) are slots, counted from 0. A concentration of 0 allows no new component. Labels
    `forced` (T,) are taken instead of draws. z itself is not changed.

    Raises: ValueError where a component's scale matrix leaves the range of float64.
    """
    rules = sweep_rules(problem, scale_factor, concentration)
    scan = new_scan(problem.x.numpy(), z, order, uniforms, forced)
    slots = int(z.max()) + 1 + _SPARE
    return result(draw_all(build(rules, scan, slots, block), block))


def restricted_scans(
    rules: Rules, x: Floats, z: Ints, order: Ints, uniforms: Floats, *, forced: Ints | None = None
) -> SweepResult:
    """Scans of the points `order` (T,) of x (n, D) between slots 0 and 1 (Jain & Neal 2004).

    Each slot holds a point outside the order. uniforms (scans, T); the labels `forced` (T,) are
    those of the last scan, whose log transition probability is `log_prob`. z is not changed.
    """
    engine = build(rules, new_scan(x, z, order, uniforms[0], None), 2, _SCAN_BLOCK)
    for u in uniforms[:-1]:
        engine = engine._replace(scan=engine.scan._replace(uniforms=u))
        engine = draw_all(engine, _SCAN_BLOCK)
    last = new_scan(x, engine.scan.z, order, uniforms[-1], forced)
    return result(draw_all(engine._replace(scan=last), _SCAN_BLOCK))


def new_scan(x: Floats, z: Ints, order: Ints, uniforms: Floats, forced: Ints | None) -> Scan:
    forced = np.empty(0, np.int64) if forced is None else forced
    return Scan(x, z.copy(), order, uniforms, forced, np.zeros(4))


def draw_all(engine: Engine, block: int) -> Engine:
    """The engine after the whole order has been drawn."""
    start, reason, scan = 0, FULL, engine.scan
    while True:
        start, reason = draw_blocks(
            scan, engine.rules, engine.clusters, engine.work, start, block, engine.height
        )
        if reason == DONE:
            return engine
        if reason == FULL:
            engine = grow(engine)
        elif reason == HARD:
            engine = grow(engine)
            draw_alone(engine, start)
            start += 1
        mend(engine)


def result(engine: Engine) -> SweepResult:
    moved, born, died, log_prob = engine.scan.tally
    return SweepResult(engine.scan.z, int(moved), int(born), int(died), float(log_prob))


def site_weights(
    problem: Problem, scale_factor: float, concentration: float, z: Ints, site: int
) -> Floats:
    """Log weights (slots + 1,) of one point, by the sweep's own code; the last is a new slot."""
    rules = sweep_rules(problem, scale_factor, concentration)
    none = np.empty(0, np.int64)
    slots = int(z.max()) + 1
    scan = new_scan(problem.x.numpy(), z, none, np.empty(0), None)
    engine = build(rules, scan, slots + _SPARE, 1)
    if not leverages(engine, site, slots, int(z[site])):
        take_out(engine, site)
        leverages(engine, site, slots, -1)
    return engine.work.weights[: slots + 1].copy()


def sweep_rules(problem: Problem, scale_factor: float, concentration: float) -> Rules:
    """Everything that the labels do not change."""
    n, d = problem.x.shape
    height = panel_height(d)
    prior = allocate(1, d, height)
    prior.means[0], prior.scales[0] = problem.loc.numpy(), scale_factor * problem.scale.numpy()
    if not factorise(prior, 0, problem.kappa, height, 0.0):
        raise ValueError(f"scale must be positive definite, got one that is not: {problem.scale}")
    table = log_table(n, d, problem.kappa, problem.df)
    log_new = np.full(n, -np.inf)
    if concentration > 0:
        constant = math.log(concentration) + table[0] - 0.5 * prior.log_dets[0]
        r = prior_leverages(problem, scale_factor)
        log_new = constant - 0.5 * (problem.df + 1) * np.log1p(r)
    return Rules(table, log_new, problem.kappa, problem.df, prior)


@lru_cache(maxsize=2)
def log_table(n: int, d: int, kappa: float, df: float) -> Floats:
    """log m + c(m) for m = 0..n points, log m left out at 0; kept, so never written to."""
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
