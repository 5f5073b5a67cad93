r"""Proposals of splits: restricted Gibbs scans over the points of two clusters.

Symbols: x (n, D) rows of one cluster, or of two that may merge; two anchors among the rows, which
keep the parts 0 and 1; parts (n,) 0 or 1.

A launch that depends on the rows, the anchors and fresh random numbers alone, then one scan whose
transition probability is the probability of the proposal (Jain and Neal 2004, section 4.2).
"""

import torch
from torch import Generator, Tensor

from probact.inference.dirichlet.collapsed_sweep import collapsed_sweep
from probact.inference.dirichlet.problem import Problem
from probact.inference.dirichlet.slice_components import uniform

__all__ = ["propose_parts"]


def propose_parts(
    problem: Problem,
    scale_factor: Tensor,
    anchors: tuple[int, int],
    scans: int,
    generator: Generator,
    forced: Tensor | None = None,
) -> tuple[Tensor, float]:
    """Parts (n,) of the rows problem.x and the log probability (nats) of their last scan.

    forced: parts (n,) that the last scan takes, to learn how probable they are.
    """
    n = len(problem.x)
    parts = _launch(problem.x, anchors).numpy()
    order = torch.randperm(n, generator=generator, device=generator.device).cpu().numpy()
    order = order[(order != anchors[0]) & (order != anchors[1])]
    s = float(scale_factor)
    for scan in range(scans):
        u = uniform(problem.x, len(order), generator).numpy()
        last = scan == scans - 1 and forced is not None
        target = forced.numpy()[order] if last else None  # type: ignore[union-attr]
        result = collapsed_sweep(problem, s, 0.0, parts, order, u, forced=target)
        parts = result.z
    return torch.from_numpy(parts), result.log_prob


def _launch(x: Tensor, anchors: tuple[int, int]) -> Tensor:
    """Parts (n,) by the nearer anchor, in units of the spread of the rows."""
    spread = x.var(0, correction=0)
    unit = torch.where(spread > 0, spread, 1.0).sqrt()
    distance = torch.stack([(((x - x[i]) / unit) ** 2).sum(1) for i in anchors])
    parts = (distance[1] < distance[0]).long()
    parts[anchors[0]], parts[anchors[1]] = 0, 1
    return parts
