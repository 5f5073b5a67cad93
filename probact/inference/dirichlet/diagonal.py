"""Collapsed Gibbs over diagonal covariances: sets up and runs the sweep of `diagonal_sweep`."""

import math

import numpy as np
from scipy.special import gammaln

from probact.inference.dirichlet.blocked_clusters import Floats, Ints, SweepResult
from probact.inference.dirichlet.blocked_sweep import Scan
from probact.inference.dirichlet.diagonal_sweep import (
    Coordinates,
    DiagonalRules,
    collect,
    draw_points,
    weigh_point,
)
from probact.inference.dirichlet.problem import Problem

__all__ = ["diagonal_rules", "diagonal_sweep", "diagonal_weights", "draw_in_order"]


def diagonal_sweep(
    problem: Problem,
    scale_factor: float,
    concentration: float,
    z: Ints,
    order: Ints,
    uniforms: Floats,
    *,
    forced: Ints | None = None,
) -> SweepResult:
    """As `blocked_sweep`, for independent coordinates."""
    rules = diagonal_rules(problem, scale_factor, concentration)
    return draw_in_order(rules, problem.x.numpy(), z, order, uniforms, forced)


def draw_in_order(
    rules: DiagonalRules,
    x: Floats,
    z: Ints,
    order: Ints,
    uniforms: Floats,
    forced: Ints | None = None,
) -> SweepResult:
    """The sweep, given what the labels do not change; z itself is not changed."""
    forced = np.empty(0, np.int64) if forced is None else forced
    scan = Scan(x, z.copy(), order, uniforms, forced, np.zeros(4))
    start = 0
    while start < len(order):
        start = draw_points(scan, rules, coordinates(scan, rules), start)
    moved, born, died, log_prob = scan.tally
    return SweepResult(scan.z, int(moved), int(born), int(died), float(log_prob))


def diagonal_weights(
    problem: Problem, scale_factor: float, concentration: float, z: Ints, site: int
) -> Floats:
    """Log weights (slots + 1,) of one point, by the sweep's own code; the last is a new slot."""
    none = np.empty(0, np.int64)
    scan = Scan(problem.x.numpy(), z, none, np.empty(0), none, np.zeros(4))
    rules = diagonal_rules(problem, scale_factor, concentration)
    clusters = coordinates(scan, rules)
    if not weigh_point(clusters, rules, scan.x[site], z[site]):
        collect(scan, rules, clusters, z[site], site)
        weigh_point(clusters, rules, scan.x[site], -1)
    return np.append(clusters.weights[: z.max() + 1], clusters.weights[-1])


def diagonal_rules(problem: Problem, scale_factor: float, concentration: float) -> DiagonalRules:
    n, d = problem.x.shape
    m, df = np.arange(n + 1.0), problem.df - d + 1
    kappa, nu = problem.kappa + m, df + m  # (N + 1,)
    constant = gammaln((nu + 1) / 2) - gammaln(nu / 2) - 0.5 * math.log(math.pi)
    table = d * (constant - 0.5 * np.log((kappa + 1) / kappa))
    table[1:] += np.log(m[1:])
    log_alpha = math.log(concentration) if concentration > 0 else -math.inf
    scale = scale_factor * problem.scale.numpy()
    return DiagonalRules(table, log_alpha, problem.kappa, df, problem.loc.numpy(), scale)


def coordinates(scan: Scan, rules: DiagonalRules) -> Coordinates:
    """All components from the labels, and as many free slots again."""
    slots, d = 2 * int(scan.z.max()) + 8, len(rules.mean)
    clusters = Coordinates(
        sizes=np.zeros(slots, np.int64),
        means=np.zeros((slots, d)),
        scales=np.zeros((slots, d)),
        inverse=np.zeros((slots, d)),
        log_dets=np.zeros(slots),
        weights=np.empty(slots + 1),
        shares=np.empty(slots + 1),
    )
    for k in range(slots):
        collect(scan, rules, clusters, k, -1)
    return clusters
