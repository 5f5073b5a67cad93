r"""The rates of an asymmetric Laplace law given its mode and the weights.

Symbols: r, l rates; n A and n B sums of distances above and below the mode. The likelihood is
(r l / (r + l))^n exp(-r n A - l n B), and its factor (r + l)^-n is a gamma integral over one
number G per class:

    G | r, l ~ Gamma(n, r + l),   r | G ~ Gamma(a + n, b + n A + G),   l | G the same with n B

Said otherwise: X - m = E_R / r - E_L / l for exponential E, whose overlap has the rate r + l; of
the n overlaps only their sum G matters.
"""

import torch
from torch import Generator, Tensor

from probact.distributions.laplace_hyperprior import LaplaceHyperprior
from probact.distributions.student_t import standard_gamma

__all__ = ["draw_gamma", "draw_overlap", "draw_rates"]

ROUNDS = 3  # cheap beside a mode's draw, and the scale moves further


def draw_rates(
    excess: tuple[Tensor, Tensor],
    num: int,
    prior: LaplaceHyperprior,
    overlap: Tensor,
    generator: Generator,
) -> tuple[Tensor, Tensor]:
    """Right and left rate (K,) given G = overlap, n A and n B = excess, and n = num weights.

    Then G is drawn again, and the rates given it, twice.
    """
    shapes = prior.right_concentration + num, prior.left_concentration + num
    exposures = prior.right_rate + excess[0], prior.left_rate + excess[1]
    for i in range(ROUNDS):
        right = draw_gamma(shapes[0], exposures[0] + overlap, generator)
        left = draw_gamma(shapes[1], exposures[1] + overlap, generator)
        if i < ROUNDS - 1:
            overlap = draw_overlap(num, right, left, generator)
    return right, left


def draw_overlap(num: int, rate_right: Tensor, rate_left: Tensor, generator: Generator) -> Tensor:
    """G (K,) given the rates (K,) of n = num weights.

    >>> one = torch.ones(2)
    >>> draw_overlap(10, one, one, torch.Generator().manual_seed(0)).shape
    torch.Size([2])
    """
    return draw_gamma(torch.full_like(rate_right, float(num)), rate_right + rate_left, generator)


def draw_gamma(shape: Tensor, rate: Tensor, generator: Generator) -> Tensor:
    """Gamma draws of the shape of `rate`; the random numbers are made where the generator is.

    >>> draw_gamma(torch.full((2,), 1e12), torch.full((2,), 1e12), torch.Generator())
    tensor([1.0000, 1.0000])
    """
    shapes = shape.expand_as(rate).to(generator.device).contiguous()
    return standard_gamma(shapes, generator).to(rate) / rate
