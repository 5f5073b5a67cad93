"""Uniform law on the unit sphere S^(d-1)."""

from typing import Any, Self

import torch
from torch import Generator, Size, Tensor
from torch.distributions import constraints
from torch.distributions.kl import register_kl

from probact.distributions.sphere_law import SphereLaw
from probact.special import log_sphere_area

__all__ = ["SphereUniform"]


class SphereUniform(SphereLaw):
    """Uniform law on S^(dim-1) in R^dim, with respect to surface measure.

    Args:
        dim: ambient dimension d >= 2.
        batch_shape: shape of independent copies.
        dtype: float32 or float64 of the samples; default torch's.

    Raises:
        ValueError: dim is not an integer >= 2.

    >>> SphereUniform(3).entropy()  # log 4 pi nats
    tensor(2.5310)
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    has_rsample = True

    def __init__(
        self,
        dim: int,
        batch_shape: Size | tuple[int, ...] = (),
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self._log_area = log_sphere_area(dim)
        self._zero = torch.zeros((), dtype=dtype, device=device)
        super().__init__(Size(batch_shape), Size([dim]), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        new: Self = self._get_checked_instance(SphereUniform, _instance)
        batch_shape = self._zero.expand(self._batch_shape).expand(Size(batch_shape)).shape
        new._log_area, new._zero = self._log_area, self._zero
        super(SphereUniform, new).__init__(batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def mean(self) -> Tensor:
        return self._zero.expand(self._batch_shape + self._event_shape)

    @property
    def variance(self) -> Tensor:
        return (self._zero + 1.0 / self.dim).expand(self._batch_shape + self._event_shape)

    @property
    def device(self) -> torch.device:
        return self._zero.device

    def _draw(self, sample_shape: Size, generator: Generator | None) -> Tensor:
        """Normalised Gaussians."""
        shape = self._extended_shape(sample_shape)
        noise = torch.randn(shape, dtype=self._zero.dtype, device=self.device, generator=generator)
        unit: Tensor = noise / torch.linalg.vector_norm(noise, dim=-1, keepdim=True)
        return unit

    def log_prob(self, value: Tensor) -> Tensor:
        """-log |S^(d-1)| in nats, for unit vectors (..., d)."""
        if self._validate_args:
            self._validate_sample(value)
        shape = torch.broadcast_shapes(value.shape[:-1], self._batch_shape)
        return value.new_full(shape, -self._log_area)

    def entropy(self) -> Tensor:
        """log |S^(d-1)| in nats."""
        return (self._zero + self._log_area).expand(self._batch_shape)


@register_kl(SphereUniform, SphereUniform)
def _kl_uniform_uniform(p: SphereUniform, q: SphereUniform) -> Tensor:
    if p.dim != q.dim:
        raise ValueError(f"the two laws live in dimensions {p.dim} and {q.dim}")
    return p.entropy() - q.entropy()
