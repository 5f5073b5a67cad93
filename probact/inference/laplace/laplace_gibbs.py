r"""Gibbs sampling of asymmetric Laplace laws given their weights: an exact kernel.

Symbols: x (K, n) weights, one row per class; m, r, l (K,) mode, right and left rate; G (K,) one
auxiliary per class, see `rate_draw`; b0, b1, a the regression of the rates on class frequency,
where the model has one. A step draws, for all classes at once,

    G | r, l              gamma
    b0, b1, a | G, m, x   Metropolis with the rates summed out, see `regression_draw`
    m | G, x              Metropolis with the rates summed out, see `mode_walk`
    r, l | G, m, x        gamma; G and the rates twice more
    m | r, l, x           piecewise exponential, by its inverse cdf, see `mode_draw`
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, final

import torch
from torch import Generator, Tensor

from probact.arrays import check_count
from probact.distributions.laplace_hyperprior import LaplaceParameters
from probact.distributions.rate_regression import RateRegression
from probact.inference.gibbs import GibbsKernel
from probact.inference.laplace.mode_draw import mode_density
from probact.inference.laplace.problem import (
    LaplaceProblem,
    first_regression,
    log_density,
    pose,
    prior_of_rates,
    rates_at,
)
from probact.inference.laplace.rate_draw import draw_overlap
from probact.inference.laplace.regression_draw import draw_regression
from probact.inference.laplace.rows import excesses
from probact.inference.laplace.sweep import sweep_parameters

__all__ = ["LaplaceGibbs", "LaplaceState"]

_SIDES = ("right", "left")


class LaplaceState(NamedTuple):
    """Mode and rates of every class, and their regressions where the model has them."""

    parameters: LaplaceParameters
    regression: RateRegression | None
    problem: LaplaceProblem


@final
class LaplaceGibbs(GibbsKernel):
    """One sweep a step over all classes, which do not depend on each other but for a regression.

    Args:
        updates: Metropolis updates of each regression in a step.
        form: "compiled" goes class by class on the CPU and looks at the weights near the mode;
            "tensor" at all of them, wherever they are; "auto" takes the first on a CPU. Both draw
            the same chain, up to rounding.

    Raises: ValueError for other options.
    >>> from probact import models
    >>> model = models.LaplaceWeights([[-1.0, 0.0, 0.5, 3.0]])
    >>> kernel, generator = LaplaceGibbs(), torch.Generator().manual_seed(0)
    >>> state = kernel.step(kernel.init(model, None, generator), generator)
    >>> state.parameters.loc.shape
    torch.Size([1])
    """

    def __init__(self, *, updates: int = 10, form: str = "auto") -> None:
        check_count(updates, "updates")
        if form not in ("auto", "compiled", "tensor"):
            raise ValueError(f"form must be auto, compiled or tensor, got {form!r}")
        self.updates, self.form = updates, form

    def init(self, model: Any, data: Any, generator: Generator) -> LaplaceState:
        """Modes drawn between the quartiles of their rows, rates that fit them."""
        problem = pose(model, data)
        rows, prior = problem.rows, problem.hyperprior
        n = rows.num_weights
        share = torch.rand(
            len(rows.values), dtype=torch.float64, device=generator.device, generator=generator
        ).to(rows.centre)
        first, last = rows.values[:, n // 4], rows.values[:, (3 * n) // 4]
        loc = rows.centre + first + share * (last - first)
        loc = torch.minimum(torch.maximum(loc, prior.low), prior.high)
        parameters = LaplaceParameters(loc, *rates_at(rows, loc))
        regression = None
        if problem.regression_prior is not None:
            regression = first_regression(problem, parameters)
        return LaplaceState(parameters, regression, problem)

    def step(self, state: LaplaceState, generator: Generator) -> LaplaceState:
        """All blocks once, in the order above."""
        problem, p = state.problem, state.parameters
        if state.regression is None:
            drawn = sweep_parameters(problem.rows, p, problem.hyperprior, generator, self.form)
            return LaplaceState(drawn, None, problem)
        assert problem.regression_prior is not None
        rows, n = problem.rows, problem.rows.num_weights
        overlap = draw_overlap(n, p.rate_right, p.rate_left, generator)
        regression = draw_regression(
            state.regression,
            torch.stack(excesses(rows, p.loc)) + overlap,
            problem.log_frequency,
            n,
            problem.regression_prior,
            generator,
            self.updates,
        )
        prior = prior_of_rates(problem, regression)
        drawn = sweep_parameters(rows, p, prior, generator, self.form, overlap)
        return LaplaceState(drawn, regression, problem)

    def conditional(self, state: LaplaceState, site: str) -> tuple[Tensor, Tensor]:
        """What `step` draws the site "loc" from: knots and log density (nats), (K, n + 2) each.

        Between neighbouring knots the log density is linear. The rates have no such law: they are
        drawn with their auxiliary.

        Raises: ValueError for another site.
        """
        if site != "loc":
            raise ValueError(f"site must be loc, got {site!r}")
        problem, (_, right, left) = state.problem, state.parameters
        prior = problem.hyperprior
        return mode_density(problem.rows, right, left, prior.low, prior.high)

    def log_joint(self, state: LaplaceState) -> Tensor:
        """log p(x, parameters), nats."""
        return log_density(state.problem, state.parameters, state.regression)

    def record(self, state: LaplaceState) -> dict[str, Tensor]:
        """The sites of the program, and scale = 1 / lambda and asymmetry = kappa, (K,) each."""
        p = state.parameters
        sites = {}
        if state.regression is not None:
            known = state.problem.log_frequency is not None
            for i, side in enumerate(_SIDES):
                for name, column in state.regression._asdict().items():
                    if name != "slope" or known:
                        sites[f"{name}_{side}"] = column[i]
        sites |= {**p._asdict(), "scale": p.scale, "asymmetry": p.asymmetry}
        return {name: value.cpu() for name, value in sites.items()}

    def save(self, state: LaplaceState) -> dict[str, Tensor]:
        """The parameters, and the regressions where there are any."""
        regression = {} if state.regression is None else state.regression._asdict()
        saved = {**state.parameters._asdict(), **regression}
        return {name: value.cpu() for name, value in saved.items()}

    def restore(self, model: Any, data: Any, saved: Mapping[str, Tensor]) -> LaplaceState:
        """The saved state on the device of the model."""
        problem = pose(model, data)
        where, classes = problem.rows.centre, len(problem.rows.centre)
        regressed = problem.regression_prior is not None
        if saved["loc"].shape != (classes,) or ("slope" in saved) != regressed:
            was = f"{len(saved['loc'])} classes, with{'out' * ('slope' not in saved)} a regression"
            raise ValueError(f"the saved chain has {was}, other than the model")
        parameters = LaplaceParameters(*(saved[k].to(where) for k in LaplaceParameters._fields))
        regression = None
        if regressed:
            regression = RateRegression(*(saved[k].to(where) for k in RateRegression._fields))
        return LaplaceState(parameters, regression, problem)
