r"""Asymmetric Laplace laws of a layer's weights, one per class, as a program.

Symbols: x (K, n) weights, one row per class; m_k mode, r_k and l_k rates of the right and the left
tail; s = (r l)^(-1/2) = 1 / lambda scale; kappa = (r / l)^(1/2) asymmetry.

    r_k ~ Gamma(a_R, b_R),  l_k ~ Gamma(a_L, b_L),  m_k ~ Uniform(low, high)
    x_ki ~ AsymmetricLaplace(m_k, s_k, kappa_k)

Hierarchical, with z_k the log frequency of class k less its mean, for either tail:

    b0 ~ N(0, 10^2),  b1 ~ N(0, 10^2),  log a ~ N(3, 1.5^2),  r_k ~ Gamma(a, a exp(-b0 - b1 z_k))
"""

from collections.abc import Sequence
from typing import Any, Self

import pandas as pd
import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Tensor

from probact.analysis.frequency_regression import norm_regression
from probact.analysis.laplace_fits import ALDFit, dead_features, fit_asymmetric_laplace
from probact.analysis.laplace_fits.weight_rows import as_weight_rows
from probact.arrays import as_number, check_finite
from probact.distributions import AsymmetricLaplace
from probact.distributions.laplace_hyperprior import (
    LaplaceHyperprior,
    LaplaceParameters,
    check_hyperprior,
    weak_hyperprior,
)
from probact.distributions.rate_regression import (
    RateRegressionPrior,
    check_regression_prior,
    gamma_rates,
)
from probact.heads import find_head
from probact.models.class_frequency import as_log_frequency, frequency_effects
from probact.models.laplace_guide import LaplaceGuide

__all__ = ["LaplaceWeights"]


class LaplaceWeights(PyroModule):
    """Observed weights whose asymmetric Laplace laws are to be inferred, float64.

    `sample` draws from the exact posterior by `LaplaceGibbs`; `fit` finds a normal approximation,
    good for independent classes (see `laplace_guide`); `mle` needs neither. Features that no class
    uses put a spike at zero into every row: fit `weights[:, ~model.dead_features()]` where there
    are some.

    Args:
        weights: x (K, n >= 3), tensor or array, floating point.
        hyperprior: Gamma priors of the rates and bounds of the mode; default `weak_hyperprior`.
        hierarchical: rates of all classes share a law, which is inferred; hyperprior then only
            gives the bounds of the modes.
        counts: (K,) how often each class was seen in training, > 0; the rates' law then follows
            their logarithm.
        regression_prior: of b0, b1 and a, for hierarchical models.
        class_names: K names, the coordinates of the dimension "class".

    Raises:
        TypeError, ValueError: not a finite floating matrix of at least 3 columns (rows with NaN
            are named), priors or counts that do not fit it.

    >>> model = LaplaceWeights([[-1.0, 0.0, 0.5, 3.0]])
    >>> model.mle().loc
    tensor([0.], dtype=torch.float64)
    """

    weights: Tensor
    log_frequency: Tensor | None
    guide: LaplaceGuide | None

    def __init__(
        self,
        weights: Any,
        hyperprior: LaplaceHyperprior | None = None,
        *,
        hierarchical: bool = False,
        counts: Any = None,
        regression_prior: RateRegressionPrior | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        rows = as_weight_rows(weights)
        check_finite(rows, "weights")
        rows = rows.to(torch.float64, copy=True)
        self.num_classes, self.num_features = rows.shape
        self.register_buffer("weights", rows)
        if not hierarchical and (counts is not None or regression_prior is not None):
            name = "counts" if counts is not None else "regression_prior"
            raise ValueError(f"{name} needs hierarchical=True: classes are independent otherwise")
        if hierarchical and self.num_classes < 3:
            raise ValueError(f"a hierarchical model needs 3 classes, got {self.num_classes}")
        z = None if counts is None else as_log_frequency(counts, self.num_classes)
        self.register_buffer("log_frequency", None if z is None else z.to(rows))
        self.regression_prior = check_regression_prior(regression_prior) if hierarchical else None
        self.dims = {"scale": ("class",), "asymmetry": ("class",)}
        self.coords = {} if class_names is None else {"class": self._named(class_names)}
        self._set_hyperprior(hyperprior)

    def _named(self, names: Sequence[str]) -> list[str]:
        sized = hasattr(names, "__len__") and not isinstance(names, str)
        if not sized or len(names) != self.num_classes:
            raise ValueError(f"class_names must be {self.num_classes} names, got {names!r}")
        return list(names)

    def _set_hyperprior(self, given: LaplaceHyperprior | None) -> None:
        rows = self.weights
        fit = fit_asymmetric_laplace(rows)
        constant = fit.degenerate & (rows == rows[:, :1]).all(1)
        self._constant = [int(k) for k in constant.nonzero()[:, 0]]
        self.guide = None
        if self._constant and given is None:
            prior = LaplaceHyperprior(*(rows.new_ones(self.num_classes) for _ in range(6)))
        elif given is None:
            prior = weak_hyperprior(rows)
        else:
            prior = check_hyperprior(given, self.num_classes, rows.device)
        for name, column in prior._asdict().items():
            self.register_buffer(f"prior_{name}", column)
        if not self._constant:
            z = self.log_frequency
            if self.regression_prior is not None and z is None:
                z = rows.new_zeros(self.num_classes)
            spread = (rows - rows.median(1, keepdim=True).values).abs().mean(1)
            self.guide = LaplaceGuide(fit, spread, prior, z)

    @classmethod
    def from_head(cls, source: Any, **options: Any) -> Self:
        """The model of the head of a network, file or `Head`, with its class names.

        Raises: as `find_head` and as the class.
        >>> LaplaceWeights.from_head(torch.nn.Linear(8, 3)).num_classes
        3
        """
        head = find_head(source)
        return cls(head.weight, **{"class_names": head.labels, **options})

    @property
    def hyperprior(self) -> LaplaceHyperprior:
        """The prior of every class. Raises: ValueError for constant rows, as the program."""
        self._check_posterior()
        return LaplaceHyperprior(
            *(getattr(self, f"prior_{name}") for name in LaplaceHyperprior._fields)
        )

    def _check_posterior(self) -> None:
        if self._constant:
            count = len(self._constant)
            raise ValueError(
                f"weights has {count} constant row{'s' * (count > 1)} (first: row "
                f"{self._constant[0]}), whose rates have no posterior; leave them out"
            )

    def forward(self) -> Tensor:
        """The program: sites "rate_right", "rate_left", "loc" (K,) and "obs" (n, K), the weights.

        "scale" and "asymmetry" (K,) are deterministic. Hierarchical programs begin with
        "intercept_right", "slope_right" where there are counts, "concentration_right", and the
        same for the left tail.

        Raises: ValueError for a constant row.
        """
        prior = self.hyperprior
        laws = (
            dist.Gamma(prior.right_concentration, prior.right_rate),
            dist.Gamma(prior.left_concentration, prior.left_rate),
        )
        if self.regression_prior is not None:
            laws = self._shared_law("right"), self._shared_law("left")
        with pyro.plate("class", self.num_classes, dim=-1):
            rate_right = pyro.sample("rate_right", laws[0])
            rate_left = pyro.sample("rate_left", laws[1])
            loc = pyro.sample("loc", dist.Uniform(prior.low, prior.high))
            p = LaplaceParameters(loc, rate_right, rate_left)
            pyro.deterministic("scale", p.scale)
            pyro.deterministic("asymmetry", p.asymmetry)
            law = AsymmetricLaplace(loc, p.scale, p.asymmetry)
            with pyro.plate("feature", self.num_features, dim=-2):
                drawn: Tensor = pyro.sample("obs", law, obs=self.weights.mT)
        return drawn

    def _shared_law(self, side: str) -> dist.Gamma:
        """Of the rates of one tail, given its regression."""
        prior = self.regression_prior
        assert prior is not None
        zero = self.weights.new_zeros(())
        b0 = pyro.sample(f"intercept_{side}", dist.Normal(zero, prior.intercept_scale))
        b1, z = zero, self.weights.new_zeros(self.num_classes)
        if self.log_frequency is not None:
            b1 = pyro.sample(f"slope_{side}", dist.Normal(zero, prior.slope_scale))
            z = self.log_frequency
        log_a = dist.LogNormal(zero + prior.log_concentration_loc, prior.log_concentration_scale)
        a = pyro.sample(f"concentration_{side}", log_a)
        return dist.Gamma(a, gamma_rates(a, b0, b1, z))

    def mle(self) -> ALDFit:
        """The exact maximum-likelihood fit of every row; constant rows are flagged."""
        return fit_asymmetric_laplace(self.weights)

    def dead_features(self, tolerance: float = 1e-3) -> Tensor:
        """(n,) bool: features whose weights are next to nothing in all classes.

        See `analysis.laplace_fits.dead_features`.
        """
        return dead_features(self.weights, tolerance)

    def frequency_effects(self, posterior: Any, *, prob: float = 0.94) -> pd.DataFrame:
        """b1 of log r, log l, log lambda and log kappa: mean, sd, and an interval of mass prob.

        lambda = (r l)^(1/2) and kappa = (r / l)^(1/2), so their slopes are the half sum and the
        half difference of those of the rates. posterior is what `sample` or `Fit.to_arviz`
        returned. The last row, log_norm, is the baseline: norms grow with frequency, and a scale
        that goes as they do says no more. It is no posterior but the slope of log |theta_k| by
        `analysis.norm_regression`, its standard error and confidence interval.

        Raises: ValueError for a model without counts, another posterior, or prob outside (0, 1).
        """
        if self.log_frequency is None:
            raise ValueError("frequency_effects needs a model with hierarchical=True and counts")
        if as_number(prob, "prob") >= 1.0:
            raise ValueError(f"prob must lie in (0, 1), got {prob!r}")
        norms = norm_regression(self.weights, self.log_frequency, level=prob)
        return frequency_effects(posterior, prob, norms)
