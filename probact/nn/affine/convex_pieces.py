r"""Convex piecewise-affine activations as maxima of affine pieces.

Symbols: u a pre-activation; (c_r, d_r) slope and constant of piece r; activation
phi(u) = max_r (c_r u + d_r). Balestriero & Baraniuk 2019, section 2. What is not convex is no
maximum of pieces; relu6, hardtanh, a minimum and two slopes p > q are differences of two maxima.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import nn

from probact.arrays import as_number

__all__ = ["DifferencePieces", "Pieces", "convex_pieces", "difference_pieces"]

Pieces = tuple[tuple[float, float], ...]

_IDENTITY: Pieces = ((1.0, 0.0),)
_NAMED: dict[str, Pieces] = {
    "identity": _IDENTITY,
    "maxout": _IDENTITY,
    "relu": ((0.0, 0.0), (1.0, 0.0)),
    "abs": ((-1.0, 0.0), (1.0, 0.0)),
}
_KNOWN = "identity, relu, leaky_relu, abs, maxout or two slopes (p, q)"


class DifferencePieces(NamedTuple):
    """phi = max over `plus` - max over `minus`; `pools` where phi may stand before a maximum."""

    plus: Pieces
    minus: Pieces
    pools: bool


def convex_pieces(activation: Any, negative_slope: float = 0.01) -> Pieces:
    """Pieces (c_r, d_r) of a convex piecewise-affine activation.

    Args:
        activation: "identity", "relu", "leaky_relu", "abs", "maxout" (the identity, pooled), a
            pair of slopes (p, q) with p <= q for max(p u, q u), or an instance of nn.Identity,
            nn.ReLU or nn.LeakyReLU.
        negative_slope: nu <= 1 of "leaky_relu".

    Raises:
        ValueError: not convex (relu6, hardtanh, min, nu > 1, p > q), or not piecewise affine.
        TypeError: slopes that are no numbers.

    >>> convex_pieces("leaky_relu", 0.1)
    ((0.1, 0.0), (1.0, 0.0))
    """
    name = _activation_name(activation)
    if isinstance(activation, nn.LeakyReLU):
        negative_slope = activation.negative_slope
    if name == "leaky_relu":
        slope = as_number(negative_slope, "negative_slope", -math.inf)
        if slope > 1.0:
            raise ValueError(
                f"leaky_relu with negative_slope {slope:g} > 1 is not convex, so it is no maximum "
                "of affine pieces; use Difference.from_layer"
            )
        return ((slope, 0.0), (1.0, 0.0))
    if name is None:
        p, q = _slope_pair(activation)
        if p > q:
            raise ValueError(
                f"two slopes (p, q) need p <= q to be convex, got ({p:g}, {q:g}); use "
                "Difference.from_layer"
            )
        return ((p, 0.0), (q, 0.0))
    if name in ("relu6", "hardtanh", "min"):
        raise ValueError(
            f"activation {name!r} is not convex, so it is no maximum of affine pieces; use "
            "Difference.from_layer"
        )
    if name not in _NAMED:
        raise ValueError(
            f"activation must be convex and piecewise affine ({_KNOWN}), got {name!r}"
        )
    return _NAMED[name]


def difference_pieces(activation: Any, negative_slope: float = 0.01) -> DifferencePieces:
    """Pieces of phi = phi_plus - phi_minus for relu6, hardtanh, min (-max(-u)) and p > q.

    Raises:
        ValueError: an activation that is not one of these, or that is convex.
        TypeError: slopes that are no numbers.

    >>> difference_pieces("relu6").minus  # relu(u - 6)
    ((0.0, 0.0), (1.0, -6.0))
    """
    name = _activation_name(activation)
    if name == "relu6":
        return DifferencePieces(_NAMED["relu"], ((0.0, 0.0), (1.0, -6.0)), True)
    if name == "hardtanh":
        low, high = -1.0, 1.0
        if isinstance(activation, nn.Hardtanh):
            low, high = float(activation.min_val), float(activation.max_val)
        return DifferencePieces(((0.0, low), (1.0, 0.0)), ((0.0, 0.0), (1.0, -high)), True)
    if name == "min":
        return DifferencePieces(((0.0, 0.0),), ((-1.0, 0.0),), True)
    if name == "leaky_relu":
        own = isinstance(activation, nn.LeakyReLU)
        slope = activation.negative_slope if own else negative_slope
        p, q = as_number(slope, "negative_slope", -math.inf), 1.0
    elif name is None:
        p, q = _slope_pair(activation)
    else:
        raise ValueError(
            "activation must be relu6, hardtanh, min, leaky_relu or two slopes (p, q), got "
            f"{name!r}"
        )
    if p <= q:
        raise ValueError(f"slopes p = {p:g} <= q = {q:g} are convex; use MaxAffine.from_layer")
    return DifferencePieces(((q, 0.0),), ((0.0, 0.0), (q - p, 0.0)), False)


def _activation_name(activation: Any) -> str | None:
    """Name of an activation given as a string or a module; None for a pair of slopes."""
    if isinstance(activation, str):
        return activation
    if isinstance(activation, nn.Module):
        kinds = {
            nn.Identity: "identity",
            nn.ReLU6: "relu6",  # before Hardtanh, whose subclass it is
            nn.Hardtanh: "hardtanh",
            nn.ReLU: "relu",
            nn.LeakyReLU: "leaky_relu",
        }
        for kind, name in kinds.items():
            if isinstance(activation, kind):
                return name
        return type(activation).__name__
    if isinstance(activation, Sequence) and len(activation) == 2:
        return None
    raise ValueError(f"activation must be {_KNOWN}, or such a module, got {activation!r}")


def _slope_pair(activation: Any) -> tuple[float, float]:
    p, q = (as_number(slope, "activation", -math.inf) for slope in activation)
    return p, q
