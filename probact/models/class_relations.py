r"""Relations between classes: how a classifier labels activations drawn from a class (eq. 7).

Symbols: w_i (D,) row i of the final layer's weight W (C, D), b its bias; mu_i = w_i / |w_i|;
p_T(y | i) = E softmax(W x + b)_y over x ~ vMF(mu_i, kappa_i) (Seo et al. 2021, eq. 7).

Three devices make it cheap and exact in law. Draws of all classes share one noise matrix Z: with
W Z computed once, the logits W x of every class follow from W mu_i and Z mu_i in O(C) a draw
instead of O(C D). Draws come in pairs, x = t mu + s xi and t mu - s xi. And E t = A_D(kappa) is
known, so the part of the estimate that is linear in t is regressed out. Rows of different classes
are correlated through Z; each row is an unbiased estimate up to the O(1/n) of that regression.
"""

import math
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from probact.distributions.sphere_sampling import polar_plan, sample_polar
from probact.special import bessel_ratio

__all__ = ["ClassRelations", "estimate_class_relations"]

_BLOCK = 1 << 18  # logits held at once
_SMALL_DIM = 16  # below it |Z|^2 - <Z, mu>^2 cancels in float32


class ClassRelations(NamedTuple):
    """Row i: how draws of class i are labelled."""

    probs: Tensor  # (C, C), rows sum to one
    standard_error: Tensor  # (C, C), of each entry


def estimate_class_relations(
    weight: Tensor,
    bias: Tensor | None,
    concentration: Tensor,
    num_samples: int,
    generator: Generator,
) -> ClassRelations:
    """Monte Carlo p_T (C, C) for weight (C, D), bias (C,) or None and concentration () or (C,).

    Uses num_samples draws a class (rounded up to pairs); memory O(D^2 + C^2 + block).

    Raises:
        ValueError: num_samples < 4 (no standard error).
    """
    if num_samples < 4:
        raise ValueError(f"num_samples must be at least 4, got {num_samples}")
    dtype = torch.float64 if weight.shape[1] < _SMALL_DIM else weight.dtype
    w = weight.to(dtype)
    norm = torch.linalg.vector_norm(w, dim=1)
    w_mu = (w @ w.T) / norm  # (C, C): column i is W mu_i
    offset = torch.zeros_like(norm) if bias is None else bias.to(dtype)
    num_classes, dim = w.shape
    pairs, rows = (num_samples + 1) // 2, max(1, _BLOCK // num_classes)
    kappa = concentration.double().expand(num_classes)
    shared = concentration.ndim == 0
    plan = polar_plan(concentration.double(), dim) if dim > 3 else None
    sums = _Sums.zeros(num_classes, weight.device)
    for start in range(0, pairs, rows):
        count = min(rows, pairs - start)
        shape = (count, 1) if shared else (count, num_classes)
        v = sample_polar(concentration.double(), dim, shape, plan, generator)
        z = torch.randn(count, dim, dtype=dtype, device=w.device, generator=generator)
        _add_block(sums, w_mu, norm, offset, z, z @ w.T, v.expand(count, num_classes))
    return _regress(sums, pairs, bessel_ratio(kappa, dim), weight.dtype)


class _Sums(NamedTuple):
    """Over pairs, per class i and label y: h the pair's mean softmax, t its cosine."""

    h: Tensor  # (C, C)
    hh: Tensor
    ht: Tensor
    t: Tensor  # (C,)
    tt: Tensor

    @classmethod
    def zeros(cls, num_classes: int, device: torch.device) -> "_Sums":
        square = torch.zeros(3, num_classes, num_classes, dtype=torch.float64, device=device)
        line = torch.zeros(2, num_classes, dtype=torch.float64, device=device)
        return cls(*square, *line)


def _add_block(
    sums: _Sums, w_mu: Tensor, norm: Tensor, offset: Tensor, z: Tensor, wz: Tensor, v: Tensor
) -> None:
    """Add the pairs of noise z (n, D), with wz = Z W^T (n, C) and v = 1 - t (n, C)."""
    squared = z.square().sum(1)
    for i in range(norm.numel()):
        along = wz[:, i] / norm[i]  # <z, mu_i>
        t = (1.0 - v[:, i]).to(z.dtype)
        sine = (v[:, i] * (2.0 - v[:, i])).sqrt().to(z.dtype)
        scale = sine * torch.rsqrt(squared - along * along)  # s / |z - <z, mu_i> mu_i|
        centre = torch.outer(t, w_mu[:, i]).add_(offset)
        swing = torch.outer(-scale * along, w_mu[:, i]).addcmul_(wz, scale.unsqueeze(1))
        h = torch.softmax(centre + swing, 1).add_(torch.softmax(centre.sub_(swing), 1)).mul_(0.5)
        sums.h[i] += h.sum(0)
        sums.ht[i] += t @ h
        sums.hh[i] += h.square_().sum(0)
    cosines = 1.0 - v
    sums.t.add_(cosines.sum(0))
    sums.tt.add_(cosines.square().sum(0))


def _regress(sums: _Sums, pairs: int, mean_cosine: Tensor, dtype: torch.dtype) -> ClassRelations:
    """Means corrected for t's known expectation, and their standard errors."""
    h, t = sums.h / pairs, (sums.t / pairs).unsqueeze(1)
    var_t = sums.tt.unsqueeze(1) / pairs - t * t
    slope = (sums.ht / pairs - h * t) / var_t.clamp_min(torch.finfo(torch.float64).tiny)
    probs = h - slope * (t - mean_cosine.unsqueeze(1))
    variance = (sums.hh / pairs - h * h - slope * slope * var_t).clamp_min(0.0)
    error = variance.sqrt() / math.sqrt(max(pairs - 2, 1))
    return ClassRelations(probs.to(dtype), error.to(dtype))
