r"""A layer of max-affine units as Gaussian mixtures (paper 2, eq. 3 to 6 and Theorem 2: SMASO).

Paper 2 is Balestriero & Baraniuk, "From Hard to Soft", ICLR 2019.

Symbols: x (N, D) inputs of the layer; unit k of K, region r of R; slopes A (K, R, D); weights
pi (K, R); noise sigma^2 () or (K,), eta = 1 / sigma^2 = beta / (1 - beta); t (N, K) regions;
offsets B (K, R), gauge g (K,); scores a_kr = <A_kr, x> + B_kr.

    t_k ~ Categorical(pi_k),  x | t_k = r ~ N(A_kr, sigma^2 I)
    log p_k(x, r) = -|x|^2 / (2 sigma^2) - (D / 2) log(2 pi sigma^2) + (a_kr - g_k) / sigma^2

So p_k(r | x) = softmax_r(a_kr / sigma^2), and its mode is the region of the layer itself. Every
unit has its own copy of x: these are K densities of one variable, not a joint one of the layer.
"""

import math
from typing import Any, NamedTuple, Self

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Generator, Tensor, nn

from probact.arrays import as_number, as_tensor, check_count, check_finite, check_seed
from probact.distributions.layer_parameters import as_noise
from probact.distributions.sphere_parameters import as_generator
from probact.models.layer_patches import slopes_and_offsets
from probact.models.mixture_parameters import as_mixtures, spread_means
from probact.models.own_parameters import OwnParameters
from probact.models.region_prior import (
    RegionPrior,
    describe_prior,
    gauge_from_offsets,
    offsets_from_log_weights,
)
from probact.models.soft_regions import constant_units, read_out, selection_entropy
from probact.nn.selection.tempered_selection import Readout

__all__ = ["InputDraws", "SplineMixture"]


class InputDraws(NamedTuple):
    """Draws of the program: one input per unit."""

    x: Tensor  # (S, K, D)
    regions: Tensor  # (S, K)


class SplineMixture(OwnParameters):
    """K mixtures of R isotropic Gaussians, whose posteriors are the soft regions of a layer.

    All numbers are float64 (float32 after `.float()`). noise and beta are one number, beta =
    1 / (1 + sigma^2); only `log_eta`, the logit of beta, is stored. `probact.fit` learns slopes,
    weights and noise from inputs by the exact evidence, or with
    `loss=TraceEnum_ELBO(max_plate_nesting=2)` by the program and its guide, the exact posterior;
    the two have the same value. Units do not see each other, so K units are K starts of the same
    fit, of which `log_prob` tells the best.

    Args:
        slopes: A (K, R, D), the means of the components.
        weights: pi (K, R), positive, each row summing to one.
        noise: sigma^2 > 0, one number or one per unit (K,).

    Raises:
        TypeError, ValueError: naming the argument, for another shape or numbers out of range.

    >>> layer = torch.nn.Linear(5, 3).double()
    >>> mixture = SplineMixture.from_layer(layer, "relu")  # noise 1, beta 1/2
    >>> x = torch.randn(10, 5, dtype=torch.float64)
    >>> torch.allclose(mixture.readout(x, "hard"), layer(x).relu())
    True
    >>> torch.allclose(mixture.readout(x), torch.nn.functional.silu(layer(x)))
    True
    """

    dims = {"x": ("feature",)}

    def __init__(self, slopes: Any, weights: Any, noise: Any) -> None:
        super().__init__()
        a, pi = as_mixtures(slopes, weights, "weights")
        if (pi <= 0).any() or ((pi.sum(-1) - 1.0).abs() > 1e-6).any():
            raise ValueError("weights must be positive and sum to one over the regions")
        log_weights = pi.log() - pi.sum(-1, keepdim=True).log()
        self._set(a, log_weights, as_noise(noise, a, per_unit=True), a.new_zeros(len(a)))

    def _set(self, slopes: Tensor, log_weights: Tensor, noise: Tensor, gauge: Tensor) -> None:
        self.num_units, self.num_regions, self.input_dim = slopes.shape
        self.slopes = nn.Parameter(slopes)
        self.log_weights = nn.Parameter(log_weights)
        self.log_eta = nn.Parameter(-noise.detach().log())
        self.register_buffer("fixed_gauge", gauge)

    @classmethod
    def from_offsets(cls, slopes: Any, offsets: Any, noise: Any = 1.0) -> Self:
        """The mixtures whose selection is that of slopes A (K, R, D) and offsets B (K, R).

        >>> mixture = SplineMixture.from_offsets([[[0.0], [2.0]]], [[0.0, 1.0]])
        >>> mixture.offsets.round(decimals=6).tolist(), mixture.weights.round(decimals=2).tolist()
        ([[0.0, 1.0]], [[0.05, 0.95]])
        """
        a, b = as_mixtures(slopes, offsets, "offsets")
        sigma2 = as_noise(noise, a, per_unit=True).detach()
        log_weights = torch.log_softmax((b + 0.5 * a.square().sum(-1)) / sigma2[..., None], -1)
        mixture = cls.__new__(cls)
        PyroModule.__init__(mixture)
        mixture._set(a, log_weights, sigma2, gauge_from_offsets(a, b, sigma2))
        return mixture

    @classmethod
    def from_data(cls, x: Any, num_units: int, num_regions: int, *, seed: int = 0) -> Self:
        """Where a fit to inputs x (N, D) may start: rows of x far apart, other ones in each unit.

        Weights are equal; the noise of a unit is the mean square per axis to its nearest mean.

        >>> SplineMixture.from_data(torch.randn(50, 2), 3, 4).slopes.shape
        torch.Size([3, 4, 2])
        """
        slopes, noise = spread_means(x, num_units, num_regions, seed)
        weights = torch.full_like(slopes[..., 0], 1.0 / num_regions)
        return cls(slopes, weights, noise)

    @classmethod
    def from_layer(
        cls, layer: nn.Module, activation: Any = "relu", noise: Any = 1.0, **options: Any
    ) -> Self:
        """A linear layer and its activation; a copy, which shares nothing with the layer.

        `activation` and `options` are those of `MaxAffine.from_layer`; a `MaxAffine` is taken as
        it is. A convolution is read on the patches that `layer_patches` gives, D = channels *
        kernel area, or as one matrix where `input_shape` is given.

        Raises: TypeError or ValueError for what has no max-affine form.
        """
        return cls.from_offsets(*slopes_and_offsets(layer, activation, **options), noise)

    def at_noise(self, noise: Any) -> Self:
        """The mixtures of the same slopes and offsets at another noise () or (K,), a copy."""
        with torch.no_grad():
            return type(self).from_offsets(self.slopes, self.offsets, noise)

    def at_beta(self, beta: float) -> Self:
        """`at_noise` for beta in (0, 1): noise (1 - beta) / beta; the layer at beta -> 1.

        >>> mixture = SplineMixture([[[0.0], [2.0]]], [[0.5, 0.5]], noise=1.0)
        >>> mixture.at_beta(0.8).noise.detach()
        tensor(0.2500, dtype=torch.float64)
        """
        if not 0.0 < as_number(beta, "beta") < 1.0:
            raise ValueError(f"beta must lie in (0, 1), got {beta!r}")
        return self.at_noise((1.0 - float(beta)) / float(beta))

    @property
    def noise(self) -> Tensor:
        """sigma^2 () or (K,)."""
        return torch.exp(-self.log_eta)

    @property
    def beta(self) -> Tensor:
        """1 / (1 + sigma^2), () or (K,)."""
        return torch.sigmoid(self.log_eta)

    @property
    def weights(self) -> Tensor:
        """pi (K, R)."""
        return torch.softmax(self.log_weights, -1)

    @property
    def offsets(self) -> Tensor:
        """B (K, R)."""
        log_weights = self.log_weights.log_softmax(-1)
        noise = self.noise.unsqueeze(-1)  # (1,) or (K, 1)
        return offsets_from_log_weights(self.slopes, log_weights, noise, self.fixed_gauge)

    def gauge(self) -> Tensor:
        """g (K,), the part of the offsets that no prior explains; zero for given weights."""
        fixed: Tensor = self.fixed_gauge
        return fixed.clone()

    def forward(self, x: Tensor | None = None) -> Tensor:
        """The program: sites "t" (N, K) and "x" (N, K, D), every unit its own copy of x (N, D)."""
        rows = None if x is None else self._rows(x)
        if rows is not None and (rows.ndim != 2 or not len(rows)):
            raise ValueError(f"x must be (N, {self.input_dim}), got shape {tuple(rows.shape)}")
        slopes, scale = self.slopes, self.noise.sqrt()
        units = torch.arange(self.num_units, device=slopes.device)
        data = pyro.plate("data", 1 if rows is None else len(rows), dim=-2)
        with data, pyro.plate("units", self.num_units, dim=-1):
            law = dist.Categorical(logits=self.log_weights)
            t = pyro.sample("t", law, infer={"enumerate": "parallel"})
            each = dist.Normal(slopes[units, t], scale.unsqueeze(-1)).to_event(1)
            seen = None if rows is None else rows.unsqueeze(-2).expand(-1, self.num_units, -1)
            drawn: Tensor = pyro.sample("x", each, obs=seen)
        return drawn

    def guide(self, x: Tensor) -> None:
        """The exact posterior: the layer's own soft regions at this noise."""
        logits = self.scores(x) / self.noise.unsqueeze(-1)  # (N, K, R)
        data = pyro.plate("data", len(logits), dim=-2)
        with data, pyro.plate("units", self.num_units, dim=-1):
            pyro.sample("t", dist.Categorical(logits=logits), infer={"enumerate": "parallel"})

    def objective(self, x: Tensor, epoch: int | None = None) -> Tensor:
        """Mean over rows of the negative evidence of all units, nats: what `fit` minimises."""
        log_p = self.log_prob(x)
        if not log_p.numel():
            raise ValueError("x must hold a point or more")
        return -log_p.sum(-1).mean()

    def scores(self, x: Any) -> Tensor:
        """a (..., K, R) of inputs x (..., D)."""
        rows = self._rows(x)
        flat = self.slopes.flatten(0, 1)  # (K R, D)
        a: Tensor = (rows @ flat.T).unflatten(-1, self.offsets.shape) + self.offsets
        return a

    def selection(self, x: Any) -> Tensor:
        """p_k(r | x) (..., K, R), the posterior over regions (paper 2, eq. 6)."""
        return read_out(self.scores(x), self.noise, "probability")

    def regions(self, x: Any) -> Tensor:
        """The most probable region (..., K), which is the layer's (paper 2, eq. 4 and 5)."""
        return self.scores(x).argmax(-1)

    def readout(self, x: Any, kind: Readout = "expectation") -> Tensor:
        """What the layer hands on, (..., K), or (..., K, R) for "probability": see `read_out`.

        Of a ReLU layer at noise 1: ReLU, SiLU, the sigmoid (last region) and, "free_energy",
        softplus.
        """
        return read_out(self.scores(x), self.noise, kind)

    def entropy(self, x: Any) -> Tensor:
        """Posterior entropy (..., K) of each unit's region, nats: 0 is sure, log R knows nothing.

        >>> mixture = SplineMixture.from_offsets([[[0.0], [2.0]]], [[0.0, 0.0]])
        >>> mixture.entropy([[0.0], [3.0]]).detach().round(decimals=3).flatten().tolist()
        [0.693, 0.017]
        """
        return selection_entropy(self.scores(x), self.noise)

    def log_joint(self, x: Any) -> Tensor:
        """log p_k(x, t_k = r) in nats, (..., K, R)."""
        rows, noise = self._rows(x), self.noise.unsqueeze(-1)
        scores = self.scores(rows) - self.fixed_gauge.unsqueeze(-1)
        square = rows.square().sum(-1)[..., None, None]
        volume = 0.5 * self.input_dim * (2.0 * math.pi * noise).log()
        log_p: Tensor = (scores - 0.5 * square) / noise - volume
        return log_p

    def log_prob(self, x: Any) -> Tensor:
        """log p_k(x) (..., K), each unit's evidence of inputs x (..., D), nats."""
        return torch.logsumexp(self.log_joint(x), -1)

    def dead_units(self, x: Any) -> Tensor:
        """Units with one value on all of x (..., D), bool (K,): one region each, of slope zero.

        >>> relu = SplineMixture.from_offsets([[[0.0], [2.0]]], [[0.0, 0.0]])
        >>> relu.dead_units([[-1.0], [-2.0]]).tolist(), relu.dead_units([[1.0], [2.0]]).tolist()
        ([True], [False])
        """
        return constant_units(self.slopes, self.regions(x).reshape(-1, self.num_units))

    def region_prior(self, x: Any = None) -> RegionPrior:
        """The prior over regions, and how it compares with inputs x (..., D) where given."""
        with torch.no_grad():
            return describe_prior(self, None if x is None else self._rows(x))

    def sample(
        self, num_samples: int, *, seed: int | None = None, generator: Generator | None = None
    ) -> InputDraws:
        """Regions (S, K) from the prior and inputs (S, K, D), each unit's own; S = num_samples.

        >>> mixture = SplineMixture([[[0.0], [9.0]]], [[0.5, 0.5]], noise=1.0)
        >>> mixture.sample(4, seed=0).x.shape
        torch.Size([4, 1, 1])
        """
        check_count(num_samples, "num_samples")
        if seed is not None:
            check_seed(seed)
        source = as_generator(generator, seed, self.slopes.device)
        with torch.no_grad():
            t = torch.multinomial(self.weights, num_samples, replacement=True, generator=source)
            means = self.slopes[torch.arange(len(t), device=t.device)[:, None], t]
            error = torch.randn(
                means.shape, generator=source, dtype=means.dtype, device=means.device
            )
            x = means + self.noise.sqrt().reshape(-1, 1, 1) * error  # (K, S, D)
        return InputDraws(x.transpose(0, 1).contiguous(), t.T.contiguous())

    def _rows(self, x: Any) -> Tensor:
        """x (..., D) of the type and device of the slopes, gradients kept."""
        rows = x if isinstance(x, Tensor) and x.is_floating_point() else as_tensor(x, "x")
        if rows.ndim == 0 or rows.shape[-1] != self.input_dim:
            raise ValueError(f"x must be (..., {self.input_dim}), got shape {tuple(rows.shape)}")
        check_finite(rows.detach().reshape(-1, self.input_dim), "x")
        return rows.to(self.slopes)
