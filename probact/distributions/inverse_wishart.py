r"""Inverse-Wishart law of covariance matrices (Murphy 2012, section 4.5.1).

Symbols: Psi (..., D, D) scale; nu > D - 1 degrees of freedom `df`; Sigma positive definite.

    log p(Sigma) = nu/2 log|Psi| - nu D/2 log 2 - log Gamma_D(nu/2)
                   - (nu + D + 1)/2 log|Sigma| - tr(Psi Sigma^-1)/2
"""

import math
from typing import Any, Self

import torch
from pyro.distributions import TorchDistribution
from torch import Generator, Size, Tensor
from torch.distributions import Distribution, constraints

from probact.distributions.sphere_parameters import as_generator, as_real_tensor, first_index
from probact.distributions.student_t import standard_gamma

__all__ = ["InverseWishart"]


class InverseWishart(TorchDistribution):
    """Law of Sigma (..., D, D) with mean Psi / (nu - D - 1).

    Args:
        df: nu (...) > D - 1, tensor or number.
        scale: Psi (..., D, D), positive definite.

    Raises:
        TypeError: a parameter is not real floating data.
        ValueError: shapes that do not fit, nu <= D - 1, or Psi not positive definite.

    >>> law = InverseWishart(5.0, torch.eye(2))
    >>> law.mean.diagonal(), law.log_prob(torch.eye(2))
    (tensor([0.5000, 0.5000]), tensor(-5.3228))
    """

    arg_constraints = {"df": constraints.positive, "scale": constraints.positive_definite}
    support = constraints.positive_definite
    has_rsample = True

    def __init__(self, df: Any, scale: Any, *, validate_args: bool | None = None) -> None:
        scale = as_real_tensor(scale, "scale")
        if scale.ndim < 2 or scale.shape[-1] != scale.shape[-2] or not scale.shape[-1]:
            raise ValueError(f"scale must be (..., D, D), got shape {tuple(scale.shape)}")
        df = as_real_tensor(df, "df", like=scale).to(scale.dtype)
        dim = scale.shape[-1]
        wrong = ~((df > dim - 1) & (df < math.inf))
        if wrong.any():
            got = df[first_index(wrong)].item()
            raise ValueError(f"df must be finite and above D - 1 = {dim - 1}, got {got!r}")
        try:
            batch = torch.broadcast_shapes(df.shape, scale.shape[:-2])
        except RuntimeError:
            raise ValueError(
                f"df of shape {tuple(df.shape)} does not broadcast with the batch shape"
                f" {tuple(scale.shape[:-2])} of scale"
            ) from None
        self._scale_tril, info = torch.linalg.cholesky_ex(scale)
        if info.any() or not torch.isfinite(self._scale_tril).all():
            raise ValueError("scale must be finite and positive definite")
        self.df, self.scale = df.expand(batch), scale.expand(*batch, dim, dim)
        super().__init__(batch, scale.shape[-2:], validate_args=False)  # checked above
        default = Distribution._validate_args
        self._validate_args = default if validate_args is None else validate_args

    @property
    def dim(self) -> int:
        """D."""
        return int(self._event_shape[-1])

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """The same law in a larger batch."""
        new: Self = self._get_checked_instance(type(self), _instance)
        batch = Size(batch_shape)
        new.df = self.df.expand(batch)
        new.scale, new._scale_tril = self.scale.expand(*batch, -1, -1), self._scale_tril
        Distribution.__init__(new, batch, self._event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats of covariances (..., D, D) with respect to one triangle.

        Raises: ValueError for a value that is not positive definite.
        """
        if self._validate_args:
            self._validate_sample(value)
        dim, df = self.dim, self.df
        factor, info = torch.linalg.cholesky_ex(value)
        if info.any():
            raise ValueError("value must be positive definite, its Cholesky factorisation failed")
        white = torch.linalg.solve_triangular(factor, self._scale_tril, upper=False)
        log_det = 2.0 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        log_det_scale = 2.0 * self._scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        norm = 0.5 * df * (log_det_scale - dim * math.log(2.0)) - torch.mvlgamma(0.5 * df, dim)
        trace: Tensor = white.square().sum((-2, -1))
        log_prob: Tensor = norm - 0.5 * ((df + dim + 1) * log_det + trace)
        return log_prob

    def rsample(self, sample_shape: Any = (), *, generator: Generator | None = None) -> Tensor:
        """Draws (*sample_shape, *batch_shape, D, D), differentiable in both parameters.

        Bartlett (1933): Sigma = X X' with X' = B^-1 C', C C' = Psi, B lower triangular with
        independent chi entries of nu, nu - 1, ... degrees on the diagonal and normals below.
        """
        shape = self._extended_shape(Size(sample_shape))  # (..., D, D)
        df, options = self.df, {"dtype": self.df.dtype, "device": self.df.device}
        degrees = df.unsqueeze(-1) - torch.arange(self.dim, **options)  # (..., D)
        chi = (2.0 * standard_gamma((0.5 * degrees).expand(shape[:-1]), generator)).sqrt()
        bartlett = torch.randn(shape, generator=generator, **options).tril(-1) + chi.diag_embed()
        root = torch.linalg.solve_triangular(
            bartlett, self._scale_tril.mT.expand(shape), upper=False
        )
        draws: Tensor = root.mT @ root
        return draws

    def sample(
        self,
        sample_shape: Any = (),
        *,
        generator: Generator | None = None,
        seed: int | None = None,
    ) -> Tensor:
        """Draws (*sample_shape, *batch_shape, D, D) from a generator or a seed, no gradients."""
        with torch.no_grad():
            stream = as_generator(generator, seed, self.scale.device)
            return self.rsample(sample_shape, generator=stream)

    @property
    def mean(self) -> Tensor:
        """(*batch_shape, D, D); NaN where df <= D + 1."""
        gap = (self.df - self.dim - 1)[..., None, None]
        return torch.where(gap > 0, self.scale / gap, math.nan)
