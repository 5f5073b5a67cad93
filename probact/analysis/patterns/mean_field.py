r"""Mean-field correlation of pre-activations in wide random ReLU layers.

Symbols: n_l units of layer l, n_0 inputs; q = E |x|^2 / n_0, r = E <x, x'> / n_0 for independent
inputs x, x'; weights of variance s_w / n_{l-1}, biases of variance s_b. Layer by layer

    Q = s_w q + s_b,  S = s_w r + s_b,  c = S / Q,  then q = Q / 2,  r = Q kappa(c) / 2,
    kappa(c) = (sqrt(1 - c^2) + c (pi - acos c)) / pi        (Cho & Saul 2009, degree 1).

`torch.nn.Linear` has s_w = 1/3 and s_b = 1 / (3 n_{l-1}); He et al. 2015 s_w = 2 and s_b = 0. The
scale of the former falls by 6 a layer, so its biases take over and c tends to 1.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from probact.analysis.neighbours import as_rows
from probact.arrays import as_number, check_count

__all__ = ["InputMoments", "input_moments", "mean_field_correlations"]


class InputMoments(NamedTuple):
    """Mean square q of an input, and mean product r of the inputs of two independent rows."""

    square: float
    product: float


def input_moments(x: Any) -> InputMoments:
    """q and r of rows x (N, ...), r over the pairs of different rows.

    Raises:
        TypeError: no array.
        ValueError: fewer than two rows, or values that are not finite.

    >>> input_moments([[1.0, 0.0], [1.0, 2.0]])
    InputMoments(square=1.5, product=0.5)
    """
    rows = as_rows(x, "x")
    count, width = rows.shape
    if count < 2:
        raise ValueError(f"x must have at least 2 rows, got {count}")
    total = float(rows.square().sum())
    pairs = float(rows.sum(0).square().sum()) - total
    return InputMoments(total / (count * width), pairs / (count * (count - 1) * width))


def mean_field_correlations(
    moments: InputMoments,
    fans: Sequence[int],
    *,
    weight_scale: float = 1.0 / 3.0,
    bias_variance: float | None = None,
) -> list[float]:
    """c of each layer of a random ReLU network, from the moments of its inputs.

    Exact as layers get wide; for trained networks take `ScoreMoments.correlation`.

    Args:
        moments: of the inputs, `input_moments(x)`.
        fans: inputs of each layer, n_0, n_1, ..
        weight_scale: s_w; 1/3 is `torch.nn.Linear`'s, 2 is He's.
        bias_variance: s_b; 1 / (3 fan), as `torch.nn.Linear`'s, without.

    Raises: ValueError: fans that are no positive integers, numbers below zero, or moments with
        |r| > q.

    >>> [round(c, 3) for c in mean_field_correlations(InputMoments(1.0, 0.0), [784, 256, 256])]
    [0.001, 0.335, 0.563]
    """
    q = as_number(moments.square, "square")
    r = float(moments.product)
    if not abs(r) <= q * (1.0 + 1e-12):
        raise ValueError(f"moments must have |product| <= square, got {moments}")
    s_w = as_number(weight_scale, "weight_scale")
    found = []
    for fan in fans:
        check_count(fan, "fans")
        s_b = 1.0 / (3.0 * fan) if bias_variance is None else bias_variance
        s_b = as_number(s_b, "bias_variance", inclusive=True)
        total = s_w * q + s_b
        c = max(-1.0, min(1.0, (s_w * r + s_b) / total))
        found.append(c)
        q, r = 0.5 * total, 0.5 * total * _kappa(c)
    return found


def _kappa(c: float) -> float:
    """2 E relu(u) relu(w) for standard normal u, w of correlation c."""
    return (math.sqrt(1.0 - c * c) + c * (math.pi - math.acos(c))) / math.pi
