r"""von Mises-Fisher law on the unit sphere S^(d-1) (Mardia & Jupp 2000, section 9.3.2).

Symbols: mu (..., d) mean direction `loc`; kappa (...) >= 0 `concentration`; A = A_d(kappa) mean
resultant length. Density C_d(kappa) exp(kappa <mu, x>) with respect to surface measure.
"""

from typing import Any, Self

import torch
from torch import Generator, Size, Tensor
from torch.distributions.kl import register_kl

from probact.distributions.sphere_law import AxialLaw
from probact.distributions.sphere_parameters import (
    as_real_tensor,
    first_index,
    unit_vector,
)
from probact.distributions.sphere_pathwise import rsample_von_mises_fisher
from probact.distributions.sphere_uniform import SphereUniform
from probact.special import (
    bessel_deficit,
    bessel_ratio,
    inverse_bessel_ratio,
    kl_to_uniform,
    log_mgf_gap,
    log_sphere_area,
    log_sphere_mgf,
    sphere_terms,
    widen,
)

__all__ = ["VonMisesFisher"]


class VonMisesFisher(AxialLaw):
    """von Mises-Fisher law on S^(d-1) for any d >= 2, uniform at concentration 0.

    Draws are unit to 1e-14 (float64) or 1e-6 (float32); `rsample` is differentiable once, by
    pathwise gradients in both parameters.

    Args:
        loc: unit vectors (..., d), tensor or array; norm one to 1e-5 (float32) or 1e-6 (float64).
        concentration: kappa (...) >= 0, tensor, array or number; broadcasts with loc's batch.

    Raises:
        TypeError: a parameter is not real floating data.
        ValueError: not unit vectors, d < 2, a negative or infinite concentration, shapes that do
            not broadcast.

    >>> law = VonMisesFisher(torch.tensor([0.0, 0.0, 1.0]), 10.0)
    >>> law.mean, law.entropy()  # entropy in nats
    (tensor([0.0000, 0.0000, 0.9000]), tensor(0.5353))
    """

    has_rsample = True

    @classmethod
    def mle(cls, x: Any, weights: Any = None) -> Self:
        """Maximum-likelihood law of unit vectors x (..., N, d), one law per leading index.

        The direction is that of the weighted mean; kappa solves A_d(kappa) = its length.
        x and weights (..., N) >= 0, default one each, are tensors or arrays.

        Raises:
            TypeError: x or weights are not real floating data.
            ValueError: x is not (..., N, d) of unit vectors, a weight is negative or not finite,
                or the rows that carry weight are all equal (as with N = 1): the likelihood then
                grows without bound in kappa.

        >>> x = VonMisesFisher(torch.tensor([1.0, 0.0]), 5.0).sample((10_000,), seed=0)
        >>> VonMisesFisher.mle(x).concentration.round(decimals=1)
        tensor(5.)
        """
        x = as_real_tensor(x, "x")
        mean = _mean_direction(
            x, None if weights is None else as_real_tensor(weights, "weights", x)
        )
        length = torch.linalg.vector_norm(mean, dim=-1)
        if (length > 1.0 - 1e-12).any():
            raise ValueError("the rows of x are all equal: no finite concentration fits them best")
        kappa = inverse_bessel_ratio(length, x.shape[-1])
        loc = mean / length.clamp_min(torch.finfo(torch.float64).tiny).unsqueeze(-1)
        axis = torch.zeros_like(loc)
        axis[..., 0] = 1.0
        loc = torch.where(length.unsqueeze(-1) > 0, loc, axis)  # kappa = 0: every direction fits
        return cls(loc.to(x.dtype), kappa.to(x.dtype))

    def _draw(self, sample_shape: Size, generator: Generator | None) -> Tensor:
        return rsample_von_mises_fisher(
            self.loc, self.concentration, tuple(sample_shape), generator
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats of unit vectors (..., d), with respect to surface measure.

        By the chord: kappa (t-1) = -kappa |x-mu|^2 / 2 keeps its digits at large kappa.
        """
        if self._validate_args:
            self._validate_sample(value)
        chord = (value - self.loc).square().sum(-1)
        return self._log_peak - 0.5 * self.concentration * chord

    def cosine_log_prob(self, t: Tensor) -> Tensor:
        """Log density of the cosine t = <mu, x> in (-1, 1): the law along the axis."""
        ring = log_sphere_area(self.dim - 1) if self.dim > 2 else torch.log(t.new_tensor(2.0))
        shape = 0.5 * (self.dim - 3.0) * torch.log1p(-t * t)
        return self._log_peak + self.concentration * (t - 1.0) + shape + ring

    @property
    def _log_peak(self) -> Tensor:
        gap: Tensor = log_mgf_gap(self.concentration, self.dim)
        return gap - log_sphere_area(self.dim)

    @property
    def mean_resultant_length(self) -> Tensor:
        """A_d(kappa) = |E x|, in [0, 1), of shape batch_shape."""
        return bessel_ratio(self.concentration, self.dim).expand(self._batch_shape)

    @property
    def mean(self) -> Tensor:
        return self.mean_resultant_length.unsqueeze(-1) * self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc.expand(*self._batch_shape, self.dim)

    @property
    def variance(self) -> Tensor:
        """Per coordinate, (*batch_shape, d): A/kappa + (A' - A/kappa) mu_i^2. No gradient."""
        terms = sphere_terms(self.concentration, self.dim)
        across = terms.ratio_over_kappa.to(self.loc.dtype).unsqueeze(-1)
        along = terms.slope.to(self.loc.dtype).unsqueeze(-1)
        return across + (along - across) * self.loc.square()

    def entropy(self) -> Tensor:
        """Differential entropy in nats, batch_shape: log |S^(d-1)| - KL(. || uniform)."""
        kl = kl_to_uniform(self.concentration, self.dim)
        return (log_sphere_area(self.dim) - kl).expand(self._batch_shape)


def _mean_direction(x: Tensor, weights: Tensor | None) -> Tensor:
    """Weighted mean (..., d) in float64 of the directions of x (..., N, d), checked."""
    if x.ndim < 2 or x.shape[-2] < 1 or x.shape[-1] < 2:
        raise ValueError(
            f"x must be (..., N, d) with N >= 1 and d >= 2, got shape {tuple(x.shape)}"
        )
    wrong = ~unit_vector.check(x)
    if wrong.any():
        at = first_index(wrong)
        norm = torch.linalg.vector_norm(x[at]).item()
        raise ValueError(f"x must hold unit vectors, got one of norm {norm!r} at index {at}")
    unit = torch.nn.functional.normalize(widen(x), dim=-1)  # equal rows are told to 1e-12
    if weights is None:
        return unit.mean(-2)
    try:
        weights = weights.expand(torch.broadcast_shapes(weights.shape, x.shape[:-1]))
    except RuntimeError:
        shapes = f"{tuple(weights.shape)} and {tuple(x.shape)}"
        raise ValueError(f"weights must be (..., N) for x (..., N, d), got {shapes}") from None
    wrong = ~(torch.isfinite(weights) & (weights >= 0))
    if wrong.any():
        at = first_index(wrong)
        got = weights[at].item()
        raise ValueError(f"weights must be finite and >= 0, got {got!r} at index {at}")
    peak = weights.amax(-1, keepdim=True)
    if (peak == 0).any():
        raise ValueError("weights must not be all zero")
    weights = widen(weights / peak)  # their sum cannot overflow
    return (weights.unsqueeze(-1) * unit).sum(-2) / weights.sum(-1, keepdim=True)


@register_kl(VonMisesFisher, SphereUniform)
def _kl_to_uniform(p: VonMisesFisher, q: SphereUniform) -> Tensor:
    _require_same_dim(p.dim, q.dim)
    shape = torch.broadcast_shapes(p.batch_shape, q.batch_shape)
    return kl_to_uniform(p.concentration, p.dim).expand(shape)


@register_kl(SphereUniform, VonMisesFisher)
def _kl_from_uniform(p: SphereUniform, q: VonMisesFisher) -> Tensor:
    _require_same_dim(p.dim, q.dim)
    shape = torch.broadcast_shapes(p.batch_shape, q.batch_shape)
    return log_sphere_mgf(q.concentration, q.dim).expand(shape)


@register_kl(VonMisesFisher, VonMisesFisher)
def _kl_between(p: VonMisesFisher, q: VonMisesFisher) -> Tensor:
    """Bregman divergence of K plus kappa_q A_p |mu_p - mu_q|^2 / 2, which 1 - cos would cancel."""
    _require_same_dim(p.dim, q.dim)
    k, other, dim = widen(p.concentration), widen(q.concentration), p.dim  # the terms cancel
    ratio = bessel_ratio(k, dim)
    small = (k - other) * ratio - log_sphere_mgf(k, dim) + log_sphere_mgf(other, dim)
    gap = log_mgf_gap(k, dim) - log_mgf_gap(other, dim)
    large = gap - (k - other) * bessel_deficit(k, dim)
    bregman = torch.where(torch.maximum(k, other) < 0.5 * dim, small, large)
    chord = (p.loc - q.loc).square().sum(-1)
    return (bregman + 0.5 * other * ratio * chord).to(chord.dtype)


def _require_same_dim(p: int, q: int) -> None:
    if p != q:
        raise ValueError(f"the two laws live in dimensions {p} and {q}")
