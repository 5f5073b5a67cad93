"""A Bayesian last layer and its data, as the kernel wants them; states of its chain.

Symbols: x (N, p) features; Phi (N, q) the features and a column of ones, q = p + 1; R rows.
"""

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from probact.distributions.asymmetric_laplace import AsymmetricLaplace
from probact.distributions.head_likelihood import as_features, as_targets, stick_targets
from probact.distributions.laplace_hyperprior import LaplaceHyperprior, LaplaceParameters

__all__ = ["HeadProblem", "HeadState", "check_size", "pose_head", "with_targets"]


class HeadModel(Protocol):
    """What the kernel reads off a model; `models.LaplaceHead` is one."""

    num_features: int
    num_classes: int
    num_rows: int
    likelihood: str
    prior: LaplaceHyperprior | AsymmetricLaplace
    bias_scale: float
    noise_prior: tuple[float, float]
    class_order: Tensor | None
    num_points: int | None


class HeadProblem(NamedTuple):
    """The model and the data; no step changes it. Leading axes (...) are chains."""

    phi: Tensor  # (N, q), the last column ones
    y: Tensor  # labels (..., N) or targets (..., N, K)
    answers: Tensor  # (..., N, R), what each row of weights explains: 0 and 1, or real
    reached: Tensor | None  # (..., N, R) bool, where a stick was reached
    likelihood: str
    hyperprior: LaplaceHyperprior | None  # None: the parameters are fixed
    fixed: LaplaceParameters | None
    bias_scale: float
    noise_prior: tuple[float, float]
    class_order: Tensor | None
    square: Tensor | None  # (q, q) Phi' Phi of a gaussian layer with q <= N


class HeadState(NamedTuple):
    """One point of the chain, float64. Leading axes (...) are chains."""

    weight: Tensor  # (..., R, p)
    bias: Tensor  # (..., R)
    parameters: LaplaceParameters  # (..., R) each
    variance: Tensor | None  # (..., R) of a gaussian layer
    problem: HeadProblem


def pose_head(model: Any, data: Any) -> HeadProblem:
    """The problem of `model` given data (x, y), on the device of x.

    Raises: ValueError for another model, data that are no pair (x, y), or other rows than the
    model's num_points; TypeError and ValueError for x and y as the program.
    """
    # not isinstance: from Python 3.12 on it does not see the buffers of a module
    if not all(hasattr(model, name) for name in HeadModel.__annotations__):
        kind = type(model).__name__
        raise ValueError(f"model must be a LaplaceHead for this kernel, got {kind}")
    if not isinstance(data, tuple) or len(data) != 2 or data[1] is None:
        raise ValueError("data must be (x, y) for this kernel: features and their targets")
    x = as_features(data[0], model.num_features)
    if model.num_points not in (None, len(x)):
        raise ValueError(
            f"x must have num_points = {model.num_points} rows for this kernel, got {len(x)}:"
            " only `fit` takes mini-batches"
        )
    y = as_targets(data[1], model.likelihood, model.num_classes, len(x)).to(x.device)
    prior, order = model.prior, model.class_order
    learned = isinstance(prior, LaplaceHyperprior)
    laws = None if learned else LaplaceParameters(prior.loc, *prior.rates)
    bare = HeadProblem(
        phi=torch.cat([x, torch.ones_like(x[:, :1])], 1),
        y=y,
        answers=y,
        reached=None,
        likelihood=model.likelihood,
        hyperprior=LaplaceHyperprior(*(v.to(x) for v in prior)) if learned else None,
        fixed=None if laws is None else LaplaceParameters(*(v.to(x) for v in laws)),
        bias_scale=model.bias_scale,
        noise_prior=model.noise_prior,
        class_order=None if order is None else order.to(x.device),
        square=None,
    )
    if model.likelihood == "gaussian" and len(x) >= bare.phi.shape[1]:
        bare = bare._replace(square=bare.phi.T @ bare.phi)
    return with_targets(bare, y, model.num_classes)


def with_targets(problem: HeadProblem, y: Tensor, num_classes: int) -> HeadProblem:
    """The problem of other targets, labels (..., N) or (..., N, K), of the same features."""
    answers, reached = y, None
    if problem.likelihood == "softmax":
        answers = one_hot(y, num_classes).double()
    elif problem.likelihood == "stick_breaking":
        assert problem.class_order is not None
        answers, said = stick_targets(y, problem.class_order)
        reached = said > 0
    return problem._replace(y=y, answers=answers, reached=reached)


def check_size(problem: HeadProblem, rows: int, largest: float) -> None:
    """Refuse a layer whose sweep needs more than `largest` operations, R p min(p, N)^2.

    Raises: ValueError that says what to do instead.
    """
    points, width = problem.phi.shape
    features = width - 1
    cost = rows * features * float(min(points, features)) ** 2
    if cost > largest:
        raise ValueError(
            f"a layer of {rows} rows and {features} features on {points} points needs {cost:.1e}"
            f" operations a sweep, more than {largest:.0e}: fit it by probact.fit(model, (x, y),"
            " guide=laplace_head_guide(...)), or take a subset of the classes"
        )
