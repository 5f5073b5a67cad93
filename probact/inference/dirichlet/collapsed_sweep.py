"""Which sweep runs: one front for both kinds of covariance, on numpy labels."""

from probact.inference.dirichlet.blocked import (
    blocked_sweep,
    restricted_scans,
    site_weights,
    sweep_rules,
)
from probact.inference.dirichlet.blocked_clusters import Floats, Ints, SweepResult
from probact.inference.dirichlet.blocked_sweep import Rules
from probact.inference.dirichlet.diagonal import (
    diagonal_rules,
    diagonal_sweep,
    diagonal_weights,
    draw_in_order,
)
from probact.inference.dirichlet.diagonal_sweep import DiagonalRules
from probact.inference.dirichlet.problem import Problem

__all__ = [
    "ScanRules",
    "SweepResult",
    "collapsed_scans",
    "collapsed_sweep",
    "collapsed_weights",
    "scan_rules",
]

ScanRules = Rules | DiagonalRules


def collapsed_sweep(
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
    """Draw the labels of the points `order` (T,) one after the other; see `blocked_sweep`.

    With a concentration of 0 no component is born.
    """
    if problem.diagonal:
        return diagonal_sweep(
            problem, scale_factor, concentration, z, order, uniforms, forced=forced
        )
    return blocked_sweep(
        problem, scale_factor, concentration, z, order, uniforms, block=block, forced=forced
    )


def collapsed_weights(
    problem: Problem, scale_factor: float, concentration: float, z: Ints, site: int
) -> Floats:
    """Log weights (slots + 1,) that the sweep draws the label of one point from; last: new."""
    weights = diagonal_weights if problem.diagonal else site_weights
    return weights(problem, scale_factor, concentration, z, site)


def scan_rules(problem: Problem, scale_factor: float) -> ScanRules:
    """What `collapsed_scans` need of the problem, for rows that they are given."""
    rules = diagonal_rules if problem.diagonal else sweep_rules
    return rules(problem, scale_factor, 0.0)


def collapsed_scans(
    rules: ScanRules,
    x: Floats,
    z: Ints,
    order: Ints,
    uniforms: Floats,
    *,
    forced: Ints | None = None,
) -> SweepResult:
    """Scans (one for each row of uniforms) between the slots 0 and 1; see `restricted_scans`."""
    if isinstance(rules, Rules):
        return restricted_scans(rules, x, z, order, uniforms, forced=forced)
    for u in uniforms[:-1]:
        z = draw_in_order(rules, x, z, order, u).z
    return draw_in_order(rules, x, z, order, uniforms[-1], forced)
