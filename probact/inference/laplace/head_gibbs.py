"""Gibbs sampling of a Bayesian last layer with asymmetric Laplace weights; see `head_sweep`."""

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Generator, Tensor

from probact.arrays import as_number
from probact.distributions.laplace_hyperprior import LaplaceParameters
from probact.inference.gibbs import GibbsKernel
from probact.inference.laplace.head_log_joint import head_log_joint
from probact.inference.laplace.head_problem import HeadProblem, HeadState, check_size, pose_head
from probact.inference.laplace.head_sweep import sweep_head
from probact.inference.laplace.normal_draw import NormalPrior, draw_normal

__all__ = ["LaplaceHeadGibbs"]

_SPREAD = 2.0  # standard deviation of the predictors in the first state


@final
class LaplaceHeadGibbs(GibbsKernel):
    """One sweep a step over all of a `LaplaceHead`: exact draws, nothing to tune.

    Args:
        max_operations: largest R p min(p, N)^2 of a sweep that is taken on.

    Raises: TypeError, ValueError for another option.
    >>> from probact import models
    >>> data = torch.eye(3).double(), torch.tensor([0, 1, 1])
    >>> kernel, generator = LaplaceHeadGibbs(), torch.Generator().manual_seed(0)
    >>> state = kernel.init(models.LaplaceHead(3, 2), data, generator)
    >>> kernel.step(state, generator).weight.shape
    torch.Size([2, 3])
    """

    def __init__(self, *, max_operations: float = 1e12) -> None:
        self.max_operations = as_number(max_operations, "max_operations")

    def init(self, model: Any, data: Any, generator: Generator) -> HeadState:
        """One draw of the weights under a normal prior and a normal likelihood.

        Its predictors vary by about 2; a logistic likelihood is replaced by its expansion at 0
        (omega = 1/4), a gaussian one has the variance of the targets.
        """
        problem = self._pose(model, data)
        theta, variance = _first_weights(problem, model.num_rows, generator)
        weight, bias = theta[:, :-1], theta[:, -1]
        return HeadState(weight, bias, _first_parameters(problem, weight), variance, problem)

    def step(self, state: HeadState, generator: Generator) -> HeadState:
        """One sweep."""
        return sweep_head(state, generator)

    def log_joint(self, state: HeadState) -> Tensor:
        """Log joint density of all sites, nats."""
        return head_log_joint(state)

    def record(self, state: HeadState) -> dict[str, Tensor]:
        """The sites of the program: weight, bias; loc and the rates if learned; variance."""
        return {name: value.cpu() for name, value in _sites(state).items()}

    def save(self, state: HeadState) -> dict[str, Tensor]:
        """The sites: mixing and augmentation variables are drawn afresh in every sweep."""
        return self.record(state)

    def restore(self, model: Any, data: Any, saved: Mapping[str, Tensor]) -> HeadState:
        """The saved state on the device of the data."""
        problem = self._pose(model, data)
        rows, width = model.num_rows, model.num_features
        shapes = {"weight": (rows, width), "bias": (rows,)}
        if problem.fixed is None:
            shapes |= dict.fromkeys(LaplaceParameters._fields, (rows,))
        if problem.likelihood == "gaussian":
            shapes["variance"] = (rows,)
        was = {name: tuple(value.shape) for name, value in saved.items()}
        if was != shapes:
            raise ValueError(f"the saved chain has {was}, this model and its data need {shapes}")
        at = {name: value.to(problem.phi) for name, value in saved.items()}
        laws = problem.fixed or LaplaceParameters(*(at[n] for n in LaplaceParameters._fields))
        return HeadState(at["weight"], at["bias"], laws, at.get("variance"), problem)

    def _pose(self, model: Any, data: Any) -> HeadProblem:
        problem = pose_head(model, data)
        check_size(problem, model.num_rows, self.max_operations)
        return problem


def _sites(state: HeadState) -> dict[str, Tensor]:
    sites = {"weight": state.weight, "bias": state.bias}
    if state.problem.fixed is None:
        sites |= state.parameters._asdict()
    if state.variance is not None:
        sites["variance"] = state.variance
    return sites


def _first_weights(
    problem: HeadProblem, rows: int, generator: Generator
) -> tuple[Tensor, Tensor | None]:
    """theta (R, q), and s2 (R,) of a gaussian layer."""
    phi, answers = problem.phi, problem.answers.mT  # (R, N)
    if problem.likelihood == "gaussian":
        variance = answers.var(-1, correction=0) + problem.noise_prior[1]
        precision, u = 1.0 / variance.unsqueeze(-1), answers / variance.unsqueeze(-1)
        spread = _SPREAD * variance.unsqueeze(-1).sqrt()
    else:
        variance, said = None, torch.ones_like(answers)
        if problem.reached is not None:
            said = problem.reached.mT.double()
        precision, u = 0.25 * said, answers - 0.5 * said
        spread = torch.full_like(answers[:, :1], _SPREAD)
    square = phi[:, :-1].square().sum(1).mean()  # E |x|^2
    size = torch.where(square > 0, square.rsqrt(), 1.0)
    scale = torch.cat([(spread * size).expand(rows, phi.shape[1] - 1), spread], 1)
    prior = NormalPrior(torch.zeros_like(scale), scale.square())
    return draw_normal(phi, precision, u, prior, generator)[0], variance


def _first_parameters(problem: HeadProblem, weight: Tensor) -> LaplaceParameters:
    """Fixed laws, or those of the weights' median and mean distance from it."""
    prior = problem.hyperprior
    if prior is None:
        assert problem.fixed is not None
        return problem.fixed
    median = weight.median(-1).values
    loc = torch.minimum(torch.maximum(median, prior.low), prior.high)
    distance = (weight - loc.unsqueeze(-1)).abs().sum(-1)
    right = (weight.shape[-1] + prior.right_concentration) / (distance + prior.right_rate)
    left = (weight.shape[-1] + prior.left_concentration) / (distance + prior.left_rate)
    return LaplaceParameters(loc, right, left)
