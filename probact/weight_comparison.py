r"""Families of laws for one class's weights, compared by leave-one-out: where the floors meet.

Symbols: n weights of a class; S draws; mu location, s scale, third parameter of the laws that have
one, as in `laplace_fits.fit_family`; x = (theta - median) / mean absolute deviation of the class.

Priors, weak against some hundred weights and alike for all families: mu of x is Normal(0, 2),
log s Normal(0, 1.5), log kappa Normal(0, 1), log c Normal(0, 2), Student's v Gamma(2, 0.1) (Juarez
& Steel 2010). All families are treated alike, also those with an exact sampler: independence
Metropolis around the most likely law. The skew logistic law keeps the side that it is skewed to.

PSIS-LOO (Vehtari, Gelman & Gabry 2017) keeps the log density of every weight under every draw, 8 n
S bytes a class and family: for some named classes. `compare_families` does all classes at once by
AIC or BIC.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Generator, Tensor

from probact.analysis.laplace_fits import family_law, fit_asymmetric_laplace, fit_family
from probact.analysis.laplace_fits.family_fits import TWO_SIDED_FAMILIES
from probact.analysis.laplace_fits.weight_rows import as_weight_rows, standardised_rows
from probact.arrays import check_count, check_seed
from probact.inference import compare
from probact.inference.arviz_bridge import SAMPLE_DIMS, dataset, to_arviz
from probact.inference.independence import independence_chains

__all__ = ["FamilyPosteriors", "compare_families_by_posterior"]

_THIRD = {"asymmetric_laplace": "asymmetry", "skew_logistic": "shape", "student_t": "df"}
_THIRD_WIDTH = {"asymmetric_laplace": 1.0, "skew_logistic": 2.0}  # of its logarithm's prior
_ENTRIES = 2**22  # of a (draws, weights) block of log densities


class FamilyPosteriors(NamedTuple):
    """One class's posteriors with pointwise log densities, and ArviZ's table of them."""

    posteriors: dict[str, Any]  # family: InferenceData or DataTree
    table: pd.DataFrame  # of inference.compare, best first, nats over all n weights


def compare_families_by_posterior(
    weights: Any,
    classes: Iterable[int],
    families: Sequence[str] = TWO_SIDED_FAMILIES,
    *,
    draws: int = 500,
    chains: int = 4,
    seed: int = 0,
) -> dict[int, FamilyPosteriors]:
    """Rank families for the rows `classes` of weights (K, n) by expected log density (PSIS-LOO).

    The site `weight` of the group log_likelihood is (chain, draw, feature), in nats per unit of
    weight; the posterior holds loc, scale and asymmetry, shape (c) or df. ArviZ warns where single
    weights matter too much for importance sampling.

    Raises:
        TypeError, ValueError: as `fit_family`; no class, one out of range or named twice; fewer
            than 2 or twice the same families; a row without spread; bad draws, chains or seed.

    >>> x = torch.randn(3, 200, generator=Generator().manual_seed(0))
    >>> found = compare_families_by_posterior(x, [2], ("normal", "laplace"), draws=100, chains=2)
    >>> list(found[2].table.index)
    ['normal', 'laplace']
    """
    rows = as_weight_rows(weights)
    chosen = _checked_classes(classes, len(rows))
    named = tuple(families)
    if len(named) < 2 or len(set(named)) < len(named) or not set(named) <= set(TWO_SIDED_FAMILIES):
        raise ValueError(f"families must be two or more of {TWO_SIDED_FAMILIES}, got {named}")
    for name, count in (("draws", draws), ("chains", chains)):
        check_count(count, name)
    check_seed(seed)
    degenerate = fit_asymmetric_laplace(rows).degenerate  # values are checked there
    found = {}
    for k in chosen:
        if bool(degenerate[k]):
            raise ValueError(f"row {k} has no spread to fit a law to")
        generator = Generator(rows.device).manual_seed(int(seed))
        posteriors = {
            family: _posterior(rows[k : k + 1], family, draws, chains, generator)
            for family in named
        }
        found[k] = FamilyPosteriors(posteriors, compare(posteriors, var_name="weight"))
    return found


def _checked_classes(classes: Iterable[int], num_classes: int) -> tuple[int, ...]:
    chosen = tuple(classes)
    whole = all(isinstance(k, int | np.integer) and not isinstance(k, bool) for k in chosen)
    if not chosen or not whole or len(set(chosen)) < len(chosen):
        raise ValueError(f"classes must be different row numbers, at least one, got {chosen}")
    wrong = [k for k in chosen if not 0 <= k < num_classes]
    if wrong:
        raise ValueError(f"classes must be in 0 .. {num_classes - 1}, got {wrong[0]}")
    return tuple(int(k) for k in chosen)


def _posterior(row: Tensor, family: str, draws: int, chains: int, generator: Generator) -> Any:
    """Posterior and pointwise log densities of a row (1, n), in its own units."""
    (x,), median, spread, _ = standardised_rows(row)
    fit = fit_family(x[None], family)
    mirrored = bool(fit.mirrored)
    sign = -1.0 if mirrored else 1.0
    start = _free(family, fit.parameters[0])
    found = independence_chains(
        lambda theta: _log_joint(family, theta, sign * x),
        start,
        _covariance(family, start, sign * x),
        draws=draws,
        chains=chains,
        generator=generator,
    )
    log_density = _log_density(family, found.theta.flatten(0, 1), sign * x) - spread.log()
    loc, scale, *third = _natural(family, found.theta).unbind(-1)  # (chains, draws) each
    sites = {"loc": sign * loc * spread + median, "scale": scale * spread}
    if third:
        sites[_THIRD[family]] = third[0]
    arrays = {name: value.numpy(force=True) for name, value in sites.items()}
    marks = {"acceptance": found.acceptance.tolist(), "mirrored": int(mirrored)}
    pointwise = {"weight": log_density.reshape(chains, draws, -1).numpy(force=True)}
    return to_arviz(
        {
            "posterior": dataset(arrays, dict.fromkeys(arrays, SAMPLE_DIMS), attributes=marks),
            "log_likelihood": dataset(pointwise, {"weight": (*SAMPLE_DIMS, "feature")}),
        }
    )


def _free(family: str, parameters: Tensor) -> Tensor:
    """(p,) in R^p: location, log s, log third; of the skew logistic law the mode mu + s log c."""
    mu, s, *third = parameters.unbind(-1)
    mu = mu + s * third[0].log() if family == "skew_logistic" else mu
    return torch.stack([mu, *(value.log() for value in (s, *third))], -1)


def _natural(family: str, theta: Tensor) -> Tensor:
    """The inverse of `_free`, (..., p)."""
    mu, log_s, *third = theta.unbind(-1)
    mu = mu - log_s.exp() * third[0] if family == "skew_logistic" else mu
    return torch.stack([mu, *(value.exp() for value in (log_s, *third))], -1)


def _log_density(family: str, theta: Tensor, x: Tensor) -> Tensor:
    """Of the weights (n,) at draws (S, p), (S, n)."""
    natural = _natural(family, theta).unsqueeze(-2)  # a scale may overflow: density nan or 0
    density: Tensor = family_law(family, natural, validate_args=False).log_prob(x)
    return density


def _log_joint(family: str, theta: Tensor, x: Tensor) -> Tensor:
    """Up to a constant, (S,)."""
    log_prior = _normal(theta[:, 0], 2.0) + _normal(theta[:, 1], 1.5)
    if family == "student_t":  # Gamma(2, 0.1) of v, and v of the change to log v
        log_prior = log_prior + 2.0 * theta[:, 2] - 0.1 * theta[:, 2].exp()
    elif family in _THIRD:
        log_prior = log_prior + _normal(theta[:, 2], _THIRD_WIDTH[family])
    size = max(1, _ENTRIES // len(x))
    parts = [_log_density(family, part, x).sum(-1) for part in theta.split(size)]
    return torch.cat(parts) + log_prior


def _normal(value: Tensor, width: float) -> Tensor:
    return -0.5 * (value / width).square()


def _covariance(family: str, at: Tensor, x: Tensor) -> Tensor:
    """First guess (p, p): inverse of the scores' outer products, by differences, and the prior's.

    Outer products, since the Laplace laws have no Hessian.
    """
    steps = 1e-4 * torch.eye(len(at), dtype=at.dtype, device=at.device)
    up, down = (_log_density(family, at + sign * steps, x) for sign in (1.0, -1.0))
    scores = (up - down) / 2e-4  # (p, n)
    inverse: Tensor = torch.linalg.inv(scores @ scores.T + 0.25 * torch.eye(len(at)).to(at))
    return inverse
