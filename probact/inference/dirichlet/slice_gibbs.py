r"""Slice sampling of Dirichlet-process Gaussian mixtures: all labels at once, for large N.

Symbols: x (N, D) data; z (N,) labels; n_k sizes of the K occupied components; alpha concentration;
w weights of the components; u (N,) slices; theta_k = (mu_k, Lambda_k) mean and precision.

Given the partition, the random measure is known up to independent pieces:

    (w_1, ..., w_K, rest) ~ Dirichlet(n_1, ..., n_K, alpha),  theta_k ~ NIW posterior of X_k,
    and the rest carries a Dirichlet process of its own: sticks Beta(1, alpha), theta ~ NIW prior.

With u_i ~ Uniform(0, w_{z_i}) the labels are independent given all this,

    P(z_i = k) ~ 1[w_k >= u_i] N(x_i; mu_k, Lambda_k^-1),

and only sticks of at least min u can be chosen, so finitely many are broken. Weights and
parameters are drawn from their law given (z, x) and forgotten after the step, so the step leaves
the law of z given x invariant (Walker 2007; Kalli, Griffin and Walker 2011; Ge et al. 2015).
"""

import math

import torch
from torch import Generator, Tensor

from probact.arrays import check_count
from probact.distributions.component_statistics import Statistics, statistics_of
from probact.inference.dirichlet.conjugate import compact, component_laws
from probact.inference.dirichlet.hyperparameters import resample_hyperparameters
from probact.inference.dirichlet.partition_kernel import PartitionKernel
from probact.inference.dirichlet.problem import Problem
from probact.inference.dirichlet.slice_components import (
    Components,
    draw_components,
    scorer,
    standard_gamma,
    uniform,
)
from probact.inference.dirichlet.state import DPState, canonical

__all__ = ["SliceGibbs"]

_BATCH = 64  # sticks that are broken at once
_MOST_STICKS = 100_000


class SliceGibbs(PartitionKernel):
    """All labels at once given weights and parameters that are drawn anew in every step.

    Tensor operations only, on the device of the data. It mixes more slowly than `CollapsedGibbs`
    for the same number of sweeps; at 10^5 points and more a sweep is what counts. `chunk` points
    are worked on at once (None: 512 on a CPU, where they should stay in its cache, else 16384);
    it bounds the memory and does not change the draws. A step counts `num_sticks`, how many new
    components it offered.

    Raises: ValueError for an unknown start or a chunk below one.
    """

    def __init__(self, *, start: str | Tensor = "auto", chunk: int | None = None) -> None:
        super().__init__(start=start)
        if chunk is not None:
            check_count(chunk, "chunk")
        self.chunk = chunk

    def step(self, state: DPState, generator: Generator) -> DPState:
        """New labels, then alpha and s given them."""
        problem = state.problem
        chunk = self.chunk or (512 if problem.x.device.type == "cpu" else 1 << 14)
        labels, _ = compact(state.z)
        clusters = statistics_of(problem.x, labels, diagonal=problem.diagonal)
        weights, rest = _weights(clusters.size, state.alpha, generator)
        heights = 1 - uniform(problem.x, len(labels), generator)  # (0, 1]
        slices, order = (weights[labels] * heights).sort()
        sticks = _break(rest, state.alpha, slices[0], generator)
        weights, rank = torch.cat([weights, sticks]).sort(descending=True, stable=True)
        laws = component_laws(problem, _with_empty(clusters, len(sticks)), state.scale_factor)
        components = draw_components(laws, generator)
        components = Components(*(value[rank] for value in components))
        z = _draw_labels(problem, components, weights, slices, order, chunk, generator)
        counts = {**state.counts, "num_sticks": float(len(sticks))}
        return resample_hyperparameters(state._replace(z=canonical(z), counts=counts), generator)


def _weights(size: Tensor, alpha: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Weights (K,) of the occupied components and () of the rest."""
    gammas = standard_gamma(torch.cat([size, alpha.reshape(1).to(size)]), generator)
    weights = gammas / gammas.sum()
    return weights[:-1], weights[-1]


def _break(rest: Tensor, alpha: Tensor, least: Tensor, generator: Generator) -> Tensor:
    """Sticks of at least `least` among those that the rest breaks into.

    log(1 - v) = log(U) / alpha for v ~ Beta(1, alpha); what is left below `least` has no more.

    Raises: ValueError where more than 100 000 are expected: alpha log(rest / least).
    """
    if float(alpha * (rest / least).log()) > _MOST_STICKS:
        raise ValueError(
            f"concentration is too large for SliceGibbs: alpha = {float(alpha):.3g} gives more"
            f" than {_MOST_STICKS} components; take CollapsedGibbs"
        )
    sticks = [rest.new_empty(0)]
    while bool(rest >= least):
        steps = torch.log1p(-uniform(rest, _BATCH, generator)) / alpha
        left = rest * steps.cumsum(0).exp()
        before = torch.cat([rest.reshape(1), left[:-1]])
        broken = -before * torch.expm1(steps)
        sticks.append(broken[broken >= least])
        rest = left[-1]
    return torch.cat(sticks)


def _with_empty(clusters: Statistics, count: int) -> Statistics:
    """The clusters and `count` empty ones."""
    size, mean, scatter = (
        torch.cat([value, value.new_zeros(count, *value.shape[1:])]) for value in clusters
    )
    return Statistics(size, mean, scatter)


def _draw_labels(
    problem: Problem,
    components: Components,
    weights: Tensor,
    slices: Tensor,
    order: Tensor,
    chunk: int,
    generator: Generator,
) -> Tensor:
    """Labels (N,): places in the components, whose weights (K,) fall; slices rise along `order`.

    A chunk of points meets only the components that reach its lowest slice.
    """
    u = uniform(slices, len(slices), generator)
    reach = torch.searchsorted(-weights, -slices[::chunk], right=True).tolist()
    score = scorer(problem, components)
    z = torch.empty_like(order)
    pieces = zip(order.split(chunk), slices.split(chunk), u.split(chunk), reach, strict=True)
    for points, floor, target, k in pieces:
        logits = score(problem.x[points], k)  # (k, chunk)
        logits.masked_fill_(weights[:k].unsqueeze(1) < floor, -math.inf)
        logits -= logits.amax(0)
        mass = logits.exp_().cumsum(0)
        z[points] = (mass <= target * mass[-1]).sum(0)
    return z
