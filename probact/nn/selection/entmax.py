r"""Tsallis selections: the entmax maps from scores to a simplex.

Symbols: s (..., R) scaled scores; alpha > 1 order; t (..., R) = argmax_t <t, s> + H_alpha(t) over
the simplex, with H_alpha(t) = (1 - sum_r t_r^alpha) / (alpha (alpha - 1)) in nats at alpha -> 1.
The optimum is t_r = [1 + (alpha - 1)(s_r - kappa)]_+^(1 / (alpha - 1)), kappa such that t sums to
one (Peters, Niculae & Martins 2019, eq. 10, with tau = (alpha - 1) kappa - 1). In v = log max t
and order = alpha - 1, t_r = e^v [1 + order (s_r - max s) e^(-order v)]_+^(1 / order): the limit
order -> 0 is a softmax, and neither it nor a large order loses digits. Scores of -inf stand for
absent regions, t = 0; a row with NaN gives NaN.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from probact.arrays import as_number
from probact.nn.selection.inverse_temperature import widened
from probact.nn.selection.tempered_selection import check_scores

__all__ = [
    "entmax",
    "entmax15",
    "entmax_bisect",
    "entmax_of_order",
    "sparsemax",
    "tsallis_entropy",
]

_LARGEST_EXPONENT = 80.0  # of float32; what it is multiplied with is 0 or leaves the support
_LOG1P = tuple((-1.0) ** n / (n + 1) for n in range(10))  # of log1p(y) / y
_EXPM1 = tuple(1.0 / math.factorial(n + 1) for n in range(10))  # of expm1(y) / y


def entmax(s: Tensor, alpha: float) -> Tensor:
    """t (..., R) of order alpha >= 1: softmax at 1, closed forms at 1.5 and 2, else bisection.

    Differentiable twice in s. float16 and bfloat16 are computed in float32 and rounded back.

    Raises:
        TypeError: alpha is no number, s no floating-point tensor.
        ValueError: alpha < 1 or not finite, s without regions.

    >>> entmax(torch.tensor([0.0, 0.5, 3.0]), 2.0)
    tensor([0., 0., 1.])
    """
    alpha = as_number(alpha, "alpha", 1.0, inclusive=True)
    check_scores(s)
    return entmax_of_order(widened(s), alpha - 1.0).to(s.dtype)


def entmax_of_order(s: Tensor, order: float) -> Tensor:
    """`entmax` of float32 or float64 scores at alpha = 1 + order, unchecked.

    >>> entmax_of_order(torch.tensor([0.0, 0.5]), 1.0)
    tensor([0.2500, 0.7500])
    """
    if order == 0.0:
        return torch.softmax(s, -1)
    if order == 1.0:
        return sparsemax(s)
    return entmax15(s) if order == 0.5 else entmax_bisect(s, order)


def sparsemax(s: Tensor) -> Tensor:
    """alpha = 2, the Euclidean projection on the simplex (Martins & Astudillo 2016).

    For two regions with gap s: t_2 = clip((1 + s) / 2, 0, 1).

    >>> sparsemax(torch.tensor([0.0, 0.5]))
    tensor([0.2500, 0.7500])
    """
    s, absent = _shifted(s)
    with torch.no_grad():
        top = s.masked_fill(absent, -math.inf).sort(-1, descending=True).values
        rank = torch.arange(1, s.shape[-1] + 1, dtype=s.dtype, device=s.device)
        size = (1.0 + rank * top > top.cumsum(-1)).sum(-1, keepdim=True).clamp_min(1)
        tau = (top.cumsum(-1).gather(-1, size - 1) - 1.0) / size
        inside = ~((s <= tau) | absent)  # a NaN is inside, and spreads
    tau = (s.where(inside, 0.0).sum(-1, keepdim=True) - 1.0) / inside.sum(-1, keepdim=True)
    return (s - tau).where(inside, 0.0)


def entmax15(s: Tensor) -> Tensor:
    """alpha = 1.5 (Peters, Niculae & Martins 2019, section 4.2).

    For two regions with gap s: t_2 = 1/2 + (s / 4) sqrt(2 - s^2 / 4) for |s| <= 2.

    >>> entmax15(torch.tensor([0.0, 1.0])).round(decimals=4)
    tensor([0.1693, 0.8307])
    """
    s, absent = _shifted(s)
    s = 0.5 * s
    with torch.no_grad():
        top = s.masked_fill(absent, -math.inf).sort(-1, descending=True).values
        rank = torch.arange(1, s.shape[-1] + 1, dtype=s.dtype, device=s.device)
        tau = _root15(top.cumsum(-1) / rank, top.square().cumsum(-1) / rank, rank)
        size = (tau <= top).sum(-1, keepdim=True).clamp_min(1)
        inside = ~((s <= tau.gather(-1, size - 1)) | absent)
    size = inside.sum(-1, keepdim=True)
    mean = s.where(inside, 0.0).sum(-1, keepdim=True) / size
    spread = (s - mean).square().where(inside, 0.0).sum(-1, keepdim=True)
    tau = mean - ((1.0 - spread) / size).sqrt()
    return (s - tau).square().where(inside, 0.0)


def _root15(mean: Tensor, square: Tensor, size: Tensor) -> Tensor:
    """tau with sum (s - tau)^2 = 1 over the `size` largest; beyond the support it is not used."""
    return mean - (1.0 / size - square + mean.square()).clamp_min(0.0).sqrt()


def entmax_bisect(s: Tensor, order: float | Tensor) -> Tensor:
    """Any alpha = 1 + order, order > 0 a number or 0-d tensor; differentiable twice in both.

    The unknown is v = log max_r t_r in [-log R, 0], bisected to the last digit without gradient;
    two Newton steps, of which only the gradient is kept, then make its derivatives exact. A weight
    at the edge of the support has the error eps^(1 / order), so alpha is best kept below 4.

    >>> entmax_bisect(torch.tensor([0.0, 0.5]), 1.0)  # sparsemax
    tensor([0.2500, 0.7500])
    """
    s, absent = _shifted(s)
    with torch.no_grad():
        fixed = torch.as_tensor(order, dtype=s.dtype, device=s.device)
        high = torch.zeros_like(s[..., :1])
        low = high - math.log(s.shape[-1])
        for _ in range(60 if s.dtype == torch.float64 else 30):
            middle = 0.5 * (low + high)
            above = _weights(s, middle, fixed, absent).sum(-1, keepdim=True) > 1.0
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        v = high  # where no region of the support is lost
    for _ in range(2):
        excess = _weights(s, v, order, absent).sum(-1, keepdim=True) - 1.0
        slope = _weights(s, v, order, absent, 1.0 - order).sum(-1, keepdim=True)
        step = excess / slope
        v = v - (step - step.detach())
    t = _weights(s, v, order, absent)
    return t / t.sum(-1, keepdim=True)


def _weights(
    s: Tensor,
    v: Tensor,
    order: float | Tensor,
    absent: Tensor,
    power: float | Tensor = 1.0,
) -> Tensor:
    """e^v [1 + order s e^(-order v)]_+^(power / order), t at power 1, dt/dv at 1 - order."""
    scale = torch.exp((-order * v).clamp_max(_LARGEST_EXPONENT))
    return v.exp() * _powers(s * scale, order, absent, power)


def _powers(
    d: Tensor, order: float | Tensor, absent: Tensor, power: float | Tensor = 1.0
) -> Tensor:
    """[1 + order d]_+^(power / order), 0 outside the support whatever the power."""
    outside = (order * d <= -1.0) | absent
    d = d.masked_fill(outside, 0.0)
    log_power = power * d * _over(torch.log1p, order * d, _LOG1P)
    return log_power.exp().masked_fill(outside, 0.0)


def tsallis_entropy(t: Tensor, order: float | Tensor) -> Tensor:
    """H_alpha(t) (...) of t (..., R) on the simplex, alpha = 1 + order > 1.

    >>> tsallis_entropy(torch.tensor([0.5, 0.5]), 1.0)  # Gini: (1 - sum t^2) / 2
    tensor(0.2500)
    """
    log_t = t.where(t != 0.0, 1.0).log()  # 0 contributes nothing, as 1 does
    lost: Tensor = t * log_t * _over(torch.expm1, order * log_t, _EXPM1)
    return -lost.sum(-1) / (1.0 + order)


def _over(function: Callable[[Tensor], Tensor], y: Tensor, series: tuple[float, ...]) -> Tensor:
    """function(y) / y; by its series near 0, where the quotient's derivatives lose all digits."""
    near = y.abs() < 0.01
    small, large = y.where(near, 0.0), y.where(~near, 1.0)
    value = torch.zeros_like(y)
    for coefficient in reversed(series):
        value = value * small + coefficient
    return torch.where(near, value, function(large) / large)


def _shifted(s: Tensor) -> tuple[Tensor, Tensor]:
    """Scores below the largest one, with 0 in place of -inf; and where these were."""
    absent = torch.isneginf(s)
    top = s.detach().amax(-1, keepdim=True)
    return s.masked_fill(absent, 0.0) - top.masked_fill(absent.all(-1, keepdim=True), 0.0), absent
