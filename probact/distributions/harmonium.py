r"""Gaussian harmonium of a max-affine layer: the law whose posterior over codes is the layer.

Symbols: x (..., D); slopes A (K, R, D), offsets B (K, R); noise s2 = sigma^2; t (..., K) a region
per unit; mu_t = sum_k A_k,t_k. For any A and B, orthogonal or not,

    p(x, t) = exp(-|x|^2 / 2 s2 + (1/s2) sum_k [<A_k,t_k, x> + B_k,t_k]) / Z
    p(t | x) = prod_k softmax_r((<A_kr, x> + B_kr) / s2),   x | t ~ N(mu_t, s2 I)
    p(t) ~ exp((sum_k B_k,t_k + |mu_t|^2 / 2) / s2),   Z = (2 pi s2)^(D/2) sum_t exp(...)

so p(t | x) is the soft selection of the layer (Balestriero & Baraniuk 2019, eq. 6). A Gaussian-
Bernoulli restricted Boltzmann machine (Welling, Rosen-Zvi & Hinton 2005) is the case R = 2.
"""

import math
from typing import Any, Self

import torch
from pyro.distributions import TorchDistribution
from torch import Generator, Size, Tensor
from torch.distributions import Distribution, constraints

from probact.arrays import check_count
from probact.distributions.code_enumeration import (
    MAX_CODES,
    all_codes,
    check_enumerable,
    code_means,
    code_sums,
    draw_regions,
    gram_of,
    pair_sums,
    unit_marginals,
)
from probact.distributions.layer_parameters import as_max_affine, as_noise
from probact.distributions.sphere_parameters import as_generator

__all__ = ["Harmonium"]


class Harmonium(TorchDistribution):
    """Law of the input of a max-affine layer, with the layer's own weights.

    `log_prob` is exact where R^K <= max_codes; above, it lacks the constant -log Z and
    `normalized` is False. Draws are exact below, and the end of `sweeps` block Gibbs sweeps (one
    pass forward, one pass back) above. Gradients reach the parameters through `log_prob`.

    Args:
        slopes: A (K, R, D), tensor or array.
        offsets: B (K, R).
        noise: variance s2 > 0, a number or tensor ().
        max_codes: codes that are enumerated, at most 65 536.
        sweeps: of block Gibbs where codes are not enumerated.

    Raises:
        TypeError: a parameter is not real floating data.
        ValueError: wrong shapes, entries that are not finite, noise <= 0, max_codes or sweeps < 1.

    >>> law = Harmonium([[[0.0], [2.0]]], [[0.0, -2.0]], 1.0)  # half N(0, 1), half N(2, 1)
    >>> law.log_prob(torch.tensor([1.0]).double()).exp().round(decimals=4)
    tensor(0.2420, dtype=torch.float64)
    >>> law.selection(torch.tensor([1.0]).double())
    tensor([[0.5000, 0.5000]], dtype=torch.float64)
    """

    arg_constraints = {
        "slopes": constraints.independent(constraints.real, 3),
        "offsets": constraints.independent(constraints.real, 2),
        "noise": constraints.positive,
    }
    support = constraints.real_vector

    def __init__(
        self,
        slopes: Any,
        offsets: Any,
        noise: Any,
        *,
        max_codes: int = MAX_CODES,
        sweeps: int = 100,
        validate_args: bool | None = None,
    ) -> None:
        self.slopes, self.offsets = as_max_affine(slopes, offsets)
        self.noise = as_noise(noise, self.slopes)
        check_count(max_codes, "max_codes")
        check_count(sweeps, "sweeps")
        if max_codes > MAX_CODES:
            raise ValueError(f"max_codes must be at most {MAX_CODES}, got {max_codes}")
        self.num_units, self.num_regions, self.dim = self.slopes.shape
        self.sweeps, self.max_codes = sweeps, max_codes
        bits = self.num_units * math.log2(self.num_regions)
        self.normalized = bits <= math.log2(max_codes) + 1e-9
        self._known: Tensor | None = None  # log weights of the codes, where they have no gradient
        super().__init__(Size(), Size([self.dim]), validate_args=False)  # checked above
        default = Distribution._validate_args
        self._validate_args = default if validate_args is None else validate_args

    @classmethod
    def from_layer(cls, layer: Any, noise: Any = 1.0, **options: Any) -> Self:
        """The law of a layer that has `slopes` (K, R, D) and `offsets` (K, R), as `MaxAffine` has.

        Raises: TypeError for something else; and as the class.
        """
        if not (hasattr(layer, "slopes") and hasattr(layer, "offsets")):
            kind = type(layer).__name__
            raise TypeError(f"layer must have slopes and offsets, as nn.MaxAffine has, got {kind}")
        return cls(layer.slopes, layer.offsets, noise, **options)

    @classmethod
    def infer_shapes(cls, slopes: Any, offsets: Any, noise: Any = ()) -> tuple[Size, Size]:
        """Batch and event shape for parameters of these shapes."""
        return Size(), Size(slopes[-1:])

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """The same law in a larger batch; the parameters are shared by all of it."""
        new: Self = self._get_checked_instance(type(self), _instance)
        for name, value in vars(self).items():
            setattr(new, name, value)
        Distribution.__init__(new, Size(batch_shape), self._event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def logits(self, x: Tensor) -> Tensor:
        """(<A_kr, x> + B_kr) / s2, (..., K, R), for x (..., D)."""
        x = self._inputs(x)
        scores = x @ self.slopes.flatten(0, 1).T.to(x.dtype)
        logits: Tensor = (scores.unflatten(-1, self.offsets.shape) + self.offsets) / self.noise
        return logits

    def selection(self, x: Tensor) -> Tensor:
        """p(t_k = r | x), (..., K, R): the soft selection of the layer."""
        return torch.softmax(self.logits(x), -1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats of x (..., D); up to -log Z where not `normalized`."""
        if self._validate_args:
            self._validate_sample(value)
        value = self._inputs(value)
        free = self.logits(value).logsumexp(-1).sum(-1) - value.square().sum(-1) / (2 * self.noise)
        free = free - self.log_normalizer if self.normalized else free
        return free.expand(torch.broadcast_shapes(free.shape, self._batch_shape))

    @property
    def codes(self) -> Tensor:
        """Every code, (R^K, K), in the order of `code_log_prob`. Raises: ValueError for many."""
        self._require_enumerable()
        return all_codes(self.num_units, self.num_regions, self.slopes.device)

    @property
    def code_log_prob(self) -> Tensor:
        """log p(t) in nats of every code, (R^K,). Raises: ValueError for too many codes."""
        return torch.log_softmax(self._code_weights(), -1)

    @property
    def log_normalizer(self) -> Tensor:
        """log Z in nats, (). Raises: ValueError for too many codes."""
        volume = 0.5 * self.dim * torch.log(2.0 * math.pi * self.noise)
        return volume + self._code_weights().logsumexp(-1)

    def unit_prior(self) -> Tensor:
        """p(t_k = r), (K, R). Raises: ValueError for too many codes."""
        return unit_marginals(self.code_log_prob.exp(), self.num_units, self.num_regions)

    @property
    def mean(self) -> Tensor:
        """E x, (*batch_shape, D). Raises: ValueError for too many codes."""
        each = torch.einsum("kr,krd->d", self.unit_prior(), self.slopes)
        return each.expand(*self._batch_shape, self.dim)

    def sample(
        self,
        sample_shape: Any = (),
        *,
        generator: Generator | None = None,
        seed: int | None = None,
    ) -> Tensor:
        """Draws (*sample_shape, *batch_shape, D) without gradients."""
        stream = as_generator(generator, seed, self.slopes.device)
        shape = self._extended_shape(Size(sample_shape))
        with torch.no_grad():
            if 0 in shape:
                return self.slopes.new_zeros(shape)
            if self.normalized:
                codes = self._draw_codes(shape[:-1], stream)
                return self.sample_given(codes, generator=stream)
            x = self._noise(shape, stream)
            for _ in range(self.sweeps):
                codes = self.sample_codes(x, generator=stream)
                x = self.sample_given(codes, generator=stream)
            return x

    def sample_codes(self, x: Tensor, *, generator: Generator | None = None) -> Tensor:
        """Codes (..., K) from p(t | x), for x (..., D)."""
        logits = self.logits(x.detach()).detach()
        shape, where = logits.shape[:-1], logits.device
        return draw_regions(
            logits, torch.rand(shape, dtype=logits.dtype, device=where, generator=generator)
        )

    def sample_given(self, codes: Tensor, *, generator: Generator | None = None) -> Tensor:
        """x (..., D) from N(mu_t, s2 I), for codes (..., K)."""
        loc = code_means(self.slopes, self._regions(codes)).detach()
        return loc + self._noise(loc.shape, generator)

    def _inputs(self, x: Any) -> Tensor:
        """x (..., D) of the wider floating type of x and the slopes."""
        if not isinstance(x, Tensor) or x.is_complex():
            kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(f"x must be a tensor of real numbers, got {kind}")
        if x.shape[-1:] != self._event_shape:
            raise ValueError(f"x must be (..., {self.dim}), got shape {tuple(x.shape)}")
        return x.to(torch.promote_types(x.dtype, self.slopes.dtype))

    def _regions(self, codes: Any) -> Tensor:
        """Checked codes (..., K), int64."""
        integer = isinstance(codes, Tensor) and not (
            codes.is_floating_point() or codes.is_complex()
        )
        if not integer or codes.shape[-1:] != (self.num_units,):
            raise ValueError(f"codes must be an integer tensor (..., {self.num_units})")
        if bool(((codes < 0) | (codes >= self.num_regions)).any()):
            raise ValueError(f"codes must be integers from 0 to {self.num_regions - 1}")
        whole: Tensor = codes.long()
        return whole

    def _draw_codes(self, shape: Size, generator: Generator | None) -> Tensor:
        probs = self.code_log_prob.exp()
        drawn = torch.multinomial(probs, shape.numel(), replacement=True, generator=generator)
        return self.codes[drawn].reshape(*shape, self.num_units)

    def _noise(self, shape: Size, generator: Generator | None) -> Tensor:
        like = self.slopes
        z = torch.randn(shape, dtype=like.dtype, device=like.device, generator=generator)
        return z * self.noise.detach().sqrt()

    def _code_weights(self) -> Tensor:
        """(sum_k B_k,t_k + |mu_t|^2 / 2) / s2, (R^K,); kept where it can have no gradient."""
        if self._known is not None:
            return self._known
        self._require_enumerable()
        own = self.offsets + 0.5 * self.slopes.square().sum(-1)  # (K, R)
        weights = (code_sums(own) + pair_sums(gram_of(self.slopes))) / self.noise
        # not weights.requires_grad: false while gradients are off, as they are in `sample`
        if not any(p.requires_grad for p in (self.slopes, self.offsets, self.noise)):
            self._known = weights
        return weights

    def _require_enumerable(self) -> None:
        check_enumerable(self.num_units, self.num_regions, self.max_codes)
