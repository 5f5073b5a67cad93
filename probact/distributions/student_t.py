r"""Student's t in D dimensions, with one scale matrix or with independent coordinates.

Symbols: v > 0 degrees of freedom `df`; m (..., D) `loc`; S = L L' scale matrix, its Cholesky
factor L (..., D, D) `scale_tril`. x = m + L e sqrt(v / c) with e normal and c
chi-square with v degrees has

    log t(x) = log Gamma((v + D)/2) - log Gamma(v/2) - D/2 log(pi v) - log|L|
               - (v + D)/2 log(1 + |L^-1 (x - m)|^2 / v)
"""

import math
from typing import Any, Self

import torch
from pyro.distributions import MultivariateStudentT as _PyroStudentT
from pyro.distributions import TorchDistribution
from torch import Generator, Size, Tensor
from torch.distributions import Distribution, constraints

from probact.distributions.sphere_parameters import as_generator
from probact.gamma import log_gamma_ratio

__all__ = [
    "DiagonalStudentT",
    "MultivariateStudentT",
    "as_dims",
    "factor_of_rows",
    "log_student_t",
    "standard_gamma",
    "whitened_norm",
]


def log_student_t(squared: Tensor, log_scale: Tensor, df: Tensor, dim: int) -> Tensor:
    """Log density (nats) at squared Mahalanobis distances; log_scale is log|L|; shapes broadcast.

    >>> one = torch.ones(())
    >>> log_student_t(0 * one, 0 * one, one, 1).exp()  # Cauchy at its centre, 1 / pi
    tensor(0.3183)
    """
    peak = log_gamma_ratio(0.5 * df, 0.5 * dim) - 0.5 * dim * (math.log(math.pi) + df.log())
    return peak - log_scale - 0.5 * (df + dim) * torch.log1p(squared / df)


def whitened_norm(residual: Tensor, scale_tril: Tensor) -> Tensor:
    """|L^-1 r|^2 (..., R) of the rows of residual (..., R, D) for L (..., D, D).

    >>> whitened_norm(torch.tensor([[2.0]]), torch.tensor([[0.5]]))
    tensor([16.])
    """
    white = torch.linalg.solve_triangular(scale_tril, residual.mT, upper=False)  # (..., D, R)
    norm: Tensor = white.square().sum(-2)
    return norm


def standard_gamma(shape: Tensor, generator: Generator | None) -> Tensor:
    """Gamma draws of rate one, one per entry of `shape`, differentiable in it.

    >>> standard_gamma(torch.full((2,), 1e10, dtype=torch.float64), None) / 1e10
    tensor([1.0000, 1.0000], dtype=torch.float64)
    """
    draws: Tensor = torch._standard_gamma(shape, generator=generator)
    return draws


class MultivariateStudentT(_PyroStudentT):
    """Pyro's multivariate t, right at any df (Pyro's own has 5 digits at df = 1e10), and seedable.

    Args:
        df: degrees of freedom (...) > 0, tensor or number.
        loc: (..., D).
        scale_tril: (..., D, D), lower triangular with a positive diagonal.

    Raises:
        ValueError: shapes that do not fit, or parameters out of their range.

    >>> law = MultivariateStudentT(3.0, torch.zeros(2), torch.eye(2))
    >>> law.sample((4,), seed=0).shape, law.log_prob(torch.zeros(2)).exp()  # 1 / (2 pi)
    (torch.Size([4, 2]), tensor(0.1592))
    """

    def __init__(
        self, df: Any, loc: Tensor, scale_tril: Tensor, validate_args: bool | None = None
    ) -> None:
        _check_location(loc)
        dim = loc.shape[-1]
        if not isinstance(scale_tril, Tensor) or scale_tril.shape[-2:] != (dim, dim):
            raise ValueError(f"scale_tril must be (..., {dim}, {dim}), got {_shape(scale_tril)}")
        super().__init__(df, loc, scale_tril, validate_args=validate_args)
        if self._validate_args and not constraints.lower_cholesky.check(scale_tril).all():
            raise ValueError("scale_tril must be lower triangular with a positive diagonal")

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """The same law in a larger batch."""
        new: Self = self._get_checked_instance(type(self), _instance)
        super().expand(batch_shape, new)
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats of value (..., D)."""
        if self._validate_args:
            self._validate_sample(value)
        tril = self._unbroadcasted_scale_tril
        residual = value - self.loc
        if tril.ndim == 2:  # one solve for all rows
            squared = whitened_norm(residual.reshape(-1, len(tril)), tril)
            squared = squared.reshape(residual.shape[:-1])
        else:
            squared = whitened_norm(residual.unsqueeze(-2), tril).squeeze(-1)
        log_scale = tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return log_student_t(squared, log_scale, self.df, self.loc.shape[-1])

    def rsample(self, sample_shape: Any = (), *, generator: Generator | None = None) -> Tensor:
        """Draws (*sample_shape, *batch_shape, D), differentiable in all parameters."""
        shape = self._extended_shape(Size(sample_shape))
        ball = _student_noise(shape, self.df, generator)
        tril = self._unbroadcasted_scale_tril
        if tril.ndim == 2:  # one product for all rows
            offset: Tensor = ball @ tril.mT
        else:
            offset = (tril @ ball.unsqueeze(-1)).squeeze(-1)
        draws: Tensor = self.loc + offset
        return draws

    def sample(
        self,
        sample_shape: Any = (),
        *,
        generator: Generator | None = None,
        seed: int | None = None,
    ) -> Tensor:
        """Draws (*sample_shape, *batch_shape, D) without gradients, from a generator or a seed."""
        with torch.no_grad():
            stream = as_generator(generator, seed, self.loc.device)
            return self.rsample(sample_shape, generator=stream)

    def marginal(self, dims: Any) -> "MultivariateStudentT":
        """The law of the coordinates `dims` (an index or several), in that order.

        Raises: ValueError for an index out of range or given twice.
        >>> MultivariateStudentT(3.0, torch.arange(3.0), torch.eye(3)).marginal([2, 0]).loc
        tensor([2., 0.])
        """
        at = as_dims(dims, self.loc.shape[-1])
        return MultivariateStudentT(
            self.df, self.loc[..., at], factor_of_rows(self.scale_tril[..., at, :])
        )


class DiagonalStudentT(TorchDistribution):
    """D independent univariate t laws with df (...) in common, loc (..., D) and scale (..., D).

    Raises: ValueError for shapes that do not fit, or parameters out of their range.
    >>> law = DiagonalStudentT(torch.tensor(3.0), torch.zeros(2), torch.ones(2))
    >>> law.log_prob(torch.zeros(2)), law.variance
    (tensor(-2.0018), tensor([3., 3.]))
    """

    arg_constraints = {
        "df": constraints.positive,
        "loc": constraints.real_vector,
        "scale": constraints.independent(constraints.positive, 1),
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self, df: Any, loc: Tensor, scale: Tensor, validate_args: bool | None = None
    ) -> None:
        _check_location(loc)
        if not isinstance(scale, Tensor) or scale.shape[-1:] != loc.shape[-1:]:
            raise ValueError(f"scale must be (..., {loc.shape[-1]}), got {_shape(scale)}")
        df = df if isinstance(df, Tensor) else loc.new_tensor(df)
        batch = torch.broadcast_shapes(df.shape, loc.shape[:-1], scale.shape[:-1])
        self.df = df.expand(batch)
        self.loc, self.scale = loc.expand(*batch, -1), scale.expand(*batch, -1)
        super().__init__(batch, loc.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """The same law in a larger batch."""
        new: Self = self._get_checked_instance(type(self), _instance)
        batch = Size(batch_shape)
        new.df = self.df.expand(batch)
        new.loc, new.scale = self.loc.expand(*batch, -1), self.scale.expand(*batch, -1)
        Distribution.__init__(new, batch, self._event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats of value (..., D)."""
        if self._validate_args:
            self._validate_sample(value)
        squared = ((value - self.loc) / self.scale).square()
        return log_student_t(squared, self.scale.log(), self.df.unsqueeze(-1), 1).sum(-1)

    def rsample(self, sample_shape: Any = (), *, generator: Generator | None = None) -> Tensor:
        """Draws (*sample_shape, *batch_shape, D), differentiable in all parameters."""
        shape = self._extended_shape(Size(sample_shape))
        df = self.df.unsqueeze(-1).expand(shape)
        ball = _student_noise(Size([*shape, 1]), df, generator).squeeze(-1)
        return self.loc + self.scale * ball

    def sample(
        self,
        sample_shape: Any = (),
        *,
        generator: Generator | None = None,
        seed: int | None = None,
    ) -> Tensor:
        """Draws (*sample_shape, *batch_shape, D) without gradients, from a generator or a seed."""
        with torch.no_grad():
            stream = as_generator(generator, seed, self.loc.device)
            return self.rsample(sample_shape, generator=stream)

    @property
    def mean(self) -> Tensor:
        """(*batch_shape, D); NaN where df <= 1."""
        return torch.where(self.df.unsqueeze(-1) > 1, self.loc, math.nan)

    @property
    def variance(self) -> Tensor:
        """(*batch_shape, D); inf where df <= 2."""
        df = self.df.unsqueeze(-1)
        return torch.where(df > 2, df / (df - 2), math.inf) * self.scale.square()


def as_dims(dims: Any, dim: int) -> list[int]:
    """Coordinates as a list of indices in 0 .. dim - 1.

    Raises: ValueError for none at all, an index out of range or given twice.
    >>> as_dims(-1, 3)
    [2]
    """
    given = [dims] if isinstance(dims, int) else list(dims)
    known = [isinstance(i, int) and not isinstance(i, bool) and -dim <= i < dim for i in given]
    if not given or not all(known):
        raise ValueError(f"dims must be integers in 0 .. {dim - 1}, got {dims!r}")
    at = [i % dim for i in given]
    if len(set(at)) < len(at):
        raise ValueError(f"dims must not repeat a coordinate, got {dims!r}")
    return at


def factor_of_rows(rows: Tensor) -> Tensor:
    """Cholesky factor (..., M, M) of A A' for rows A (..., M, D), M <= D; A A' is never formed.

    >>> factor_of_rows(torch.tensor([[3.0, 4.0]]))
    tensor([[5.]])
    """
    upper = torch.linalg.qr(rows.mT, mode="r").R
    sign = torch.where(upper.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0)
    factor: Tensor = (upper * sign.unsqueeze(-1)).mT.contiguous()
    return factor


def _student_noise(shape: Size, df: Tensor, generator: Generator | None) -> Tensor:
    """Standard t draws of the given shape (..., D), one chi-square per row."""
    normal = torch.randn(shape, dtype=df.dtype, device=df.device, generator=generator)
    half = (0.5 * df).expand(shape[:-1])
    return normal * torch.rsqrt(standard_gamma(half, generator) / half).unsqueeze(-1)


def _check_location(loc: Any) -> None:
    if not isinstance(loc, Tensor) or loc.ndim < 1 or not loc.shape[-1]:
        raise ValueError(f"loc must be a tensor (..., D) with D >= 1, got {_shape(loc)}")


def _shape(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__
