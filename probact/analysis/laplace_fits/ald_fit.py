r"""What a maximum-likelihood fit of the asymmetric Laplace law to K rows of weights says.

Symbols: n weights in a row; m mode, s_R and s_L right and left scale; s = sqrt(s_R s_L) = 1 /
lambda, kappa = sqrt(s_L / s_R), rates r = 1 / s_R and l = 1 / s_L. All (K,), float64.
"""

from dataclasses import dataclass, fields

import pandas as pd
import torch
from torch import Tensor

from probact.analysis.laplace_fits.fisher import asymptotic_covariance
from probact.distributions import AsymmetricLaplace

__all__ = ["ALDFit"]


@dataclass(frozen=True, eq=False)
class ALDFit:
    """Fits of K rows of n weights.

    `degenerate` rows have no value strictly between their smallest and largest, or a spread below
    1e-300: no two-sided law fits them best. Their scales are the limit that the likelihood tends
    to: s_L or s_R is zero (one-sided), or both are (a constant row, log-likelihood infinite,
    kappa NaN).
    """

    loc: Tensor  # m, one of the row's weights
    scale_right: Tensor
    scale_left: Tensor
    loglik: Tensor  # maximum log-likelihood of the row, nats
    boundary_gain: Tensor  # nats that the better one-sided exponential law gains on it
    degenerate: Tensor  # bool
    num_weights: int  # n

    def __getitem__(self, rows: slice) -> "ALDFit":
        """The fits of some of the rows."""
        columns = {f.name: getattr(self, f.name)[rows] for f in fields(self)[:-1]}
        return ALDFit(num_weights=self.num_weights, **columns)

    @property
    def scale(self) -> Tensor:
        """s = 1 / lambda."""
        return self.scale_right.sqrt() * self.scale_left.sqrt()

    @property
    def asymmetry(self) -> Tensor:
        """kappa; NaN for a constant row."""
        return self.scale_left.sqrt() / self.scale_right.sqrt()

    @property
    def rates(self) -> tuple[Tensor, Tensor]:
        """r and l; infinite where a scale is zero."""
        return 1.0 / self.scale_right, 1.0 / self.scale_left

    @property
    def boundary(self) -> Tensor:
        """(K,) bool: a one-sided exponential law from an end of the row fits better."""
        return self.boundary_gain > 0.0

    def dist(self) -> AsymmetricLaplace:
        """The K fitted laws as one batch.

        Raises:
            ValueError: a degenerate row, which has no such law; the first one is named.
        """
        self.require_laws("dist()")
        return AsymmetricLaplace(self.loc, self.scale, self.asymmetry)

    def cov(self) -> Tensor:
        """Asymptotic covariance (K, 3, 3) of (m, log lambda, log kappa); NaN where degenerate.

        It does not hold for `boundary` rows.
        """
        covariance = asymptotic_covariance(self.scale, self.asymmetry, self.num_weights)
        return torch.where(self.degenerate[:, None, None], torch.nan, covariance)

    def to_frame(self) -> pd.DataFrame:
        """A row per class: parameters, standard errors (`se_`), log-likelihood in nats, flags."""
        errors = self.cov().diagonal(dim1=-2, dim2=-1).sqrt()  # (K, 3)
        right, left = self.rates
        columns = {
            "loc": self.loc,
            "scale": self.scale,
            "asymmetry": self.asymmetry,
            "rate_right": right,
            "rate_left": left,
            "se_loc": errors[:, 0],
            "se_log_scale": errors[:, 1],
            "se_log_asymmetry": errors[:, 2],
            "loglik": self.loglik,
            "boundary_gain": self.boundary_gain,
            "boundary": self.boundary,
            "degenerate": self.degenerate,
        }
        index = pd.RangeIndex(len(self.loc), name="class")
        return pd.DataFrame({k: v.numpy(force=True) for k, v in columns.items()}, index=index)

    def require_laws(self, what: str) -> None:
        """Refuse degenerate rows. Raises: ValueError that names the first."""
        if bool(self.degenerate.any()):
            count, row = int(self.degenerate.sum()), int(self.degenerate.nonzero()[0])
            raise ValueError(
                f"{what} needs rows with a two-sided law, got {count} degenerate "
                f"row{'s' * (count > 1)} (first: row {row})"
            )
