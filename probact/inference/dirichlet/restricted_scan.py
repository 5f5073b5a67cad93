r"""Proposals of splits: restricted Gibbs scans over the points of two clusters.

Symbols: x (n, D) rows of one cluster, or of two that may merge; two anchors among the rows, which
keep the parts 0 and 1; parts (n,) 0 or 1.

A launch that depends on the rows, the anchors and fresh random numbers alone, then one scan whose
transition probability is the probability of the proposal (Jain and Neal 2004, section 4.2).
"""

import numpy as np
import torch
from torch import Generator

from probact.inference.dirichlet.blocked_clusters import Floats, Ints
from probact.inference.dirichlet.collapsed_sweep import ScanRules, collapsed_scans

__all__ = ["propose_parts"]


def propose_parts(
    rules: ScanRules,
    x: Floats,
    anchors: tuple[int, int],
    scans: int,
    generator: Generator,
    forced: Ints | None = None,
) -> tuple[Ints, float]:
    """Parts (n,) of the rows x and the log probability (nats) of the last of the scans.

    forced: parts (n,) that the last scan takes, to learn how probable they are.
    """
    device = generator.device
    order = torch.randperm(len(x), generator=generator, device=device).cpu().numpy()
    order = order[(order != anchors[0]) & (order != anchors[1])]
    u = torch.rand((scans, len(order)), generator=generator, dtype=torch.float64, device=device)
    target = None if forced is None else forced[order]
    result = collapsed_scans(rules, x, _launch(x, anchors), order, u.cpu().numpy(), forced=target)
    return result.z, result.log_prob


def _launch(x: Floats, anchors: tuple[int, int]) -> Ints:
    """Parts (n,) by the nearer anchor, in units of the spread of the rows."""
    i, j = anchors
    spread = x.std(0)
    unit = np.where(spread > 0, spread, 1.0)
    slope = (x[j] - x[i]) / unit
    parts: Ints = ((x - 0.5 * (x[i] + x[j])) / unit @ slope > 0).astype(np.int64)
    parts[i], parts[j] = 0, 1
    return parts
