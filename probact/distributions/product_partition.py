r"""Data given a partition, components summed out: a product partition model (Hartigan 1990).

Symbols: z (N,) labels; X_k rows of label k; m their marginal likelihood under the base prior.

    log p(x | z) = sum_k log m(X_k)
"""

from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Generator, Size, Tensor
from torch.distributions import Distribution, constraints

from probact.distributions.component_statistics import check_partition
from probact.distributions.normal_inverse_wishart import NormalInverseWishart
from probact.distributions.sphere_parameters import as_generator

__all__ = ["ProductPartition"]


class ProductPartition(TorchDistribution):
    """Law of x (N, D), exchangeable within labels.

    Args:
        labels: z (N,), integers >= 0 in any order; floats that are integers, as Pyro's chains
            return them, will do.
        base: prior of a component.
        scale_factor: s > 0; components have the prior with s S_0 in place of S_0.

    Raises:
        TypeError: base is no normal-inverse-Wishart law.
        ValueError: labels that are no integers (N,), s not positive, or base a posterior and s
            not one.

    >>> base = NormalInverseWishart(torch.zeros(2), 1.0, torch.eye(2), 4.0)
    >>> law = ProductPartition(torch.tensor([0, 1, 0]), base)
    >>> law.log_prob(law.sample(seed=0)).shape, law.sample(seed=0).shape
    (torch.Size([]), torch.Size([3, 2]))
    """

    arg_constraints: dict[str, Any] = {}
    support = constraints.independent(constraints.real, 2)

    def __init__(
        self,
        labels: Tensor,
        base: NormalInverseWishart,
        scale_factor: Tensor | float = 1.0,
        *,
        validate_args: bool | None = None,
    ) -> None:
        if not isinstance(base, NormalInverseWishart):
            raise TypeError(f"base must be a NormalInverseWishart, got {type(base).__name__}")
        if not isinstance(labels, Tensor) or labels.ndim != 1 or not len(labels):
            got = tuple(labels.shape) if isinstance(labels, Tensor) else type(labels).__name__
            raise ValueError(f"labels must be a tensor (N,) with N >= 1, got {got}")
        if labels.is_floating_point() and bool((labels == labels.round()).all()):
            labels = labels.to(torch.int64)
        check_partition(labels, len(labels))
        self.labels = labels
        one = isinstance(scale_factor, float) and scale_factor == 1.0
        self.base = base if one else base.rescaled(scale_factor)
        super().__init__(Size(), Size([len(labels), base.dim]), validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density (), nats, of value (N, D), differentiable in the scale factor.

        Raises: ValueError for another shape, or rows that are not finite.
        """
        if tuple(value.shape) != tuple(self._event_shape):
            raise ValueError(
                f"value must be {tuple(self._event_shape)}, got shape {tuple(value.shape)}"
            )
        total: Tensor = self.base.log_marginals(value, self.labels).sum()
        return total

    def sample(
        self,
        sample_shape: Any = (),
        *,
        generator: Generator | None = None,
        seed: int | None = None,
    ) -> Tensor:
        """Draws (*sample_shape, N, D): a component per label from the prior, then its rows."""
        shape = Size(sample_shape)
        stream = as_generator(generator, seed, self.base.loc.device)
        draws = [self._draw(stream) for _ in range(shape.numel())]
        if not draws:
            return self.base.loc.new_empty(*shape, *self._event_shape)
        return torch.stack(draws).reshape(*shape, *self._event_shape)

    def _draw(self, generator: Generator | None) -> Tensor:
        like = self.base.loc
        options: dict[str, Any] = {"dtype": like.dtype, "device": like.device}
        x = torch.randn(*self._event_shape, generator=generator, **options)
        with torch.no_grad():
            for label in self.labels.unique().tolist():
                mean, covariance = self.base.sample(generator=generator)
                at = self.labels == label
                x[at] = mean + x[at] @ torch.linalg.cholesky(covariance).mT
        return x

    def expand(self, batch_shape: Any, _instance: Any = None) -> "ProductPartition":
        """The same law; only the empty batch shape is known.

        Raises: NotImplementedError for another batch shape.
        """
        if Size(batch_shape):
            raise NotImplementedError("a ProductPartition cannot be expanded to a batch")
        new: ProductPartition = self._get_checked_instance(type(self), _instance)
        new.labels, new.base = self.labels, self.base
        Distribution.__init__(new, Size(), self._event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new
