r"""Joint density of data and codes of a factorial mixture (Balestriero & Baraniuk 2019, eq. 10).

Symbols: x (N, D); t (N, K) codes; slopes A (K, R, D); pi (K, R); noise s2; x | t ~ N(mu_t, s2 I),
mu_t = sum_k A_k,t_k. With the square multiplied out, units meet in pairs only:

    log p(x, t) = c(x) + sum_k a_k,t_k - (1/s2) sum_{k<l} <A_k,t_k, A_l,t_l>
    a_kr = (<A_kr, x> - |A_kr|^2 / 2) / s2 + log pi_kr
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from probact.distributions.code_enumeration import (
    check_enumerable,
    code_means,
    code_sums,
    gram_of,
    pair_sums,
)

__all__ = ["FactorialParameters", "code_log_joint", "log_base", "log_joint", "unit_terms"]

_ENTRIES = 2**22  # of a table (rows, codes) held at a time


class FactorialParameters(NamedTuple):
    """What a factorial mixture is made of; weights may be zero, their logarithms -inf."""

    slopes: Tensor  # (K, R, D)
    log_weights: Tensor  # (K, R)
    noise: Tensor  # () variance

    @property
    def num_units(self) -> int:
        return self.slopes.shape[0]

    @property
    def num_regions(self) -> int:
        return self.slopes.shape[1]

    def row_chunks(self, x: Tensor) -> list[Tensor]:
        """x (N, D) in pieces whose tables over all codes fit into memory.

        Raises: ValueError for too many codes.
        """
        count = check_enumerable(self.num_units, self.num_regions)
        return list(x.split(max(1, _ENTRIES // count)))


def unit_terms(x: Tensor, p: FactorialParameters) -> Tensor:
    """a_kr (N, K, R), nats."""
    scores = (x @ p.slopes.flatten(0, 1).T).unflatten(-1, p.log_weights.shape)
    terms: Tensor = (scores - 0.5 * p.slopes.square().sum(-1)) / p.noise + p.log_weights
    return terms


def log_base(x: Tensor, p: FactorialParameters) -> Tensor:
    """c(x) = log N(x; 0, s2 I), (N,), nats."""
    log_volume = 0.5 * x.shape[-1] * torch.log(2.0 * math.pi * p.noise)
    return -x.square().sum(-1) / (2.0 * p.noise) - log_volume


def code_log_joint(x: Tensor, p: FactorialParameters) -> Tensor:
    """log p(x, t) of every code, (N, R^K), nats.

    Raises: ValueError for too many codes.
    >>> half = torch.full((2, 2), 0.5).log()
    >>> p = FactorialParameters(torch.zeros(2, 2, 1), half, torch.ones(()))
    >>> code_log_joint(torch.zeros(1, 1), p).exp()
    tensor([[0.0997, 0.0997, 0.0997, 0.0997]])
    """
    check_enumerable(p.num_units, p.num_regions)
    pairs = pair_sums(gram_of(p.slopes)) / p.noise
    return code_sums(unit_terms(x, p)) - pairs + log_base(x, p).unsqueeze(-1)


def log_joint(x: Tensor, codes: Tensor, p: FactorialParameters) -> Tensor:
    """log p(x, t) (N,) of codes (N, K), nats, from the residual itself.

    >>> p = FactorialParameters(torch.zeros(1, 1, 1), torch.zeros(1, 1), torch.ones(()))
    >>> log_joint(torch.zeros(1, 1), torch.zeros(1, 1, dtype=torch.int64), p)
    tensor([-0.9189])
    """
    prior = p.log_weights.expand(*codes.shape, -1).gather(-1, codes.unsqueeze(-1))
    return log_base(x - code_means(p.slopes, codes), p) + prior.squeeze(-1).sum(-1)
