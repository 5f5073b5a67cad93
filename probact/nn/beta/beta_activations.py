r"""beta-VQ activations: ReLU, leaky ReLU and the absolute value with a soft selection.

Symbols: u (...) pre-activation; slopes p < q of the two regions (0, 1), (nu, 1) or (-1, 1), scores
(p u, q u); eta = beta / (1 - beta); t = sigmoid(eta (q - p) u) the weight of slope q. Balestriero
& Baraniuk, "From Hard to Soft", ICLR 2019, eq. 7-9 and proposition 7. beta -> 1 gives the hard
function, beta -> 0 the linear one of slope (p + q) / 2, beta = 1/2 the usual soft one.

| read-out | value | ReLU, eta = 1 | absolute value, eta = 1 |
| --- | --- | --- | --- |
| "hard" | max(p u, q u) | relu | abs |
| "expectation" | u (p + (q - p) t) | silu | u tanh(u) |
| "probability" | t; 2 t - 1 for abs | sigmoid | tanh |
| "free_energy" | p u + softplus(eta (q - p) u) / eta | softplus | log(2 cosh u) |

With `entropy="gini"` (Tsallis, alpha = 2), t = clip((1 + eta (q - p) u) / 2, 0, 1): `F.hardswish`
is the expectation of ReLU at eta = 1/3 (beta = 1/4), `F.hardsigmoid` its probability, `F.hardtanh`
the probability of abs at eta = 1/2 (beta = 1/3).

The output has the type of u. float16 and bfloat16 are computed in float32 and rounded once. ELU
and SELU are not of this family: they are not u times a weight in [0, 1].
"""

import math
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from probact.arrays import as_number
from probact.nn.beta.beta_layer import BetaLayer, check_input, relu
from probact.nn.beta.gated import Gate, gated
from probact.nn.selection.inverse_temperature import widened

__all__ = ["BetaAbs", "BetaLeakyReLU", "BetaReLU"]

Entropy = Literal["shannon", "gini"]


class _TwoSlopes(BetaLayer):
    """max(p u, q u) and its soft versions: abstract."""

    slopes: tuple[float, float]

    def __init__(
        self, beta: float | Tensor = 0.5, *, entropy: Entropy = "shannon", **options: Any
    ) -> None:
        super().__init__(beta, **options)
        if entropy not in ("shannon", "gini"):
            raise ValueError(f"entropy must be shannon or gini, got {entropy!r}")
        self.entropy = entropy

    def forward(self, u: Tensor) -> Tensor:
        """The read-out of u (...), of its shape and type.

        Raises:
            TypeError: u is no floating-point tensor.
            ValueError: another number of channels than log_eta has.
        """
        check_input(u)
        p, q = self.slopes
        if self.readout == "hard":
            return _hard(u, p, q)
        wide, eta = widened(u), self._eta_for(u)
        gap = eta * (q - p)
        if self.readout == "probability":
            return self._probability(wide, gap).to(u.dtype)
        if self.readout == "free_energy":
            return _free_energy(wide, eta, p, gap, self.entropy).to(u.dtype)
        if self.detach_gate:
            return self._gated(wide, gap).to(u.dtype)
        if self.entropy == "shannon":
            gate = Gate(0.0, 0.0, q) if p == -q else Gate(p, q - p, 0.0)
            return gated(wide, gap, gate).to(u.dtype)
        if p == -q:
            return self._gated(wide, gap).to(u.dtype)
        z = _gini_swish(wide, gap)
        return (z if (p, q) == (0.0, 1.0) else p * wide + (q - p) * z).to(u.dtype)

    def _probability(self, u: Tensor, gap: Tensor) -> Tensor:
        return torch.sigmoid(gap * u) if self.entropy == "shannon" else F.hardsigmoid(3 * gap * u)

    def _gated(self, u: Tensor, gap: Tensor) -> Tensor:
        """u (p + (q - p) t), the weight computed first."""
        p, q = self.slopes
        gate = self._probability(u.detach() if self.detach_gate else u, gap)
        return u * (p + (q - p) * gate)

    def extra_repr(self) -> str:
        return super().extra_repr() + f", entropy={self.entropy!r}" * (self.entropy != "shannon")


def _hard(u: Tensor, p: float, q: float) -> Tensor:
    if (p, q) == (0.0, 1.0):
        return relu(u)
    return u.abs() if (p, q) == (-1.0, 1.0) else torch.maximum(p * u, q * u)


def _free_energy(u: Tensor, eta: Tensor, p: float, gap: Tensor, entropy: str) -> Tensor:
    """p u + softplus(gap u) / eta; for Gini's entropy a spline of two parabola ends."""
    s = gap * u
    if entropy == "shannon":
        soft = F.softplus(s, threshold=50.0)  # the default of 20 costs 5e-10 in float64
    else:
        soft = (s + 1.0).clamp(0.0, 2.0).square() / 4.0 + relu(s - 1.0)
    return (p * u if p else 0.0) + soft / eta


def _gini_swish(u: Tensor, gap: Tensor) -> Tensor:
    return F.hardswish(3.0 * gap * u) / (3.0 * gap)


class BetaReLU(_TwoSlopes):
    """Soft ReLU: swish u sigmoid(eta u), at beta = 1/2 `F.silu` to the last bit.

    Args:
        beta: in (0, 1), a number or (num_channels,).
        readout: see the table of this module.
        learnable: whether log_eta is a parameter, otherwise a buffer.
        num_channels: one beta for each channel, on axis 1 of the input.
        detach_gate: gradient through the linear factor only (and to log_eta).
        entropy: "shannon" or "gini".

    Raises:
        TypeError, ValueError: as `BetaLayer`; an unknown entropy.

    >>> BetaReLU()(torch.tensor([-1.0, 0.0, 2.0]))
    tensor([-0.2689,  0.0000,  1.7616], grad_fn=<_GatedBackward>)
    """

    slopes = (0.0, 1.0)


class BetaLeakyReLU(_TwoSlopes):
    """Soft leaky ReLU: u (nu + (1 - nu) sigmoid(eta (1 - nu) u)).

    Args:
        negative_slope: nu < 1, so that the function is convex and has two regions.
        beta, readout, learnable, num_channels, detach_gate, entropy: as `BetaReLU`.

    Raises:
        TypeError, ValueError: as `BetaReLU`; a slope of one or more.

    >>> BetaLeakyReLU(0.1, readout="hard")(torch.tensor([-1.0, 2.0]))
    tensor([-0.1000,  2.0000])
    """

    def __init__(
        self, negative_slope: float = 0.01, beta: float | Tensor = 0.5, **options: Any
    ) -> None:
        slope = as_number(negative_slope, "negative_slope", -math.inf)
        if slope >= 1.0:
            raise ValueError(f"negative_slope must be below 1 for two convex slopes, got {slope}")
        super().__init__(beta, **options)
        self.negative_slope, self.slopes = slope, (slope, 1.0)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}, {super().extra_repr()}"


class BetaAbs(_TwoSlopes):
    """Soft absolute value: u tanh(eta u); its probability is signed, tanh(eta u).

    Args:
        beta, readout, learnable, num_channels, detach_gate, entropy: as `BetaReLU`.

    Raises:
        TypeError, ValueError: as `BetaReLU`.

    >>> BetaAbs(0.5, readout="probability", learnable=False)(torch.tensor([-1.0, 2.0]))
    tensor([-0.7616,  0.9640])
    """

    slopes = (-1.0, 1.0)

    def _probability(self, u: Tensor, gap: Tensor) -> Tensor:
        s = gap * u  # 2 eta u
        return torch.tanh(s / 2.0) if self.entropy == "shannon" else F.hardtanh(s)

    def _gated(self, u: Tensor, gap: Tensor) -> Tensor:
        return u * self._probability(u.detach() if self.detach_gate else u, gap)
