r"""What mixtures of Student's t laws do the same way: densities by rows, draws, moments.

Symbols: w (K,) weights; v (K,) degrees of freedom `df`; m (K, D) `loc`.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Size, Tensor

from probact.distributions.sphere_parameters import as_real_tensor
from probact.distributions.student_t import (
    DiagonalStudentT,
    MultivariateStudentT,
    as_dims,
    log_student_t,
)
from probact.distributions.vector_law import VectorLaw

__all__ = ["TMixture", "by_rows", "check_weights", "choose", "reweighted", "split_coordinates"]

_CHUNK = 1 << 19  # numbers (rows, K, D) held at once: a CPU's cache; elsewhere 32 times more


class TMixture(VectorLaw):
    """Abstract: what both mixtures do the same way, on `components`, a law of batch shape (K,)."""

    parts = ("weights", "components")

    weights: Tensor
    components: MultivariateStudentT | DiagonalStudentT

    def __init__(
        self,
        weights: Tensor,
        components: MultivariateStudentT | DiagonalStudentT,
        validate_args: bool | None,
    ) -> None:
        check_weights(weights)
        if components.batch_shape != weights.shape:
            raise ValueError(
                f"df, loc and the scales must have the batch shape {tuple(weights.shape)} of"
                f" weights, got {tuple(components.batch_shape)}"
            )
        self.weights, self.components = weights, components
        super().__init__(Size(), components.event_shape, validate_args=validate_args)

    @abstractmethod
    def marginal(self, dims: Any) -> "TMixture":
        """The law of the coordinates `dims` (an index or several), in that order."""

    @abstractmethod
    def condition(self, dims: Any, values: Any) -> "TMixture":
        """The law of the other coordinates, in ascending order, given `dims` = values."""

    @property
    def df(self) -> Tensor:
        """v (K,)."""
        df: Tensor = self.components.df
        return df

    @property
    def loc(self) -> Tensor:
        """m (K, D)."""
        return self.components.loc

    @property
    @abstractmethod
    def spread(self) -> Tensor:
        """sqrt(S_k,dd) (K, D): scales of the one-dimensional marginals."""

    @property
    def _like(self) -> Tensor:
        return self.loc

    @abstractmethod
    def component_log_prob(self, value: Tensor) -> Tensor:
        """Log densities (..., K), nats, of value (..., D) under each component."""

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density (...), nats, of value (..., D), some rows at a time."""
        if self._validate_args:
            self._validate_sample(value)
        log_weights = self.weights.log()

        def rows_log_prob(rows: Tensor) -> Tensor:
            return torch.logsumexp(log_weights + self.component_log_prob(rows), -1)

        return by_rows(rows_log_prob, value, self.loc.numel()).reshape(value.shape[:-1])

    def marginal_log_prob(self, value: Tensor) -> Tensor:
        """Log density (..., D), nats, of each coordinate by itself."""
        log_weights, spread, df = self.weights.log()[:, None], self.spread, self.df[:, None]

        def rows_log_prob(rows: Tensor) -> Tensor:
            squared = ((rows.unsqueeze(1) - self.loc) / spread).square()  # (R, K, D)
            each = log_student_t(squared, spread.log(), df, 1)
            return torch.logsumexp(log_weights + each, 1)

        return by_rows(rows_log_prob, value, self.loc.numel()).reshape(value.shape)

    def _draw(self, count: int, generator: Generator | None) -> Tensor:
        x = self.loc.new_empty(count, self.dim)
        z = choose(self.weights, count, generator)
        for k in z.unique().tolist():
            at = (z == k).nonzero().squeeze(1)
            x[at] = self._component(k).sample((len(at),), generator=generator)
        return x

    @abstractmethod
    def _component(self, k: int) -> MultivariateStudentT | DiagonalStudentT:
        """Component k, of batch shape ()."""

    @property
    def mean(self) -> Tensor:
        """(*batch_shape, D); NaN where a component of positive weight has df <= 1."""
        w, loc = self._occupied(torch.where(self.df > 1, 0.0, math.nan).unsqueeze(1) + self.loc)
        return (w.unsqueeze(1) * loc).sum(0).expand(*self._batch_shape, -1)

    @property
    def variance(self) -> Tensor:
        """(*batch_shape, D); inf where a component of positive weight has df <= 2."""
        df, spread = self.df.unsqueeze(1), self.spread
        within = torch.where(df > 2, df / (df - 2), math.inf) * spread.square()
        w, within = self._occupied(within)
        w, loc = self._occupied(self.loc)
        centre = (w.unsqueeze(1) * loc).sum(0)
        total = (w.unsqueeze(1) * (within + (loc - centre).square())).sum(0)
        return total.expand(*self._batch_shape, -1)

    def _occupied(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Weights and values (K, ...) of the components with a positive weight."""
        some = self.weights > 0
        return self.weights[some], values[some]


def by_rows(function: Callable[[Tensor], Tensor], value: Tensor, width: int) -> Tensor:
    """function of the rows of value (..., D) as (M, D), 2^19 / width of them at a time on a CPU.

    >>> by_rows(lambda rows: rows.sum(1), torch.ones(2, 3, 4), 4)
    tensor([4., 4., 4., 4., 4., 4.])
    """
    rows = value.reshape(-1, value.shape[-1])
    chunk = _CHUNK if value.device.type == "cpu" else 32 * _CHUNK
    size = max(1, chunk // max(1, width))
    return torch.cat([function(part) for part in rows.split(size)])


def choose(weights: Tensor, count: int, generator: Generator | None) -> Tensor:
    """count independent indices (count,) with probabilities proportional to weights (K,).

    >>> choose(torch.tensor([0.0, 1.0]), 3, None)
    tensor([1, 1, 1])
    """
    cumulative = weights.double().cumsum(0)  # no limit of 2^24 on K, as torch.multinomial has
    u = torch.rand(count, dtype=torch.float64, device=weights.device, generator=generator)
    last = int(weights.nonzero()[-1])
    return torch.searchsorted(cumulative, u * cumulative[-1], right=True).clamp_max(last)


def check_weights(weights: Tensor) -> None:
    """Refuse weights that are not (K,), >= 0, with sum one (to 1e-6).

    Raises: ValueError naming weights.
    >>> check_weights(torch.tensor([0.5, 0.5]))
    """
    if not isinstance(weights, Tensor) or not weights.is_floating_point() or weights.ndim != 1:
        got = tuple(weights.shape) if isinstance(weights, Tensor) else type(weights).__name__
        raise ValueError(f"weights must be a real tensor (K,), got {got}")
    if not ((weights >= 0).all() and abs(float(weights.sum()) - 1.0) <= 1e-6):
        raise ValueError(f"weights must be >= 0 with sum one, got sum {float(weights.sum())!r}")


def reweighted(weights: Tensor, log_prob: Tensor) -> Tensor:
    """Weights (K,) times exp(log_prob) (K,), normalised.

    >>> reweighted(torch.tensor([0.5, 0.5]), torch.tensor([-1e4, -1e4]))
    tensor([0.5000, 0.5000])
    """
    return torch.softmax(weights.log() + log_prob, 0)


def split_coordinates(dims: Any, values: Any, loc: Tensor) -> tuple[list[int], list[int], Tensor]:
    """Given and other coordinates, and the given values (|a|,) in the type of loc (..., D).

    Raises: ValueError for bad dims, all dims, or values that are not one finite number each.
    >>> split_coordinates([2], 5.0, torch.zeros(1, 3))
    ([2], [0, 1], tensor([5.]))
    """
    dim = loc.shape[-1]
    given = as_dims(dims, dim)
    rest = [i for i in range(dim) if i not in given]
    if not rest:
        raise ValueError(f"dims must leave a coordinate, got all {dim}")
    a = as_real_tensor(values, "values", like=loc).to(loc.dtype).reshape(-1)
    if len(a) != len(given) or not torch.isfinite(a).all():
        raise ValueError(f"values must be {len(given)} finite numbers, got {values!r}")
    return given, rest, a
