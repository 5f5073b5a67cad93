r"""How far the draws of a partition spread: around a point estimate, per point, between chains.

Symbols: z (S, N) draws of labels; c (N,) a point estimate with clusters C_k; p_ij the share of
draws that join i and j. The credible ball is that of Wade & Ghahramani 2018, section 3.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from probact.analysis.label_draws import contingency, label_draws, one_partition, slots
from probact.analysis.partitions import (
    adjusted_rand_index,
    binder_loss,
    variation_of_information,
)
from probact.analysis.point_partition import point_partition
from probact.arrays import check_count, check_seed

__all__ = [
    "ChainAgreement",
    "CredibleBall",
    "assignment_entropy",
    "chain_agreement",
    "credible_ball",
]

LOSSES = {"vi": variation_of_information, "binder": binder_loss}
_CELLS = 2**24  # entries of a block of contingency tables, 128 MB


class CredibleBall(NamedTuple):
    """The smallest ball around a partition that holds the asked share of the draws.

    The bounds are draws in the ball: the farthest; the farthest of those with fewest clusters; and
    the farthest of those with most.
    """

    radius: float  # nats for "vi", a share of all pairs for "binder"
    distances: Tensor  # (S,) of each draw, chains one after the other
    farthest: Tensor  # (N,)
    coarsest: Tensor  # (N,) Wade and Ghahramani's vertical upper bound
    finest: Tensor  # (N,) their vertical lower bound


class ChainAgreement(NamedTuple):
    """Whether M chains found the same partition."""

    distance: Tensor  # (M,) root mean square of p_ij(chain) - p_ij(all), over random pairs
    rand_index: Tensor  # (M, M) adjusted Rand index between the chains' point estimates
    num_pairs: int


def credible_ball(
    z: Any, labels: Any, *, loss: str = "vi", probability: float = 0.95
) -> CredibleBall:
    """The ball around labels (N,) that holds `probability` of draws z (chain, draw, N).

    z may be (draw, N) or a posterior; loss is "vi" or "binder", the metric.

    Raises: TypeError, ValueError for z or labels that do not fit, another loss, or a probability
    outside (0, 1].

    >>> z = torch.tensor([[0, 0, 1, 1]] * 18 + [[0, 0, 0, 1], [0, 0, 0, 0]])
    >>> ball = credible_ball(z, [0, 0, 1, 1], probability=0.95)
    >>> round(ball.radius, 3), ball.coarsest.tolist()
    (0.693, [0, 0, 0, 0])
    """
    if loss not in LOSSES:
        raise ValueError(f"loss must be vi or binder, got {loss!r}")
    if not 0.0 < probability <= 1.0:
        raise ValueError(f"probability must lie in (0, 1], got {probability}")
    draws = label_draws(z).flatten(0, 1).cpu()
    centre = one_partition(labels, "labels", draws.shape[1]).cpu()
    distances = torch.tensor([LOSSES[loss](centre, d) for d in draws], dtype=torch.float64)
    needed = max(1, math.ceil(probability * len(draws) - 1e-9))  # 0.95 * 20 is above 19 by 2e-16
    radius = float(distances.sort().values[needed - 1])
    inside = draws[distances <= radius]
    reach = distances[distances <= radius]
    counts = torch.tensor([len(d.unique()) for d in inside])
    few, many = counts == counts.min(), counts == counts.max()
    return CredibleBall(
        radius=radius,
        distances=distances,
        farthest=inside[reach.argmax()],
        coarsest=inside[few][reach[few].argmax()],
        finest=inside[many][reach[many].argmax()],
    )


def assignment_entropy(z: Any, labels: Any) -> Tensor:
    """Entropy (N,) in nats of the cluster of labels (N,) that each point belongs to.

    Point i belongs to C_k with a probability proportional to the mean of p_ij over j in C_k, from
    draws z (chain, draw, N), (draw, N) or a posterior. 0: every draw agrees.

    Raises: TypeError, ValueError for z or labels that do not fit.

    >>> assignment_entropy([[0, 0, 1], [0, 0, 1]], [0, 0, 1])
    tensor([0., 0., 0.], dtype=torch.float64)
    """
    draws = slots(label_draws(z).flatten(0, 1))
    own = one_partition(labels, "labels", draws.shape[1]).to(draws.device)
    sizes = torch.bincount(own).double()  # (K,)
    shared = torch.zeros(draws.shape[1], len(sizes), dtype=torch.float64, device=draws.device)
    widest = int(draws.max()) + 1
    for block in draws.split(max(1, _CELLS // (widest * len(sizes)))):
        for table, draw in zip(contingency(own, block), block, strict=True):
            shared += table.T[draw]  # (N, K) how many of C_k the draw puts with i
    belonging = shared / sizes  # (N, K) sums over draws of the share of C_k that i is with
    entropy: Tensor = torch.special.entr(belonging / belonging.sum(1, keepdim=True)).sum(1)
    return entropy


def chain_agreement(
    z: Any, *, num_pairs: int = 10_000, loss: str = "vi", seed: int = 0
) -> ChainAgreement:
    """Co-clustering and point estimates of each chain of z (chain, draw, N) or of a posterior.

    The pairs of points are drawn at random with replacement. Chains that found the same partition
    have distances near the Monte Carlo error, about 0.5 / sqrt(independent draws) at most, and
    Rand indices near 1. For one chain both are trivial: 0 and 1.

    Raises: TypeError, ValueError for z without integer draws of two points or more.

    >>> z = torch.tensor([[[0, 0, 1]] * 5, [[0, 1, 1]] * 5])
    >>> round(chain_agreement(z).rand_index[0, 1].item(), 3)
    -0.5
    """
    chains = label_draws(z)  # (M, S, N)
    check_count(num_pairs, "num_pairs")
    check_seed(seed)
    n = chains.shape[2]
    if n < 2:
        raise ValueError(f"z must label two points or more, got {n}")
    generator = torch.Generator().manual_seed(int(seed))
    first = torch.randint(n, (num_pairs,), generator=generator).to(chains.device)
    step = torch.randint(1, n, (num_pairs,), generator=generator).to(chains.device)
    second = (first + step) % n  # never the point itself
    joined = torch.zeros(len(chains), num_pairs, dtype=torch.float64, device=chains.device)
    for chain, share in zip(chains, joined, strict=True):
        for draw in chain:
            share += draw[first] == draw[second]
    joined /= chains.shape[1]
    distance = (joined - joined.mean(0)).square().mean(1).sqrt()
    estimates = [point_partition(c, loss=loss, starts=4, seed=seed).labels for c in chains]
    rand_index = [[adjusted_rand_index(a, b) for b in estimates] for a in estimates]
    return ChainAgreement(distance, torch.tensor(rand_index, dtype=torch.float64), num_pairs)
