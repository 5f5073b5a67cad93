r"""Chinese restaurant process: a law of partitions of N points (Aldous 1985, section 11).

Symbols: alpha > 0 concentration; z (N,) labels; K occupied labels; n_k their sizes.

    log p(z) = K log alpha + sum_k log Gamma(n_k) - log Gamma(alpha + N) + log Gamma(alpha)

is a function of the partition alone, so labels need not be numbered in any order.
"""

from typing import Any, Self

import torch
from pyro.distributions import TorchDistribution
from torch import Generator, Size, Tensor
from torch.distributions import Distribution, constraints

from probact.arrays import check_count
from probact.distributions.sphere_parameters import as_generator, as_real_tensor, first_index
from probact.gamma import log_gamma_ratio

__all__ = ["ChineseRestaurantProcess"]


class ChineseRestaurantProcess(TorchDistribution):
    """Law of labels z (N,), int64; draws number the tables by first appearance, from 0.

    Args:
        concentration: alpha (...) > 0, tensor, array or number.
        size: N >= 1.

    Raises:
        TypeError: concentration is not real floating data.
        ValueError: concentration is not positive and finite, or size is no integer >= 1.

    >>> law = ChineseRestaurantProcess(1.0, 3)
    >>> law.log_prob(torch.tensor([0, 1, 0])).exp(), law.log_prob(torch.tensor([5, 2, 5])).exp()
    (tensor(0.1667, dtype=torch.float64), tensor(0.1667, dtype=torch.float64))
    """

    arg_constraints = {"concentration": constraints.positive}
    support = constraints.independent(constraints.nonnegative_integer, 1)

    def __init__(
        self, concentration: Any, size: int, *, validate_args: bool | None = None
    ) -> None:
        check_count(size, "size")
        alpha = as_real_tensor(concentration, "concentration")
        wrong = ~((alpha > 0) & (alpha < torch.inf))
        if wrong.any():
            got = alpha[first_index(wrong)].item()
            raise ValueError(f"concentration must be positive and finite, got {got!r}")
        self.concentration, self.size = alpha, size
        super().__init__(alpha.shape, Size([size]), validate_args=False)  # checked above
        default = Distribution._validate_args
        self._validate_args = default if validate_args is None else validate_args

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """The same law in a larger batch."""
        new: Self = self._get_checked_instance(type(self), _instance)
        new.concentration, new.size = self.concentration.expand(batch_shape), self.size
        Distribution.__init__(new, Size(batch_shape), self._event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability (...), nats, of the partition of each row of labels (..., N)."""
        if self._validate_args:
            self._validate_sample(value)
        order = value.sort(-1).values
        start = torch.ones_like(order, dtype=torch.bool)
        start[..., 1:] = order[..., 1:] != order[..., :-1]
        place = torch.arange(self.size, device=value.device)
        first = torch.where(start, place, 0).cummax(-1).values
        seated = place - first  # how many of the same table stand before, in sorted order
        alpha = self.concentration
        log_sizes = seated.clamp_min(1).to(alpha.dtype).log().sum(-1)  # sum_k log Gamma(n_k)
        tables = start.sum(-1)
        return tables * alpha.log() + log_sizes - log_gamma_ratio(alpha, float(self.size))

    def sample(
        self,
        sample_shape: Any = (),
        *,
        generator: Generator | None = None,
        seed: int | None = None,
    ) -> Tensor:
        """Draws (*sample_shape, *batch_shape, N), int64, from a generator or a seed.

        Customer i copies a uniformly chosen earlier one with probability i / (alpha + i), else
        opens a table; the founder of everybody's table is found by doubling steps.
        """
        shape = self._extended_shape(Size(sample_shape))
        device = self.concentration.device
        stream = as_generator(generator, seed, device)
        place = torch.arange(self.size, device=device)
        u = torch.rand(shape, dtype=torch.float64, device=device, generator=stream)
        chosen = u * (self.concentration.detach().double().unsqueeze(-1) + place)
        copies = chosen < place
        leader = torch.where(copies, chosen.long(), place)
        for _ in range((self.size - 1).bit_length()):
            leader = leader.gather(-1, leader)
        number = (~copies).long().cumsum(-1) - 1  # of the table that a founder opens
        return number.gather(-1, leader)

    @property
    def mean_num_tables(self) -> Tensor:
        """Expected number (...) of occupied labels, sum_i alpha / (alpha + i) for i < N.

        >>> ChineseRestaurantProcess(1.0, 3).mean_num_tables
        tensor(1.8333, dtype=torch.float64)
        """
        alpha = self.concentration
        return alpha * (torch.digamma(alpha + self.size) - torch.digamma(alpha))
