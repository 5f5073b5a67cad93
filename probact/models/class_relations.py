r"""Relations between classes: how a classifier labels activations drawn from a class (eq. 7).

Symbols: w_i (D,) row i of the final layer's weight W (C, D), b its bias; mu_i = w_i / |w_i|;
p_T(y | i) = E softmax(W x + b)_y over x ~ vMF(mu_i, kappa_i) (Seo et al. 2021, eq. 7).

Three devices make it cheap and exact in law. Draws of all classes share one noise matrix Z: with
W Z computed once, the logits W x of every class follow from W mu_i and Z mu_i in O(C) a draw
instead of O(C D). Draws come in pairs, x = t mu + s xi and t mu - s xi. And the mean of v = 1 - t
is known, so the part of the estimate that is linear in v is regressed out. Rows of different
classes are correlated through Z; each row is an unbiased estimate up to the O(1/n) of that
regression.
"""

import math
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from probact.arrays import check_count
from probact.distributions.sphere_sampling import polar_plan, sample_polar
from probact.special import bessel_deficit

__all__ = ["ClassRelations", "estimate_class_relations"]

_BLOCK = 1 << 18  # logits, or numbers of Z, held at once
_LARGEST = 0.01  # of the range of floats: room for the noise's length over sqrt(D)
_SMALL_DIM = 16  # below it |Z|^2 - <Z, mu>^2 cancels in float32


class ClassRelations(NamedTuple):
    """Row i: how draws of class i are labelled."""

    probs: Tensor  # (C, C), rows sum to one
    standard_error: Tensor  # (C, C), of each entry


def estimate_class_relations(
    weight: Tensor,
    directions: Tensor,
    bias: Tensor | None,
    concentration: Tensor,
    num_samples: int,
    generator: Generator,
) -> ClassRelations:
    """Monte Carlo p_T (C, C) for weight and its directions (C, D), bias (C,), kappa () or (C,).

    Uses num_samples draws a class (rounded up to pairs); memory O(C D + C^2 + block). Errors count
    sampling alone: for a float32 weight its rounding, 1e-7 of a probability, comes on top.

    Raises:
        ValueError: num_samples is no integer of at least 4 (below there is no standard error), or
            a weight so large that logits overflow.
    """
    check_count(num_samples, "num_samples", smallest=4)
    dtype = torch.float64 if weight.shape[1] < _SMALL_DIM else weight.dtype
    num_classes, dim = weight.shape
    norm = (weight * directions).sum(1)
    if not norm.max() * math.sqrt(dim) < _LARGEST * torch.finfo(dtype).max:
        raise ValueError(f"weight has a row of norm {float(norm.max()):.3g}: its logits overflow")
    w, norm = weight.to(dtype), norm.to(dtype)
    w_mu = w @ directions.to(dtype).T  # (C, C): column i is W mu_i
    offset = torch.zeros_like(norm) if bias is None else bias.to(dtype)
    pairs, rows = (num_samples + 1) // 2, max(1, _BLOCK // max(num_classes, dim))
    kappa = concentration.double()
    mean_v = bessel_deficit(kappa, dim)
    plan = polar_plan(kappa, dim) if dim > 3 else None
    sums = _Sums.zeros(num_classes, weight.device)
    for start in range(0, pairs, rows):
        count = min(rows, pairs - start)
        shape = (count, num_classes if kappa.ndim else 1)
        v = sample_polar(kappa, dim, shape, plan, generator).expand(count, num_classes)
        z = torch.randn(count, dim, dtype=dtype, device=w.device, generator=generator)
        _add_block(sums, w_mu, norm, offset, z, z @ w.T, v, v - mean_v)
    return _regress(sums, pairs, weight.dtype)


class _Sums(NamedTuple):
    """Over pairs, per class i and label y: h the pair's mean softmax, e = v - E v."""

    h: Tensor  # (C, C)
    hh: Tensor
    he: Tensor
    e: Tensor  # (C,)
    ee: Tensor

    @classmethod
    def zeros(cls, num_classes: int, device: torch.device) -> "_Sums":
        square = torch.zeros(3, num_classes, num_classes, dtype=torch.float64, device=device)
        line = torch.zeros(2, num_classes, dtype=torch.float64, device=device)
        return cls(*square, *line)


def _add_block(
    sums: _Sums,
    w_mu: Tensor,
    norm: Tensor,
    offset: Tensor,
    z: Tensor,
    wz: Tensor,
    v: Tensor,
    e: Tensor,
) -> None:
    """Add the pairs of noise z (n, D), with wz = Z W^T, v = 1 - t and e = v - E v, all (n, C)."""
    squared, eps = z.square().sum(1), torch.finfo(z.dtype).eps
    for i in range(norm.numel()):
        along = wz[:, i] / norm[i]  # <z, mu_i>
        # |z - <z, mu_i> mu_i|^2: where z is along mu_i, rounding may leave zero or less
        across = torch.maximum(squared - along * along, eps * squared)
        t = (1.0 - v[:, i]).to(z.dtype)
        scale = (v[:, i] * (2.0 - v[:, i])).sqrt().to(z.dtype) * across.rsqrt()
        centre = torch.outer(t, w_mu[:, i]).add_(offset)
        swing = torch.outer(-scale * along, w_mu[:, i]).addcmul_(wz, scale.unsqueeze(1))
        h = torch.softmax(centre + swing, 1).add_(torch.softmax(centre.sub_(swing), 1)).mul_(0.5)
        sums.h[i] += h.sum(0)
        sums.he[i] += e[:, i].to(h.dtype) @ h
        sums.hh[i] += h.square_().sum(0)
    sums.e.add_(e.sum(0))
    sums.ee.add_(e.square().sum(0))


def _regress(sums: _Sums, pairs: int, dtype: torch.dtype) -> ClassRelations:
    """Means corrected for e's known mean of zero, and their standard errors."""
    h, e = sums.h / pairs, (sums.e / pairs).unsqueeze(1)
    var_e = sums.ee.unsqueeze(1) / pairs - e * e
    slope = (sums.he / pairs - h * e) / var_e.clamp_min(torch.finfo(torch.float64).tiny)
    # of few draws the correction may leave the simplex: such a row keeps its plain mean
    slope = slope * (h >= slope * e).all(1, keepdim=True)
    probs = h - slope * e
    variance = (sums.hh / pairs - h * h - slope * slope * var_e).clamp_min(0.0)
    error = variance.sqrt() / math.sqrt(max(pairs - 2, 1))
    return ClassRelations(probs.to(dtype), error.to(dtype))
