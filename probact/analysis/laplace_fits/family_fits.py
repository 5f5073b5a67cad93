r"""The fitted laws themselves: one family's maximum-likelihood law for each row of weights.

Symbols: mu location, s scale, and the third parameter of the laws that have one: kappa of the
asymmetric Laplace law, c of the skew logistic, v of Student's t. A mirrored law is that of -x.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import AffineTransform, Distribution

from probact.analysis.laplace_fits import family_likelihoods
from probact.analysis.laplace_fits.mle import fit_asymmetric_laplace
from probact.analysis.laplace_fits.weight_rows import (
    as_weight_rows,
    row_blocks,
    standardised_rows,
)
from probact.distributions import AsymmetricLaplace

__all__ = ["SMOOTH_FAMILIES", "TWO_SIDED_FAMILIES", "FamilyFit", "family_law", "fit_family"]

SMOOTH_FAMILIES = ("normal", "logistic", "skew_logistic", "student_t")
TWO_SIDED_FAMILIES = ("asymmetric_laplace", "laplace", *SMOOTH_FAMILIES)
_LAWS: dict[str, Callable[..., Distribution]] = {
    "asymmetric_laplace": AsymmetricLaplace,
    "laplace": dist.Laplace,
    "normal": dist.Normal,
    "logistic": dist.Logistic,
    "skew_logistic": dist.SkewLogistic,
    "student_t": lambda mu, s, v, **kwargs: dist.StudentT(v, mu, s, **kwargs),
}


@dataclass(frozen=True, eq=False)
class FamilyFit:
    """The most likely law of a family for each of K rows, float64."""

    family: str
    parameters: Tensor  # (K, p): mu, s and the third one, if the family has one
    mirrored: Tensor  # (K,) bool: the law is that of -x; the skew logistic law alone needs it
    loglik: Tensor  # (K,) nats

    def dist(self) -> Distribution:
        """The K laws as one batch; all but Student's t have `cdf` and `icdf`."""
        return family_law(self.family, self.parameters, self.mirrored)


def family_law(
    family: str,
    parameters: Tensor,
    mirrored: Tensor | None = None,
    *,
    validate_args: bool | None = None,
) -> Distribution:
    """The laws (...) of parameters (..., p), each mirrored at zero where `mirrored` (...) says so.

    Raises:
        ValueError: an unknown family, or parameters of another number.

    >>> family_law("logistic", torch.tensor([0.0, 2.0])).cdf(torch.tensor(0.0))
    tensor(0.5000)
    """
    _check_family(family)
    num = 3 if family in ("asymmetric_laplace", "skew_logistic", "student_t") else 2
    if parameters.shape[-1:] != (num,):
        shape = tuple(parameters.shape)
        raise ValueError(f"parameters of {family} must be (..., {num}), got shape {shape}")
    law = _LAWS[family](*parameters.unbind(-1), validate_args=validate_args)
    if mirrored is None or not bool(mirrored.any()):
        return law
    sign = torch.where(mirrored, -1.0, 1.0).to(parameters)
    turn = AffineTransform(torch.zeros_like(sign), sign)
    turned: Distribution = dist.TransformedDistribution(law, [turn], validate_args=validate_args)
    return turned


def fit_family(weights: Any, family: str) -> FamilyFit:
    """The family's most likely law for every row of weights (K, n).

    Raises:
        TypeError, ValueError: as `fit_asymmetric_laplace`; an unknown family ("exponential" has no
            law on the whole line); a constant row.

    >>> x = torch.tensor([[-1.0, 0.0, 1.0, 4.0], [0.0, 1.0, 2.0, 1.0]])
    >>> fit_family(x, "normal").parameters
    tensor([[1.0000, 1.8708],
            [1.0000, 0.7071]], dtype=torch.float64)
    """
    _check_family(family)
    rows = as_weight_rows(weights)
    ald = fit_asymmetric_laplace(rows)  # which also checks the values
    if family == "asymmetric_laplace":
        ald.require_laws("fit_family")
        parameters = torch.stack([ald.loc, ald.scale, ald.asymmetry], -1)
        return FamilyFit(family, parameters, torch.zeros_like(ald.degenerate), ald.loglik)
    parts, start = [], 0
    for block in row_blocks(rows):
        x, median, spread, constant = standardised_rows(block)
        if bool(constant.any()):
            row = start + int(constant.nonzero()[0])
            raise ValueError(f"fit_family needs rows that vary, row {row} is constant")
        found: family_likelihoods.Maximum = getattr(family_likelihoods, family)(x)
        mu, s, *third = found.parameters.unbind(-1)
        mu = mu * spread + torch.where(found.mirrored, -median, median)
        parameters = torch.stack([mu, s * spread, *third], -1)
        parts.append((parameters, found.mirrored, rows.shape[1] * (found.value - spread.log())))
        start += len(block)
    return FamilyFit(family, *(torch.cat(column) for column in zip(*parts, strict=True)))


def _check_family(family: str) -> None:
    if family not in TWO_SIDED_FAMILIES:
        raise ValueError(f"family must be one of {TWO_SIDED_FAMILIES}, got {family!r}")
