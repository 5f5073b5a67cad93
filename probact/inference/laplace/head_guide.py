"""Variational guides of a last layer that is too large for Gibbs sampling, from a trained head."""

from collections.abc import Callable
from typing import Any

import torch
from pyro.infer.autoguide import AutoGuide, AutoLowRankMultivariateNormal, AutoNormal
from pyro.infer.autoguide.initialization import init_to_median, init_to_value
from torch import Tensor

from probact.arrays import as_matrix, as_number, as_tensor, check_count, check_finite

__all__ = ["laplace_head_guide"]


def laplace_head_guide(
    weight: Any,
    bias: Any = None,
    *,
    kind: str = "diagonal",
    rank: int | None = None,
    init_scale: float = 0.02,
) -> Callable[[Any], AutoGuide]:
    """`guide=` of `probact.fit` for a `LaplaceHead`, started at weight (R, p) and bias (R,).

    kind: "diagonal" is a normal law without correlations (Pyro's AutoNormal), "low_rank" one with
    `rank` common directions (AutoLowRankMultivariateNormal; default the square root of the number
    of latent variables). init_scale is the first standard deviation of every variable, in the
    unit of the weights and of the logarithms of rates.

    Both are normal in the weights, so they miss the peak of the prior at its mode, and settle in
    one mode of the posterior. The diagonal one says too little spread of weights whose features
    are correlated: it fits what is left of a weight once all others are known.

    Raises: TypeError, ValueError for no finite matrix, a bias of another size, or other options.
    >>> guide = laplace_head_guide(torch.zeros(3, 2))
    >>> callable(guide)
    True
    """
    start = as_matrix(weight, "weight").double()
    offsets = as_tensor(torch.zeros(len(start)) if bias is None else bias, "bias").double()
    if offsets.shape != (len(start),):
        raise ValueError(f"bias must be ({len(start)},), got {tuple(offsets.shape)}")
    check_finite(offsets, "bias")
    if kind not in ("diagonal", "low_rank"):
        raise ValueError(f"kind must be diagonal or low_rank, got {kind!r}")
    if rank is not None:
        check_count(rank, "rank")
        if kind == "diagonal":
            raise ValueError("rank is only for low_rank")
    scale = as_number(init_scale, "init_scale")

    def build(model: Any) -> AutoGuide:
        """The guide of a model."""
        _check_start(model, start)
        options = {
            "init_loc_fn": init_to_value(
                values=_values(model, start, offsets), fallback=init_to_median
            ),
            "init_scale": scale,
        }
        if kind == "diagonal":
            return AutoNormal(model, **options)
        return AutoLowRankMultivariateNormal(model, rank=rank, **options)

    return build


def _check_start(model: Any, start: Tensor) -> None:
    """Refuse a start of another layer."""
    known = getattr(model, "num_rows", None), getattr(model, "num_features", None)
    if known != tuple(start.shape):
        raise ValueError(f"weight must be (R, p) = {known} of the model, got {tuple(start.shape)}")


def _values(model: Any, weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """First values of the weights, and of their laws where these are learned."""
    values = {"weight": weight, "bias": bias}
    if getattr(model, "learned", False):
        low, high = model.prior.low.cpu(), model.prior.high.cpu()
        loc = weight.median(-1).values
        loc = torch.minimum(torch.maximum(loc, 0.99 * low + 0.01 * high), 0.01 * low + 0.99 * high)
        distance = (weight - loc.unsqueeze(-1)).abs().mean(-1)
        rate = 1.0 / torch.where(distance > 0, distance, torch.ones_like(distance))
        values |= {"loc": loc, "rate_right": rate, "rate_left": rate}
    return values
