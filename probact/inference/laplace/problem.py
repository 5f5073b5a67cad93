r"""What the kernel on asymmetric Laplace laws reads off its model, and the joint density.

Symbols: x (K, n) weights; m, r, l (K,) mode and rates of each row; n A and n B sums of distances
above and below the mode.

    log p(x | m, r, l) = n log(r l / (r + l)) - r n A(m) - l n B(m)
"""

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.distributions import Gamma

from probact.distributions.laplace_hyperprior import LaplaceHyperprior, LaplaceParameters
from probact.distributions.rate_regression import (
    RateRegression,
    RateRegressionPrior,
    gamma_rates,
)
from probact.inference.laplace.regression_draw import log_regression_prior
from probact.inference.laplace.rows import SortedRows, excesses, sort_weights

__all__ = [
    "LaplaceProblem",
    "first_regression",
    "log_density",
    "pose",
    "prior_of_rates",
    "rates_at",
]


class LaplaceModel(Protocol):
    """What the kernel reads off a model; `models.LaplaceWeights` is one."""

    weights: Tensor  # (K, n)
    hyperprior: LaplaceHyperprior
    regression_prior: RateRegressionPrior | None
    log_frequency: Tensor | None


class LaplaceProblem(NamedTuple):
    """The model; no step changes it."""

    rows: SortedRows
    hyperprior: LaplaceHyperprior  # of which a regression of the rates leaves only the bounds
    regression_prior: RateRegressionPrior | None
    log_frequency: Tensor | None  # (K,), mean zero

    @property
    def frequency(self) -> Tensor:
        """log_frequency, zeros where there is none."""
        if self.log_frequency is None:
            return torch.zeros_like(self.rows.centre)
        return self.log_frequency


def pose(model: Any, data: Any) -> LaplaceProblem:
    """The problem of a model, which holds its weights.

    Raises: ValueError for another model, one that cannot have a posterior, or for data.
    """
    # not isinstance: from Python 3.12 on it does not see the buffers of a module
    if not all(hasattr(model, name) for name in LaplaceModel.__annotations__):
        kind = type(model).__name__
        raise ValueError(f"model must be a LaplaceWeights for this kernel, got {kind}")
    if data is not None and not (isinstance(data, tuple) and not data):
        raise ValueError("data must be None for this kernel: the model holds its weights")
    rows = sort_weights(model.weights.detach())
    z = model.log_frequency
    return LaplaceProblem(rows, model.hyperprior, model.regression_prior, z)


def rates_at(rows: SortedRows, loc: Tensor) -> tuple[Tensor, Tensor]:
    """Rates (K,) that fit the weights best for modes loc (K,), each side given one more weight.

    sR = sqrt A (sqrt A + sqrt B), sL = sqrt B (sqrt A + sqrt B) (Kotz, Kozubowski & Podgorski
    2001, section 3.5).
    """
    spread = sum(excesses(rows, rows.centre)) / rows.num_weights
    root_a, root_b = (((e + spread) / rows.num_weights).sqrt() for e in excesses(rows, loc))
    return 1.0 / (root_a * (root_a + root_b)), 1.0 / (root_b * (root_a + root_b))


def first_regression(problem: LaplaceProblem, parameters: LaplaceParameters) -> RateRegression:
    """Least squares of the log rates, with the concentration of the middle of the prior."""
    prior, z = problem.regression_prior, problem.frequency
    assert prior is not None
    logs = torch.stack([parameters.rate_right.log(), parameters.rate_left.log()])  # (2, K)
    slope = logs @ z / z.square().sum() if problem.log_frequency is not None else 0.0 * logs[:, 0]
    log_a = torch.full_like(slope, prior.log_concentration_loc)
    return RateRegression(logs.mean(1), slope, log_a.exp())


def prior_of_rates(problem: LaplaceProblem, regression: RateRegression) -> LaplaceHyperprior:
    """The gamma laws of the rates given their regression, with the bounds of the modes."""
    b0, b1, a = regression
    z = problem.frequency
    right, left = (gamma_rates(a[i], b0[i], b1[i], z) for i in range(2))
    return problem.hyperprior._replace(
        right_concentration=a[0].expand_as(z),
        right_rate=right,
        left_concentration=a[1].expand_as(z),
        left_rate=left,
    )


def log_density(
    problem: LaplaceProblem, parameters: LaplaceParameters, regression: RateRegression | None
) -> Tensor:
    """Log joint density of the parameters and the weights, nats."""
    rows, prior, extra = problem.rows, problem.hyperprior, problem.rows.centre.new_zeros(())
    if regression is not None:
        assert problem.regression_prior is not None
        prior = prior_of_rates(problem, regression)
        free = problem.log_frequency is not None
        extra = log_regression_prior(regression, problem.regression_prior, free).sum()
    loc, right, left = parameters
    above, below = excesses(rows, loc)
    terms = rows.num_weights * (right.log() + left.log() - (right + left).log())
    terms = terms - right * above - left * below - (prior.high - prior.low).log()
    law_right = Gamma(prior.right_concentration, prior.right_rate, validate_args=False)
    law_left = Gamma(prior.left_concentration, prior.left_rate, validate_args=False)
    total: Tensor = (terms + law_right.log_prob(right) + law_left.log_prob(left)).sum() + extra
    return total
