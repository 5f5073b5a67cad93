r"""Likelihoods of a latent-variable model by importance sampling, streamed over the samples.

Symbols: z_s ~ q(z | x), s = 1 .. S; log w_s = log p(x | z_s) + log p(z_s) - log q(z_s | x);

    log p(x) ~ log 1/S sum_s w_s   (Burda et al. 2016; its expectation is <= log p(x)),
    ELBO     ~ 1/S sum_s log w_s.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Size, Tensor

from probact.arrays import check_count, check_seed
from probact.models.image_rows import binarised

__all__ = [
    "ElboTerms",
    "ImportanceEstimate",
    "Joint",
    "estimate_evidence",
    "importance_estimate",
    "pixel_log_prob",
]

Joint = Callable[[Tensor, Tensor, slice], Tensor]  # log p(x, z) of draws, images, their rows

_PIXELS = 2**22  # decoded at a time


class ElboTerms(NamedTuple):
    """E_q log p(x | z) and KL(q || prior), each (N,), nats."""

    reconstruction: Tensor
    kl: Tensor

    @property
    def elbo(self) -> Tensor:
        """Evidence lower bound (N,), nats."""
        return self.reconstruction - self.kl


class ImportanceEstimate(NamedTuple):
    """log p(x) of each image by importance sampling, and what it rests on."""

    log_likelihood: Tensor  # (N,) nats, or (N, C) of each class
    monte_carlo_error: Tensor  # (N,) its standard error over the samples, nats
    elbo: Tensor  # (N,) nats, from the same samples
    effective_samples: Tensor  # (N,) of S: (sum w)^2 / sum w^2
    num_samples: int

    @property
    def mean(self) -> float:
        """Mean log-likelihood over the images, nats."""
        return float(self._one_each().mean())

    @property
    def standard_error(self) -> float:
        """Standard error of `mean` over the choice of images, nats; nan for one image."""
        each = self._one_each()
        return float(each.std()) / math.sqrt(len(each)) if len(each) > 1 else math.nan

    @property
    def mean_monte_carlo_error(self) -> float:
        """Standard error of `mean` over the importance samples, nats."""
        return float(self.monte_carlo_error.square().sum().sqrt()) / len(self._one_each())

    def _one_each(self) -> Tensor:
        """Refuse a column per class, over which a mean would say nothing."""
        if self.log_likelihood.ndim != 1:
            shape = tuple(self.log_likelihood.shape)
            raise ValueError(f"means are over images (N,), got one value a class {shape}")
        return self.log_likelihood


def importance_estimate(
    log_weights: Callable[[int], Tensor], num_samples: int, chunk: int
) -> ImportanceEstimate:
    """The estimate from log_weights(s) (s, *rows), called until num_samples are drawn.

    At most `chunk` samples are held at a time; sums are kept in float64 relative to their largest
    term. With one sample the standard error is not determined: nan.

    >>> flat = importance_estimate(lambda s: torch.zeros(s, 4), num_samples=10, chunk=3)
    >>> flat.log_likelihood.tolist(), flat.effective_samples.tolist()
    ([0.0, 0.0, 0.0, 0.0], [10.0, 10.0, 10.0, 10.0])
    """
    peak = first = second = plain = torch.zeros((), dtype=torch.float64)
    done = 0
    while done < num_samples:
        log_w = log_weights(min(chunk, num_samples - done)).double()  # (s, *rows)
        top = log_w.amax(0) if done == 0 else torch.maximum(peak, log_w.amax(0))
        shrink = torch.exp(peak - top) if done else 0.0
        w = torch.exp(log_w - top)
        first, second = first * shrink + w.sum(0), second * shrink**2 + w.square().sum(0)
        plain, peak, done = plain + log_w.sum(0), top, done + len(log_w)
    relative = (num_samples * second / first.square() - 1.0).clamp_min(0.0)  # squared variation
    error = torch.sqrt(relative / (num_samples - 1)) if num_samples > 1 else relative * math.nan
    return ImportanceEstimate(
        peak + torch.log(first / num_samples),
        error,
        plain / num_samples,
        first.square() / second,
        num_samples,
    )


def estimate_evidence(
    x: Tensor,
    posterior: Callable[[Tensor], Any],
    joint: Joint,
    *,
    num_samples: int,
    seed: int,
    binarise: bool,
) -> ImportanceEstimate:
    """Evidence of images x (N, C, H, W), some rows and samples at a time.

    posterior(x) is the law q(z | x) of rows, a TorchDistribution whose `sample` takes a generator;
    joint(z, x, rows) is log p(x, z) (s, n, *classes) of draws z (s, n, d) for the rows `rows`.
    """
    check_count(num_samples, "num_samples")
    check_seed(seed)
    generator = Generator(x.device).manual_seed(seed)
    x = binarised(x, generator) if binarise else x
    at_once = max(1, _PIXELS // x[0].numel())  # decoded images
    chunk = min(num_samples, at_once)
    step = max(1, at_once // chunk)
    parts = []
    for start in range(0, len(x), step):
        rows = slice(start, min(start + step, len(x)))
        law, images = posterior(x[rows]), x[rows]

        def log_weights(
            count: int, law: Any = law, images: Tensor = images, rows: slice = rows
        ) -> Tensor:
            z = law.sample(Size([count]), generator=generator)  # (s, n, d)
            log_joint = joint(z, images, rows)
            log_q: Tensor = law.log_prob(z)
            return log_joint - log_q.reshape(*log_q.shape, *[1] * (log_joint.ndim - log_q.ndim))

        parts.append(importance_estimate(log_weights, num_samples, chunk))
    value, error, elbo, effective = (
        torch.cat(column) for column in zip(*(p[:4] for p in parts), strict=True)
    )
    return ImportanceEstimate(value, error, elbo, effective, num_samples)


def pixel_log_prob(logits: Tensor, x: Tensor) -> Tensor:
    """log Bernoulli(x; logits) summed over pixels, (..., n), for logits (..., n, C, H, W).

    >>> pixel_log_prob(torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2)) / math.log(2.0)
    tensor([-4., -4.])
    """
    flat = logits.flatten(-3)  # (..., n, P)
    given = torch.einsum("...np,np->...n", flat, x.flatten(1))
    return given - F.softplus(flat).sum(-1)
