r"""Factorised laws of a code: the layer itself, mean field, and their bound on the evidence.

Symbols: x (N, D); q (N, K, R) probabilities of regions; A (K, R, D) slopes; pi (K, R); noise s2.
With D_kr = A_kr - A_k0 and mu_0 = sum_k A_k0 the layer's offsets are

    B_kr = s2 log pi_kr - |D_kr|^2 / 2 - <D_kr, mu_0>,     q_k = softmax_r((<A_kr, x> + B_kr) / s2)

(Balestriero & Baraniuk 2019, theorem 2 and eq. 11; the terms in A_k0 are ours). This q is the
posterior if and only if <A_kr - A_kr', A_ls - A_ls'> = 0 between units. For any factorised q,

    ELBO = sum_k sum_r q_kr (log pi_kr - log q_kr) - E_q |x - mu_t|^2 / (2 s2) - (D/2) log(2 pi s2)
    E_q |x - mu_t|^2 = |x - m|^2 + sum_k (sum_r q_kr |A_kr|^2 - |m_k|^2),  m_k = sum_r q_kr A_kr.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from probact.distributions.code_enumeration import gram_of
from probact.distributions.factorial_code import FactorialParameters, log_base, unit_terms

__all__ = [
    "MeanField",
    "factorised_elbo",
    "layer_offsets",
    "layer_posterior",
    "mean_field",
    "log_weights_of_offsets",
]


class MeanField(NamedTuple):
    """The factorised law that coordinate ascent ends at, and the bound along the way."""

    probs: Tensor  # (N, K, R)
    elbo: Tensor  # (sweeps + 1, N) nats, never decreasing

    @property
    def codes(self) -> Tensor:
        """The likeliest region of each unit, (N, K)."""
        return self.probs.argmax(-1)


def layer_offsets(p: FactorialParameters) -> Tensor:
    """B_kr (K, R), up to a constant per unit.

    >>> p = FactorialParameters(torch.tensor([[[0.0], [2.0]]]), torch.zeros(1, 2), torch.ones(()))
    >>> layer_offsets(p)
    tensor([[ 0., -2.]])
    """
    return p.noise * p.log_weights - _surplus(p.slopes)


def log_weights_of_offsets(slopes: Tensor, offsets: Tensor, noise: Tensor) -> Tensor:
    """log pi_kr (K, R) of the model whose layer has the offsets B (K, R): B -> pi inverted.

    >>> slopes, offsets = torch.tensor([[[0.0], [2.0]]]), torch.tensor([[0.0, -2.0]])
    >>> log_weights_of_offsets(slopes, offsets, 1.0).exp()
    tensor([[0.5000, 0.5000]])
    """
    return torch.log_softmax((offsets + _surplus(slopes)) / noise, -1)


def _surplus(slopes: Tensor) -> Tensor:
    """|D_kr|^2 / 2 + <D_kr, mu_0>, (K, R)."""
    apart = slopes - slopes[:, :1]
    return 0.5 * apart.square().sum(-1) + apart @ slopes[:, 0].sum(0)


def layer_posterior(x: Tensor, p: FactorialParameters) -> Tensor:
    """q(t_k = r | x) (N, K, R): the soft selection of the layer, each unit by itself."""
    scores = (x @ p.slopes.flatten(0, 1).T).unflatten(-1, p.log_weights.shape)
    return torch.softmax((scores + layer_offsets(p)) / p.noise, -1)


def factorised_elbo(x: Tensor, q: Tensor, p: FactorialParameters) -> Tensor:
    """Evidence lower bound (N,) of the law q (N, K, R), nats; differentiable in all three."""
    means = torch.einsum("nkr,krd->nkd", q, p.slopes)  # (N, K, D)
    spread = (q * p.slopes.square().sum(-1)).sum((-1, -2)) - means.square().sum((-1, -2))
    likely = log_base(x - means.sum(1), p) - spread / (2.0 * p.noise)
    return likely + _minus_divergence(q, p.log_weights)


def _minus_divergence(q: Tensor, log_weights: Tensor) -> Tensor:
    """-sum_k KL(q_k || pi_k), (N,)."""
    held = q > 0  # 0 log 0 = 0, without a NaN in the gradient
    ratio = torch.where(held, log_weights - torch.where(held, q, 1.0).log(), 0.0)
    return (q * ratio).sum((-1, -2))


def mean_field(
    x: Tensor, start: Tensor, p: FactorialParameters, *, sweeps: int, tolerance: float
) -> MeanField:
    """Coordinate ascent from q = start (N, K, R): unit after unit its own optimum given the rest.

    Ends after `sweeps` sweeps, or when no row gains more than `tolerance` nats in one.
    """
    terms, gram = unit_terms(x, p), gram_of(p.slopes) / p.noise
    q = start.clone()
    bounds = [factorised_elbo(x, q, p)]
    for _ in range(sweeps):
        for k in range(p.num_units):
            pull = torch.einsum("nls,lsr->nr", q, gram[:, :, k]) - q[:, k] @ gram[k, :, k]
            q[:, k] = torch.softmax(terms[:, k] - pull, -1)
        bounds.append(factorised_elbo(x, q, p))
        if bool((bounds[-1] - bounds[-2]).max() <= tolerance):
            break
    return MeanField(q, torch.stack(bounds))
