r"""Expectation-maximisation for a factorial mixture (Ghahramani 1994; the M-step of eq. 10).

Symbols: x (N, D); S (N, K R) one-hot codes laid end to end; A (K R, D) slopes; s2 noise.

    A = (E[S'S])^+ E[S'x],   s2 = E |x - S A|^2 / (N D),   pi_k = E[t_k] / N

The E-step takes the posterior over all codes, and then log p(x) never decreases; or mean field,
and then the bound never does.
"""

from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor

from probact.distributions.code_enumeration import pair_marginals, unit_marginals
from probact.distributions.factorial_code import FactorialParameters, code_log_joint
from probact.models.layer_guide import layer_posterior, mean_field

__all__ = ["EStep", "Moments", "em_step", "fit_em", "first_parameters"]

EStep = Literal["exact", "mean_field"]


class Moments(NamedTuple):
    """Sums over rows under the E-step's law."""

    regions: Tensor  # E[t_k] (K, R)
    pairs: Tensor  # E[S'S] (K, R, K, R)
    products: Tensor  # E[S'x] (K, R, D)
    bound: Tensor  # () log p(x) or its bound, nats


def em_step(
    x: Tensor, p: FactorialParameters, posterior: EStep, sweeps: int
) -> tuple[FactorialParameters, Tensor]:
    """The next parameters, and the mean bound of the ones given, nats per row.

    Raises: ValueError where the codes explain every row exactly: no noise is left.
    """
    moments = _exact(x, p) if posterior == "exact" else _mean_field(x, p, sweeps)
    k, r, d = p.slopes.shape
    pairs = moments.pairs.reshape(k * r, k * r) / len(x)
    products = moments.products.reshape(k * r, d) / len(x)
    slopes = torch.linalg.pinv(pairs, hermitian=True) @ products  # (K R, D)
    explained = (slopes * (2.0 * products - pairs @ slopes)).sum()
    square = x.square().sum() / len(x)
    noise = (square - explained) / d
    if not float(noise) > 1e-12 * float(square) / d:
        raise ValueError(f"{k} units explain all {len(x)} rows of x exactly: no noise is left")
    weights = moments.regions / moments.regions.sum(-1, keepdim=True)
    new = FactorialParameters(slopes.reshape(k, r, d), weights.log(), noise)
    return new, moments.bound / len(x)


def _exact(x: Tensor, p: FactorialParameters) -> Moments:
    k, r, _ = p.slopes.shape
    mass, products = x.new_zeros(r**k), torch.zeros_like(p.slopes)
    bound = x.new_zeros(())
    for rows in p.row_chunks(x):
        joint = code_log_joint(rows, p)
        evidence = joint.logsumexp(-1)
        probs = torch.exp(joint - evidence.unsqueeze(-1))
        bound = bound + evidence.sum()
        mass = mass + probs.sum(0)
        products = products + torch.einsum("nkr,nd->krd", unit_marginals(probs, k, r), rows)
    return Moments(unit_marginals(mass, k, r), pair_marginals(mass, k, r), products, bound)


def _mean_field(x: Tensor, p: FactorialParameters, sweeps: int) -> Moments:
    found = mean_field(x, layer_posterior(x, p), p, sweeps=sweeps, tolerance=1e-9)
    q = found.probs
    pairs = torch.einsum("nkr,nls->krls", q, q)
    for k in range(p.num_units):
        pairs[k, :, k] = q[:, k].sum(0).diag()  # one region at a time
    return Moments(q.sum(0), pairs, torch.einsum("nkr,nd->krd", q, x), found.elbo[-1].sum())


def first_parameters(
    x: Tensor, num_units: int, num_regions: int, generator: Generator
) -> FactorialParameters:
    """Equal weights, the data's variance as noise, and slopes that share its mean and spread."""
    shape = num_units, num_regions, x.shape[1]
    z = torch.randn(shape, dtype=x.dtype, device=x.device, generator=generator)
    variance = x.var(0, correction=0)
    slopes = x.mean(0) / num_units + z * (variance / num_units).sqrt()
    weights = x.new_full((num_units, num_regions), 1.0 / num_regions)
    noise = variance.mean()
    if not float(noise) > 0.0:
        raise ValueError("x has no spread: all of its rows are equal")
    return FactorialParameters(slopes, weights.log(), noise)


def fit_em(
    x: Tensor,
    start: FactorialParameters,
    *,
    posterior: EStep,
    iterations: int,
    tolerance: float,
    sweeps: int = 50,
) -> tuple[FactorialParameters, Tensor]:
    """Parameters after EM and the mean bound at the start of every iteration, nats per row.

    Ends after `iterations`, or when the bound gains less than `tolerance`.
    """
    if not bool(x.square().sum().isfinite()):
        raise ValueError("x is too large: the sum of its squares is not finite")
    p, bounds = start, []
    for _ in range(iterations):
        new, bound = em_step(x, p, posterior, sweeps)
        bounds.append(bound)
        p = new
        if len(bounds) > 1 and float(bounds[-1] - bounds[-2]) < tolerance:
            break
    return p, torch.stack(bounds)
