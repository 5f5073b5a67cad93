r"""Asymmetric L1 penalty of a layer's weights: the asymmetric Laplace prior in training.

Symbols: w (K, ...) weights, K classes; m `loc`, r `rate_right`, l `rate_left`, each a number or
(K,), one for each class. The prior's negative log density, up to the constant log(1/r + 1/l), is

    P(w) = r (w - m)^+ + l (m - w)^+

so that the mean cross-entropy of N labels plus P / N is minimal at the posterior mode (MAP); at
m = 0 and r = l it is the lasso. P has a kink at m, where weights come to rest: the proximal map

    prox_t(w) = argmin_v P(v) + |v - w|^2 / (2 t) = m + (w - m - t r)^+ - (m - w - t l)^+

after each gradient step of size t on the rest of the loss puts them there exactly (proximal
gradient descent; Parikh & Boyd 2014, section 4.2). That is for plain gradient descent: a method
that scales coordinates, such as Adam, needs the map of its own metric.
"""

from typing import Any, Literal

import torch
from torch import Tensor

from probact.distributions.sphere_parameters import first_index

__all__ = ["ald_penalty", "ald_prox"]


def ald_penalty(
    weight: Tensor,
    loc: Any,
    rate_right: Any,
    rate_left: Any,
    reduction: Literal["sum", "mean", "none"] = "sum",
) -> Tensor:
    """P of weights (K, ...), in nats: a scalar, or with "none" the shape of the weights.

    Differentiable in all tensors; the slope at w = m is zero, which is a subgradient. P alone is
    smallest at rates of zero: to learn them, take `AsymmetricLaplace.log_prob`, which has the
    constant.

    Args:
        weight: (K, ...), floating.
        loc, rate_right, rate_left: m finite, r and l finite and >= 0; numbers or (K,).
        reduction: "sum" (the prior of independent weights), "mean" or "none".

    Raises:
        TypeError: weight is no floating tensor, or a parameter no number or floating tensor.
        ValueError: a parameter of another shape or device, negative rates, values that are not
            finite, no axis of classes, another reduction.

    >>> weight = torch.tensor([[-1.0, 3.0], [0.0, 2.0]])
    >>> ald_penalty(weight, 1.0, torch.tensor([1.0, 10.0]), 2.0, "none")
    tensor([[ 4.,  2.],
            [ 2., 10.]])
    """
    m, right, left = _of_classes(weight, loc, rate_right, rate_left)
    if reduction not in ("sum", "mean", "none"):
        raise ValueError(f'reduction must be "sum", "mean" or "none", got {reduction!r}')
    offset = weight - m
    penalty = right * torch.relu(offset) + left * torch.relu(-offset)
    if reduction == "none":
        return penalty
    return penalty.sum() if reduction == "sum" else penalty.mean()


def ald_prox(
    weight: Tensor, loc: Any, rate_right: Any, rate_left: Any, step: float | Tensor = 1.0
) -> Tensor:
    """prox_t of weights (K, ...), t = `step`: towards m by t r or t l, and no further than m.

    Of the mean cross-entropy of N labels, t is the learning rate over N.

    Args:
        weight, loc, rate_right, rate_left: as for `ald_penalty`.
        step: t, finite and >= 0, a number or (K,).

    Raises:
        TypeError, ValueError: as for `ald_penalty`.

    >>> ald_prox(torch.tensor([[-2.0, 0.9, 1.5, 4.0]]), 1.0, 2.0, 1.0, step=0.5)
    tensor([[-1.5000,  1.0000,  1.0000,  3.0000]])
    """
    m, right, left = _of_classes(weight, loc, rate_right, rate_left)
    t = _parameter(step, "step", weight)
    offset = weight - m
    return m + torch.relu(offset - t * right) - torch.relu(-offset - t * left)


def _of_classes(weight: Tensor, loc: Any, rate_right: Any, rate_left: Any) -> list[Tensor]:
    """m, r and l, each () or (K, 1, ...), checked."""
    if not isinstance(weight, Tensor) or not weight.is_floating_point():
        kind = weight.dtype if isinstance(weight, Tensor) else type(weight).__name__
        raise TypeError(f"weight must be a floating tensor, got {kind}")
    if weight.ndim < 1:
        raise ValueError("weight must have an axis of classes, got one number")
    given = {"loc": loc, "rate_right": rate_right, "rate_left": rate_left}
    return [_parameter(value, name, weight) for name, value in given.items()]


def _parameter(value: Any, name: str, weight: Tensor) -> Tensor:
    """A number or (K,) tensor that broadcasts with weights (K, ...)."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = torch.tensor(float(value), dtype=weight.dtype, device=weight.device)
    if not isinstance(value, Tensor) or not value.is_floating_point():
        kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"{name} must be a number or a floating tensor, got {kind}")
    if value.ndim and value.shape != weight.shape[:1]:
        shape, classes = tuple(value.shape), weight.shape[0]
        raise ValueError(f"{name} must be a number or of shape ({classes},), got shape {shape}")
    if value.ndim and value.device != weight.device:
        raise ValueError(f"{name} is on {value.device}, weight on {weight.device}")
    wrong = ~torch.isfinite(value) | ((value < 0) & (name != "loc"))
    if bool(wrong.any()):
        rule = "finite" if name == "loc" else "finite and >= 0"
        at = first_index(wrong.reshape(-1))[0]
        raise ValueError(f"{name} must be {rule}, got {value.reshape(-1)[at].item()!r} at {at}")
    return value.reshape(-1, *([1] * (weight.ndim - 1))) if value.ndim else value
