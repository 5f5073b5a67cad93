r"""Soft choices among scores: the read-outs of one selection (paper 2, eq. 6 to 9).

Symbols: scores a (..., K, R) of unit k and region r; noise sigma^2 () or (K,);
t = softmax_r(a / sigma^2).
"""

from typing import get_args

import torch
from torch import Tensor

from probact.nn.selection.tempered_selection import Readout

__all__ = ["constant_units", "read_out", "selection_entropy"]


def read_out(scores: Tensor, noise: Tensor, kind: Readout) -> Tensor:
    """max_r a, sum_r t_r a_r or sigma^2 logsumexp_r(a / sigma^2), all (..., K), or t (..., K, R).

    In the order of "hard", "expectation", "free_energy", "probability".

    Raises: ValueError for another kind.

    >>> read_out(torch.tensor([0.0, 3.0]), torch.tensor(1.0), "expectation")  # silu(3)
    tensor(2.8577)
    """
    if kind not in get_args(Readout):
        raise ValueError(f"kind must be one of {', '.join(get_args(Readout))}, got {kind!r}")
    if kind == "hard":
        return scores.amax(-1)
    if kind == "free_energy":
        return noise * (scores / noise.unsqueeze(-1)).logsumexp(-1)
    selection = torch.softmax(scores / noise.unsqueeze(-1), -1)
    return selection if kind == "probability" else (selection * scores).sum(-1)


def selection_entropy(scores: Tensor, noise: Tensor) -> Tensor:
    """Entropy (..., K) of t in nats.

    >>> selection_entropy(torch.zeros(2), torch.tensor(1.0))
    tensor(0.6931)
    """
    log_t = torch.log_softmax(scores / noise.unsqueeze(-1), -1)
    return -(log_t.exp() * log_t).sum(-1)


def constant_units(slopes: Tensor, regions: Tensor) -> Tensor:
    """Units (K,) of slopes (K, R, D) whose points, in regions (M, K), have one of slope zero.

    Raises: ValueError without a point.

    >>> constant_units(torch.tensor([[[0.0], [2.0]]]), torch.tensor([[0], [0]]))
    tensor([True])
    """
    if not len(regions):
        raise ValueError("x must hold a point or more")
    first = regions[0]
    flat = (slopes == 0.0).all(-1).gather(1, first[:, None])[:, 0]
    return (regions == first).all(0) & flat
