r"""Which family of laws fits each row of weights best: AIC and BIC for all classes at once.

Symbols: K rows of n weights; F families, p_f parameters each; L (K, F) maximum log-likelihoods.

    AIC = 2 p - 2 L (Akaike 1974),     BIC = p log n - 2 L (Schwarz 1978),     both: small is good
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from probact.analysis.laplace_fits import family_likelihoods
from probact.analysis.laplace_fits.mle import fit_asymmetric_laplace
from probact.analysis.laplace_fits.weight_rows import (
    as_weight_rows,
    row_blocks,
    standardised_rows,
)

__all__ = ["FAMILIES", "FamilyComparison", "compare_families"]

FAMILIES = (
    "asymmetric_laplace",
    "laplace",
    "normal",
    "logistic",
    "skew_logistic",
    "student_t",
    "exponential",
)

_NUM_PARAMETERS = dict(zip(FAMILIES, (3, 2, 2, 2, 3, 3, 2), strict=True))
_RIVALS: dict[str, Callable[[Tensor], family_likelihoods.Maximum]] = {
    name: getattr(family_likelihoods, name) for name in FAMILIES[1:]
}


@dataclass(frozen=True, eq=False)
class FamilyComparison:
    """Maximum log-likelihoods (K, F) in nats of K rows; NaN throughout for a constant row."""

    families: tuple[str, ...]
    loglik: Tensor
    converged: Tensor  # bool (K, F); False: the log-likelihood is a lower bound
    num_weights: int

    @property
    def num_parameters(self) -> Tensor:
        """(F,)."""
        counts = [float(_NUM_PARAMETERS[name]) for name in self.families]
        return self.loglik.new_tensor(counts)

    @property
    def aic(self) -> Tensor:
        """(K, F)."""
        return 2.0 * (self.num_parameters - self.loglik)

    @property
    def bic(self) -> Tensor:
        """(K, F)."""
        log_n = self.loglik.new_tensor(float(self.num_weights)).log()
        return log_n * self.num_parameters - 2.0 * self.loglik

    def best(self, criterion: str = "bic") -> list[str | None]:
        """The family of the smallest "aic" or "bic" in each row; None for a constant row.

        Raises: ValueError for another criterion.
        """
        if criterion not in ("aic", "bic"):
            raise ValueError(f'criterion must be "aic" or "bic", got {criterion!r}')
        score: Tensor = self.aic if criterion == "aic" else self.bic
        constant = self.loglik.isnan().any(-1).tolist()
        at = score.nan_to_num().argmin(-1).tolist()
        return [None if c else self.families[i] for c, i in zip(constant, at, strict=True)]

    def wins(self, criterion: str = "bic") -> dict[str, int]:
        """Number of rows that each family fits best. Raises: as `best`."""
        found = self.best(criterion)
        return {name: found.count(name) for name in self.families}

    def to_frame(self) -> pd.DataFrame:
        """A row per class; columns (quantity, family): loglik, aic, bic, converged."""
        quantities = ("loglik", "aic", "bic", "converged")
        index = pd.RangeIndex(len(self.loglik), name="class")
        frames = {
            name: pd.DataFrame(
                getattr(self, name).numpy(force=True), index=index, columns=list(self.families)
            )
            for name in quantities
        }
        return pd.concat(frames, axis=1, names=["quantity", "family"])


def compare_families(weights: Any, families: Sequence[str] = FAMILIES) -> FamilyComparison:
    """Fit every family to every row of weights (K, n) by maximum likelihood.

    Families: "asymmetric_laplace", "skew_logistic" and "student_t" of three parameters, "laplace",
    "normal", "logistic" and "exponential" (one-sided, from either end of the row) of two. Only the
    first two and the last are skewed: against symmetric rivals alone the asymmetric Laplace law
    wins wherever weights are skewed, whatever the shape of their mode.

    Raises:
        TypeError, ValueError: as `fit_asymmetric_laplace`; no families, an unknown one, or one
            named twice.

    >>> x = torch.randn(20, 400, generator=torch.Generator().manual_seed(0))
    >>> compare_families(x, ("laplace", "normal", "exponential")).wins()
    {'laplace': 0, 'normal': 20, 'exponential': 0}
    """
    families = _checked(families)
    rows = as_weight_rows(weights)
    fit = fit_asymmetric_laplace(rows)  # which also checks the values
    loglik = torch.empty(len(rows), len(families), dtype=torch.float64, device=rows.device)
    converged = torch.ones_like(loglik, dtype=torch.bool)
    start = 0
    for block in row_blocks(rows):
        part = slice(start, start + len(block))
        x, _, spread, constant = standardised_rows(block)
        for f, name in enumerate(families):
            if name == "asymmetric_laplace":
                loglik[part, f] = fit.loglik[part]
            else:
                found = _RIVALS[name](x)
                loglik[part, f] = rows.shape[1] * (found.value - spread.log())
                converged[part, f] = found.converged
        loglik[part][constant] = torch.nan
        start += len(block)
    return FamilyComparison(families, loglik, converged, rows.shape[1])


def _checked(families: Sequence[str]) -> tuple[str, ...]:
    named = (families,) if isinstance(families, str) else tuple(families)
    unknown = [name for name in named if name not in FAMILIES]
    if unknown or not named or len(set(named)) < len(named):
        raise ValueError(f"families must be different ones of {FAMILIES}, got {named}")
    return named
