"""Draws of a last layer in a posterior of either ArviZ, or in a plain dictionary of tensors."""

from typing import Any, NamedTuple

from torch import Tensor

from probact.models.posterior_draws import posterior_draws

__all__ = ["HeadDraws", "head_draws"]


class HeadDraws(NamedTuple):
    """S draws in float64; the variance where the layer has one."""

    weight: Tensor  # (S, R, p)
    bias: Tensor  # (S, R)
    variance: Tensor | None  # (S, R)


def head_draws(
    posterior: Any,
    rows: int,
    num_features: int,
    *,
    variance: bool = False,
    max_draws: int | None = None,
) -> HeadDraws:
    """At most max_draws draws, spread evenly over chains and draws; None takes all.

    posterior is what `probact.sample` returns, what `Fit.to_arviz` returns, or a mapping with
    weight (S, R, p), bias (S, R) and, for a gaussian layer, variance (S, R).

    Raises: ValueError for something else, for draws of other shapes, or max_draws < 1.
    >>> import torch
    >>> one = {"weight": torch.zeros(1, 2, 3), "bias": torch.zeros(1, 2)}
    >>> head_draws(one, 2, 3).weight.shape
    torch.Size([1, 2, 3])
    """
    shapes: dict[str, tuple[int, ...]] = {"weight": (rows, num_features), "bias": (rows,)}
    if variance:
        shapes["variance"] = (rows,)
    found = posterior_draws(posterior, shapes, max_draws=max_draws)
    return HeadDraws(found["weight"], found["bias"], found.get("variance"))
