r"""Meta-regression over classes: estimates with known sampling variances against one covariate.

Symbols: J models of the same K classes; y (J, K) estimates with sampling variances v (J, K);
x (J, K) covariate; a (J,) an intercept for each model, b the slope.

    y_jk = a_j + b x_jk + c_k + u_jk + e_jk,   c_k ~ N(0, s^2), u_jk ~ N(0, t^2), e_jk ~ N(0, v_jk)

c_k is what a class has in common in all models: without it, J networks trained on the same data
would count as J times as many classes. One model cannot tell c from u, so s is then zero. t and s
maximise the restricted likelihood (REML; Harville 1977): it counts the J + 1 coefficients that the
same classes are spent on, which maximum likelihood does not, and stays efficient where t^2 is
large beside v, as it is here, where the moment estimator of DerSimonian & Laird (1986) does not.
The slope's standard error is at least that of the residual spread (Knapp & Hartung 2003), and its
interval takes Student's t with K - 2 degrees of freedom: exact for one model with equal variances,
cautious for several.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

__all__ = ["MetaRegression", "meta_regression"]

Floats = NDArray[np.float64]


class MetaRegression(NamedTuple):
    """Estimates of one response."""

    slope: float  # b
    standard_error: float  # of b
    low: float  # ends of the interval of b
    high: float
    intercepts: Floats  # a (J,), at x = 0
    sd_between: float  # t
    sd_class: float  # s; 0 for one model


def meta_regression(
    y: Floats, variances: Floats, x: Floats, level: float = 0.95
) -> MetaRegression:
    """Fit b, the intercepts, t and s to finite y, v > 0 and x, all (J, K), K >= 3.

    >>> x = np.array([[0.0, 1.0, 2.0, 3.0]])
    >>> fit = meta_regression(np.array([[0.1, 1.0, 2.1, 2.9]]), np.full((1, 4), 0.01), x)
    >>> round(fit.slope, 3), round(fit.sd_between, 3)
    (0.95, 0.0)
    """
    models, classes = y.shape
    centre = x.mean()
    design = _design(x - centre)
    scale = max(_ordinary_variance(y, design), float(variances.mean()))
    spreads = _restricted_optimum(y, variances, design, scale)
    fit = _weighted(y, variances, design, *spreads)
    covariance = np.linalg.inv(fit.information)
    inflation = max(1.0, fit.misfit / max(y.size - models - 1, 1))
    error = float(np.sqrt(covariance[-1, -1] * inflation))
    slope = float(fit.coefficients[-1])
    reach = float(stats.t.ppf(0.5 + 0.5 * level, classes - 2)) * error
    intercepts = fit.coefficients[:-1] - slope * centre
    between, common = np.sqrt(spreads)
    return MetaRegression(
        slope, error, slope - reach, slope + reach, intercepts, float(between), float(common)
    )


class _Weighted(NamedTuple):
    """Weighted least squares at given t^2 and s^2."""

    coefficients: Floats  # (J + 1,), the slope last
    information: Floats  # X' V^-1 X
    misfit: float  # (y - X b)' V^-1 (y - X b)
    log_det: float  # log |V|


def _design(x: Floats) -> Floats:
    """X (J + 1, J, K): the indicators of the models, and x."""
    models, classes = x.shape
    indicators = np.broadcast_to(np.eye(models)[:, :, None], (models, models, classes))
    return np.concatenate([indicators, x[None]])


def _ordinary_variance(y: Floats, design: Floats) -> float:
    """Residual variance of ordinary least squares."""
    flat = design.reshape(len(design), -1).T
    rest = y.ravel() - flat @ np.linalg.lstsq(flat, y.ravel(), rcond=None)[0]
    return float(rest @ rest / max(y.size - len(design), 1))


def _weighted(y: Floats, variances: Floats, design: Floats, t2: float, s2: float) -> _Weighted:
    """V has a block diag(v + t^2) + s^2 1 1' for each class, inverted by one rank."""
    d = 1.0 / (variances + t2)  # (J, K)
    share = s2 / (1.0 + s2 * d.sum(0))  # (K,)

    def product(a: Floats, b: Floats) -> Floats:
        """a' V^-1 b for stacks (.., J, K)."""
        along_a, along_b = (a * d).sum(-2), (b * d).sum(-2)  # (.., K)
        plain: Floats = np.einsum("pjk,qjk->pq", a * d, b)
        shared: Floats = (along_a * share) @ along_b.T
        return plain - shared

    information = product(design, design)
    coefficients = np.linalg.solve(information, product(design, y[None])[:, 0]).astype(np.float64)
    rest = y - np.tensordot(coefficients, design, 1)
    misfit = float(product(rest[None], rest[None])[0, 0])
    log_det = float(np.log(variances + t2).sum() + np.log1p(s2 * d.sum(0)).sum())
    return _Weighted(coefficients, information, misfit, log_det)


def _restricted_optimum(
    y: Floats, variances: Floats, design: Floats, scale: float
) -> tuple[float, float]:
    """t^2 and s^2 >= 0 of the largest restricted likelihood, from several starts."""

    def cost(spreads: Any) -> float:
        fit = _weighted(y, variances, design, *(scale * np.asarray(spreads)))
        return fit.log_det + float(np.linalg.slogdet(fit.information)[1]) + fit.misfit

    starts: list[tuple[float, float]] = [(0.5, 0.5), (1.0, 0.01), (0.01, 1.0), (0.01, 0.01)]
    common: tuple[float, float | None] = (0.0, None)
    if len(y) == 1:
        starts, common = [(1.0, 0.0), (0.01, 0.0)], (0.0, 0.0)
    found = [
        optimize.minimize(cost, start, method="L-BFGS-B", bounds=[(0.0, None), common])
        for start in starts
    ]
    t2, s2 = scale * min(found, key=lambda result: float(result.fun)).x
    return float(t2), float(s2)
