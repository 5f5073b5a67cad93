"""g = (dt/dkappa) / (1 - t^2) of one draw.

The quadrature and its symbols are those of `probact.distributions.sphere_pathwise`.
"""

import math
from functools import partial

from probact.compiled import compiled
from probact.distributions.sphere_compiled.polar import Plan
from probact.distributions.sphere_compiled.rules import Floats

__all__ = ["stein_at"]


@partial(compiled, error_model="numpy")
def stein_at(v: float, kappa: float, deficit: float, dim: int, plan: Plan, nodes: Floats) -> float:
    """g at t = 1 - v, with deficit = 1 - A; 1/(dim-1) at kappa = 0."""
    lower = v < deficit  # integrate towards v = 0, else towards v = 2
    if dim == 2:
        on_circle: float = _stein_circle(v, kappa, deficit, lower, nodes)
        return on_circle
    if dim == 3:
        end = 0.0 if lower else min(v + 40.0 / kappa, 2.0)
    else:
        end = _window_end(v, kappa, 0.5 * (dim - 1.0), plan, lower)
    h = end - v
    first = 2 if 3 < dim < 9 and (end < 1e-200 or end >= 2.0) else 0  # half-integer powers there
    exponent = 0.5 * (dim - 3.0)
    total = 0.0
    for u, weight in zip(nodes[first], nodes[first + 1]):  # noqa: B905, numba has no strict
        log_ratio = -kappa * h * u
        if dim > 3:
            product = (1.0 + h / v * u) * (1.0 - h / (2.0 - v) * u)
            log_ratio += exponent * math.log(max(product, 1e-300))
        total += math.exp(log_ratio) * weight * (deficit - v - h * u)
    tau = total * abs(h) / (v * (2.0 - v))
    return tau if lower else -tau


@partial(compiled, error_model="numpy")
def _window_end(v: float, kappa: float, a: float, plan: Plan, lower: bool) -> float:
    """Where the integrand has fallen by e^-40, by the normal envelope of the sampler."""
    y = (v / plan.mode) ** (1.0 / plan.power)  # in units of its mode
    x = (y - 1.0) / plan.scale
    pull = (a - 1.0) * plan.power * v / (2.0 - v) + kappa * plan.power * v
    slope = (plan.power * a - 1.0 - pull) / y
    rise = max(slope if lower else -slope, 0.0) * plan.scale
    length = math.sqrt(rise * rise + 80.0) - rise
    y_end = max(1.0 + plan.scale * (x - length if lower else x + length), 0.0)
    end: float = plan.mode * y_end**plan.power
    return min(end, 2.0)


@partial(compiled, error_model="numpy")
def _stein_circle(v: float, kappa: float, deficit: float, lower: bool, nodes: Floats) -> float:
    """d = 2: integrate over the angle, in which the density is analytic."""
    angle = 2.0 * math.asin(math.sqrt(0.5 * v))
    h = -angle if lower else min(angle + math.sqrt(80.0 / kappa), math.pi) - angle
    total = 0.0
    for u, weight in zip(nodes[0], nodes[1]):  # noqa: B905
        other = 2.0 * math.sin(0.5 * (angle + h * u)) ** 2
        total += weight * (deficit - other) * math.exp(-kappa * (other - v))
    tau = total * abs(h) / math.sin(angle)
    return tau if lower else -tau
