"""Which sweep runs: one front for both kinds of covariance, on numpy labels."""

from probact.inference.dirichlet.blocked import blocked_sweep, site_weights
from probact.inference.dirichlet.blocked_clusters import Floats, Ints, SweepResult
from probact.inference.dirichlet.diagonal import diagonal_sweep, diagonal_weights
from probact.inference.dirichlet.problem import Problem

__all__ = ["SweepResult", "collapsed_sweep", "collapsed_weights"]


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

    With a concentration of 0 no component is born: for two components that each hold a point
    outside the order this is a restricted scan, and `log_prob` its log transition probability.
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
