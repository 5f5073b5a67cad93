"""Bessel quantities of one kappa and the Kullback-Leibler divergences of its law, with slopes.

The scheme of `probact.bessel.terms`, one number at a time, and the forms of
`probact.distributions.von_mises_fisher` that do not cancel.
"""

import math
from functools import partial

from probact.compiled import compiled
from probact.distributions.sphere_compiled.rules import Rules, Terms

__all__ = ["kl_between", "kl_slopes", "kl_uniform", "terms_at"]

_BIG = 1e100  # a product above it is put into its logarithm before it overflows


@partial(compiled, error_model="numpy")
def terms_at(kappa: float, rules: Rules) -> Terms:
    """K, kappa - K, A, 1 - A and A' at (kappa, nu)."""
    n = rules.nu + rules.steps
    s = math.hypot(kappa, n)
    y, p = kappa / s, n / s
    q, e, e_slope = 0.0, 0.0, 0.0
    for row in rules.debye[::-1]:
        q, e, e_slope = q * p + row[0], e * p + row[1], e_slope * p + row[2]
    w = (kappa / n) * (kappa / (n + s))  # S/N - 1
    half_log = 0.5 * math.log1p(w) + (w / (1.0 + w)) * q
    log_half = math.log1p(0.5 * w)
    log_mgf = n * (w - log_half) - half_log
    gap = n * (kappa + n * w) / (s + kappa) + n * log_half + half_log
    rho = 1.0 / (n + s) - 0.5 / s / s - (p / n) * (p / n) * p * e  # A / kappa
    defect = kappa * (n + n * (n / (s + kappa))) / (n + s) + 0.5 * y * y + y * y * p * e
    p1 = -y * p * (p / n)
    p2 = -p * (p * p - 2.0 * y * y) / s / s
    slope = p / (n + s) + 0.5 * (y - p) * (y + p) / s / s + e_slope * p1 * p1 + e * p2
    product, lift = 0.0, 0.0  # of 1 + rest/b, less one; the logarithm of what was set aside
    for j in range(rules.steps, 0, -1):
        b = 2.0 * (rules.nu + j)
        rest = kappa * (kappa * rho)
        product += (rest / b) * (1.0 + product)
        if product > _BIG:
            lift += math.log1p(product)
            product = 0.0
        rho = 1.0 / (b + rest)
        defect = (b - defect) * (kappa * rho)  # kappa (1 - A)
        slope = rho * rho * (b - kappa * (kappa * slope))
    lift += math.log1p(product)
    ratio = kappa * rho
    deficit = defect / kappa if kappa >= 1.0 else 1.0 - ratio
    return Terms(log_mgf + lift, gap - lift, ratio, deficit, slope)


@compiled
def kl_uniform(kappa: float, at: Terms, nu: float) -> float:
    """KL to the uniform law: kappa A - K, or (kappa - K) - kappa (1 - A)."""
    if kappa < nu + 1.0:
        return kappa * at.ratio - at.log_mgf
    return at.log_mgf_gap - kappa * at.deficit


@compiled
def kl_between(
    kappa: float, at: Terms, other: float, at_other: Terms, chord: float, nu: float
) -> float:
    """KL of (mu, kappa) to (m, other), with chord = |mu - m|^2."""
    if max(kappa, other) < nu + 1.0:
        bregman = (kappa - other) * at.ratio - at.log_mgf + at_other.log_mgf
    else:
        bregman = at.log_mgf_gap - at_other.log_mgf_gap - (kappa - other) * at.deficit
    return bregman + 0.5 * other * at.ratio * chord


@compiled
def kl_slopes(
    kappa: float, at: Terms, other: float, at_other: Terms, chord: float
) -> tuple[float, float]:
    """Derivatives of `kl_between` in kappa and in the other kappa."""
    rise = at.deficit - at_other.deficit if at.ratio > 0.5 else at_other.ratio - at.ratio
    own = (kappa - other + 0.5 * other * chord) * at.slope
    return own, rise + 0.5 * at.ratio * chord
