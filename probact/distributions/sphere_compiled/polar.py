"""Exact draws of v = 1 - <mu, x>, one at a time.

Samplers and symbols are those of `probact.distributions.sphere_sampling`: a = (d-1)/2; q, P, the
mode of v and the scale of the proposal.
"""

import math
from functools import partial
from typing import Any, NamedTuple

from probact.compiled import compiled
from probact.distributions.sphere_compiled.noise import normal_pair, uniform

__all__ = ["Plan", "draw_polar", "plan_at"]

_CLOSEST, _FARTHEST = 1e-300, 2.0 - 2.0**-51  # v stays off 0 and 2, where x has no one tangent


class Plan(NamedTuple):
    """Proposal of d >= 4, see `probact.distributions.sphere_sampling.PolarPlan`."""

    q: float
    power: float
    mode: float
    scale: float


@partial(compiled, error_model="numpy")
def plan_at(kappa: float, dim: int) -> Plan:
    """Proposal at (kappa, dim); zeros below d = 4, where none is needed."""
    if dim < 4:
        return Plan(0.0, 0.0, 0.0, 0.0)
    a = 0.5 * (dim - 1.0)
    root = math.hypot(kappa, a)
    one_minus_t = (a + a * (a / (root + kappa))) / (a + root)
    log_q = math.log(one_minus_t / (2.0 - one_minus_t))
    for _ in range(4 if dim < 10 else 3 if dim < 512 else 2):
        q = math.exp(log_q)
        power, disc = _power(q, a)
        more = 1.0 + q
        d_power = 6.0 * (a - 1.0) * q * power * (1.0 - more * power) / disc
        inner = a - 1.0 / power - (a - 1.0) * q
        miss = more * inner - 2.0 * kappa * q
        slope = inner + more * (d_power / (power * power) - (a - 1.0)) - 2.0 * kappa
        log_q = min(log_q - min(max(miss / (q * slope), -1.0), 1.0), 0.0)
    q = math.exp(log_q)
    power = _power(q, a)[0]
    curvature = power * (power * a - 1.0) + (a - 1.0) * (power * q) ** 2
    return Plan(q, power, 2.0 * q / (1.0 + q), 1.0 / math.sqrt(curvature))


@partial(compiled, error_model="numpy")
def _power(q: float, a: float) -> tuple[float, float]:
    """The larger root P of alpha P^2 - beta P + 3 = 0, and the root of its discriminant."""
    square = (a - 1.0) * q * q
    alpha = a + square * (3.0 + 2.0 * q)
    beta = 3.0 * a + 1.0 + 3.0 * square
    disc = math.sqrt(beta * beta - 12.0 * alpha)
    return (beta + disc) / (2.0 * alpha), disc


@compiled
def draw_polar(kappa: float, dim: int, plan: Plan, state: Any) -> float:
    """v in (0, 2) at (kappa, dim >= 2)."""
    v: float
    if dim == 2:
        v = _draw_circle(kappa, state)
    elif dim == 3:
        v = _draw_three(kappa, state)
    else:
        v = _draw_wide(kappa, 0.5 * (dim - 1.0), plan, state)
    return min(max(v, _CLOSEST), _FARTHEST)


@compiled
def _draw_wide(kappa: float, a: float, plan: Plan, state: Any) -> float:
    """Generalised Marsaglia-Tsang: v = y^P, y normal about its mode."""
    while True:
        x, _ = normal_pair(state)
        y = 1.0 + plan.scale * x
        if y <= 0.0:
            continue
        log_y = math.log(y)
        e = math.expm1(plan.power * log_y)
        rest = 1.0 - plan.q * e
        if rest <= 0.0:  # v beyond 2
            continue
        accept = (plan.power * a - 1.0) * log_y + 0.5 * x * x - kappa * plan.mode * e
        if accept + (a - 1.0) * math.log(rest) > math.log(uniform(state)):
            return plan.mode * (1.0 + e)


@partial(compiled, error_model="numpy")
def _draw_three(kappa: float, state: Any) -> float:
    """Inversion of F(v) = (1 - e^(-kappa v)) / (1 - e^(-2 kappa)) on S^2."""
    u: float = uniform(state)
    if kappa <= 1e-8:
        return 2.0 * u
    return -math.log1p(u * math.expm1(-2.0 * kappa)) / kappa


@partial(compiled, error_model="numpy")
def _draw_circle(kappa: float, state: Any) -> float:
    """Best & Fisher (1979) on S^1."""
    k = max(kappa, 1e-9)  # at 1e-9 the law is uniform to 1e-9
    root = math.hypot(1.0, 2.0 * k)
    tau = 1.0 + root
    if k > 1.0:
        one_minus_rho = (math.sqrt(2.0 * tau) - 1.0 - 1.0 / (2.0 * k + root)) / (2.0 * k)
        rho = 1.0 - one_minus_rho
    else:
        rho = 2.0 * k / tau * (math.sqrt(tau) / (math.sqrt(tau) + math.sqrt(2.0)))
        one_minus_rho = 1.0 - rho
    excess = one_minus_rho * one_minus_rho / (2.0 * rho)  # r - 1
    while True:
        half = math.sin(0.5 * math.pi * uniform(state)) ** 2
        v: float = excess * 2.0 * half / (excess + 2.0 * (1.0 - half))
        c = k * (excess + v)
        if math.log(c / uniform(state)) + 1.0 - c >= 0.0:
            return v
