r"""Draws and divergences of N rows, forwards and backwards.

Symbols: mu (N, d), kappa (N,), draws x (N, d); prior m (N, d), l (N,) or (1,) for all, both of
length 0 for the uniform law; G (N, d) and g (N,) the gradients that come back to x and the KL.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from probact.compiled import compiled
from probact.distributions.sphere_compiled.divergence import (
    kl_between,
    kl_slopes,
    kl_uniform,
    terms_at,
)
from probact.distributions.sphere_compiled.noise import normal_pair, seeded, uniform
from probact.distributions.sphere_compiled.polar import Plan, draw_polar, plan_at
from probact.distributions.sphere_compiled.rules import Floats, Rules, Terms
from probact.distributions.sphere_compiled.stein import stein_at

__all__ = ["Kept", "Laws", "draw_codes", "first_wrong", "pull_back"]


class Laws(NamedTuple):
    """The parameters of a call, float64 and contiguous."""

    loc: Floats
    concentration: Floats
    prior_loc: Floats
    prior_concentration: Floats


class Kept(NamedTuple):
    """What the way back needs of the way there."""

    x: Floats  # (N, d)
    rows: Floats  # (N, 10): v, the four numbers of the plan, the five terms
    prior_terms: Floats  # (N, 5), (1, 5) or (0, 5)


@compiled
def first_wrong(loc: Floats, concentration: Floats, tolerance: float) -> tuple[int, int]:
    """First row whose loc is not of norm one, and first bad concentration; -1 if there is none."""
    wrong_loc, wrong_concentration = -1, -1
    for i in range(len(loc) - 1, -1, -1):
        if not abs(math.sqrt(_dot(loc[i], loc[i])) - 1.0) <= tolerance:
            wrong_loc = i
    for i in range(len(concentration) - 1, -1, -1):
        if not 0.0 <= concentration[i] < math.inf:
            wrong_concentration = i
    return wrong_loc, wrong_concentration


@compiled
def draw_codes(seed: int, laws: Laws, rules: Rules) -> tuple[Kept, Floats]:
    """One draw of each row, and the KL (N,) of its law to the prior."""
    count, dim = laws.loc.shape
    state = seeded(seed)
    x, rows, kl = np.empty((count, dim)), np.empty((count, 10)), np.empty(count)
    prior_terms = np.empty((len(laws.prior_concentration), 5))
    for j, kappa in enumerate(laws.prior_concentration):
        _write(prior_terms[j], terms_at(kappa, rules))
    for i, kappa in enumerate(laws.concentration):
        plan, terms = plan_at(kappa, dim), terms_at(kappa, rules)
        v = draw_polar(kappa, dim, plan, state)
        rows[i, 0] = v
        rows[i, 1], rows[i, 2], rows[i, 3], rows[i, 4] = plan
        _write(rows[i, 5:], terms)
        _lift(x[i], laws.loc[i], v, state)
        if len(prior_terms) == 0:
            kl[i] = kl_uniform(kappa, terms, rules.nu)
            continue
        j = min(i, len(prior_terms) - 1)
        other, at_other = laws.prior_concentration[j], _terms(prior_terms[j])
        chord = _chord(laws.loc[i], laws.prior_loc[i])
        kl[i] = kl_between(kappa, terms, other, at_other, chord, rules.nu)
    return Kept(x, rows, prior_terms), kl


@compiled
def pull_back(grad_x: Floats, grad_kl: Floats, kept: Kept, laws: Laws, rules: Rules) -> Laws:
    """Gradients in the four parameters, by the minimal rotation and the Stein kernel."""
    dim = laws.loc.shape[1]
    out = Laws(
        np.empty_like(laws.loc),
        np.empty_like(laws.concentration),
        np.empty_like(laws.prior_loc),
        np.zeros_like(laws.prior_concentration),
    )
    for i, kappa in enumerate(laws.concentration):
        x, mu, grad, row = kept.x[i], laws.loc[i], grad_x[i], kept.rows[i]
        v, terms = row[0], _terms(row[5:])
        t = 1.0 - v
        along_mu, along_x = _dot(grad, mu), _dot(grad, x)
        for c in range(dim):
            out.loc[i, c] = t * grad[c] - along_mu * x[c]
        plan = Plan(row[1], row[2], row[3], row[4])
        g = stein_at(v, kappa, terms.deficit, dim, plan, rules.nodes)
        out.concentration[i] = g * (along_mu - t * along_x)
        if len(kept.prior_terms) == 0:
            out.concentration[i] += grad_kl[i] * kappa * terms.slope
            continue
        j = min(i, len(kept.prior_terms) - 1)
        m, other, at_other = laws.prior_loc[i], laws.prior_concentration[j], kept.prior_terms[j]
        own, others = kl_slopes(kappa, terms, other, _terms(at_other), _chord(mu, m))
        out.concentration[i] += grad_kl[i] * own
        out.prior_concentration[j] += grad_kl[i] * others
        pull = grad_kl[i] * other * terms.ratio
        for c in range(dim):
            out.loc[i, c] += pull * (mu[c] - m[c])
            out.prior_loc[i, c] = pull * (m[c] - mu[c])
    return out


@compiled
def _lift(x: Floats, loc: Floats, v: float, state: Any) -> None:
    """x = (1-v) mu + sqrt(v (2-v)) xi, by the reflection of `sphere_sampling.lift_to_sphere`."""
    _fill_tangent(x, state)
    norm = math.sqrt(_dot(loc, loc))
    sine = math.sqrt(v * (2.0 - v)) / math.sqrt(_dot(x, x))
    first = loc[0] / norm
    along = sine * _dot(x, loc) / norm / (1.0 + abs(first))
    pull = ((1.0 - v) - along) / norm
    for c in range(len(x)):
        x[c] = sine * x[c] + pull * loc[c]
    x[0] -= along if first >= 0.0 else -along


@compiled
def _fill_tangent(x: Floats, state: Any) -> None:
    """A vector orthogonal to e_1 of uniform direction; its length is free."""
    x[0] = 0.0
    if len(x) == 2:
        x[1] = -1.0 if uniform(state) < 0.5 else 1.0
        return
    for c in range(1, len(x) - 1, 2):
        x[c], x[c + 1] = normal_pair(state)
    if len(x) % 2 == 0:
        x[-1] = normal_pair(state)[0]


@partial(compiled, fastmath={"reassoc", "contract"})
def _dot(a: Floats, b: Floats) -> float:
    total = 0.0
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@partial(compiled, fastmath={"reassoc", "contract"})
def _chord(a: Floats, b: Floats) -> float:
    """|a - b|^2."""
    total = 0.0
    for i in range(len(a)):
        total += (a[i] - b[i]) ** 2
    return total


@compiled
def _write(row: Floats, terms: Terms) -> None:
    row[0], row[1], row[2], row[3], row[4] = terms


@compiled
def _terms(row: Floats) -> Terms:
    return Terms(row[0], row[1], row[2], row[3], row[4])
