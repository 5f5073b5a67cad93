r"""The mixing variable of an asymmetric Laplace weight, given the weight.

Symbols: theta a weight; m, r, l mode, right and left rate; s_R = 1 / r, s_L = 1 / l, S their sum;
W > 0 the mixing variable; d = theta - m, h = |d| / S, c = S^2 / (2 s_R s_L).

    theta | W ~ N(m + (s_R - s_L) W, 2 s_R s_L W),   W ~ Exp(1)

(Kozumi & Kobayashi 2011), so that 1 / W | theta is inverse Gaussian with mean 1 / h and shape c.
Both roots of its draw (Michael, Schucany & Haas 1976) are taken in a form that neither cancels
nor overflows, down to d = 0, where W ~ Gamma(1/2, c/2).
"""

import torch
from torch import Generator, Tensor

from probact.distributions.laplace_hyperprior import LaplaceParameters
from probact.inference.laplace.normal_draw import NormalPrior

__all__ = ["draw_mixing", "draw_normal_prior"]


def draw_mixing(distance: Tensor, concentration: Tensor, generator: Generator | None) -> Tensor:
    """W given h = |theta - m| / S >= 0 and c > 0 of the same shape.

    >>> one = torch.ones(2, dtype=torch.float64)
    >>> bool((draw_mixing(0.0 * one, one, torch.Generator().manual_seed(0)) > 0).all())
    True
    """
    h, c = distance, concentration
    options = {"dtype": h.dtype, "device": h.device}
    y = torch.randn(h.shape, generator=generator, **options).square()  # type: ignore[call-overload]
    u = torch.rand(h.shape, generator=generator, **options)  # type: ignore[call-overload]
    larger = h + (y + torch.sqrt(y * (4.0 * c * h + y))) / (2.0 * c)
    keep = (u * (larger + h) < larger) | (h == 0)
    return torch.where(keep, larger, h * (h / larger))


def draw_normal_prior(
    weight: Tensor, parameters: LaplaceParameters, generator: Generator | None
) -> NormalPrior:
    """The normal prior of theta - m (..., R, p), given fresh mixing variables.

    >>> laws = LaplaceParameters(*torch.tensor([[0.0], [1.0], [4.0]]))
    >>> draw_normal_prior(torch.zeros(1, 3), laws, None).variance.shape
    torch.Size([1, 3])
    """
    loc, right, left = (v.unsqueeze(-1) for v in parameters)
    s_right, s_left = 1.0 / right, 1.0 / left
    total = s_right + s_left  # S
    c = (total / s_right) * (total / s_left) / 2.0
    w = draw_mixing((weight - loc).abs() / total, c.expand_as(weight), generator)
    return NormalPrior((s_right - s_left) * w, 2.0 * s_right * s_left * w)
