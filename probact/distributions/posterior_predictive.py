"""Predictive density of a Gaussian mixture averaged over the kept draws of its chains."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Size, Tensor

from probact.distributions.t_mixture import TMixture, check_weights, choose, reweighted
from probact.distributions.vector_law import VectorLaw

__all__ = ["PosteriorPredictive"]


class PosteriorPredictive(VectorLaw):
    """Average over S draws of their predictive mixtures; densities are averaged, never labels.

    Args:
        mixtures: S mixtures of t laws of one dimension, one per draw.
        weights: (S,) that sum to one; by default all are 1/S.

    Raises:
        ValueError: no mixtures, mixtures of different dimensions, bad weights.

    >>> from probact.distributions import StudentTMixture
    >>> one = StudentTMixture(torch.ones(1), torch.ones(1), torch.zeros(1, 1), torch.ones(1, 1, 1))
    >>> PosteriorPredictive([one, one]).log_prob(torch.zeros(1)).exp()  # Cauchy, 1 / pi
    tensor(0.3183)
    """

    parts = ("mixtures", "weights")

    def __init__(
        self,
        mixtures: Sequence[TMixture],
        weights: Tensor | None = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.mixtures = tuple(mixtures)
        if not self.mixtures or not all(isinstance(m, TMixture) for m in self.mixtures):
            kinds = sorted({type(m).__name__ for m in self.mixtures})
            raise ValueError(f"mixtures must be one StudentTMixture or more, got {kinds}")
        shapes = {tuple(m.event_shape) for m in self.mixtures}
        if len(shapes) > 1:
            raise ValueError(f"mixtures must have one dimension, got event shapes {shapes}")
        like, size = self.mixtures[0].loc, len(self.mixtures)
        if weights is None:
            weights = like.new_full((size,), 1.0 / size)
        check_weights(weights)
        if len(weights) != size:
            raise ValueError(f"weights must be ({size},), one per mixture, got {len(weights)}")
        self.weights = weights
        super().__init__(Size(), self.mixtures[0].event_shape, validate_args=validate_args)

    @property
    def _like(self) -> Tensor:
        return self.mixtures[0].loc

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density (...), nats, of value (..., D)."""
        if self._validate_args:
            self._validate_sample(value)
        return self._average([m.log_prob(value) for m in self.mixtures])

    def marginal_log_prob(self, value: Tensor) -> Tensor:
        """Log density (..., D), nats, of each coordinate by itself."""
        return self._average([m.marginal_log_prob(value) for m in self.mixtures])

    def _draw(self, count: int, generator: Generator | None) -> Tensor:
        x = self._like.new_empty(count, self.dim)
        chosen = choose(self.weights, count, generator)
        for s in chosen.unique().tolist():
            at = (chosen == s).nonzero().squeeze(1)
            x[at] = self.mixtures[s].sample((len(at),), generator=generator)
        return x

    @property
    def mean(self) -> Tensor:
        """(*batch_shape, D); NaN where a mixture has none."""
        means = torch.stack([m.mean for m in self.mixtures])  # (S, D)
        return (self.weights @ means).expand(*self._batch_shape, -1)

    @property
    def variance(self) -> Tensor:
        """(*batch_shape, D), within and between the draws; inf where a mixture has none."""
        within = torch.stack([m.variance for m in self.mixtures])
        means = torch.stack([m.mean for m in self.mixtures])
        between = (means - self.weights @ means).square()
        return (self.weights @ (within + between)).expand(*self._batch_shape, -1)

    def marginal(self, dims: Any) -> "PosteriorPredictive":
        """The law of the coordinates `dims` (an index or several), in that order.

        Raises: ValueError for an index out of range or given twice.
        """
        return PosteriorPredictive([m.marginal(dims) for m in self.mixtures], self.weights)

    def condition(self, dims: Any, values: Any) -> "PosteriorPredictive":
        """The law of the other coordinates, in ascending order, given x[dims] = values.

        Each draw is weighted by the density that it gives to the values.
        Raises: ValueError as `StudentTMixture.condition`.
        """
        rest = [m.condition(dims, values) for m in self.mixtures]
        like = self.mixtures[0].loc
        a = torch.as_tensor(values, dtype=like.dtype, device=like.device).reshape(-1)
        evidence = torch.stack([m.marginal(dims).log_prob(a) for m in self.mixtures])
        return PosteriorPredictive(rest, reweighted(self.weights, evidence))

    def _average(self, log_probs: list[Tensor]) -> Tensor:
        total = log_probs[0] + self.weights[0].log()
        for weight, log_prob in zip(self.weights[1:], log_probs[1:], strict=True):
            total = torch.logaddexp(total, log_prob + weight.log())
        return total
