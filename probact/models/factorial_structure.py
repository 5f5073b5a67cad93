r"""When the units of a factorial mixture decouple: coherence, capacity, and the gauge.

Symbols: A (K, R, D) slopes; D_kr = A_kr - A_k0; G_kl (R, R) Gram block <A_kr, A_ls> with its row
and column means taken out. The posterior over codes is a product over units for every x if and
only if G_kl = 0 for all k != l, which needs sum_k rank{D_kr} <= D dimensions.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from probact.distributions.code_enumeration import gram_of

__all__ = ["Capacity", "capacity_of", "coherence_of"]


class Capacity(NamedTuple):
    """Dimensions that orthogonal units with these ranks need, and those that there are."""

    needed: int  # sum over units of the rank of their differences
    available: int  # D

    @property
    def fits(self) -> bool:
        """Whether such units can be orthogonal at all."""
        return self.needed <= self.available


def coherence_of(slopes: Tensor) -> Tensor:
    """max_{k != l} |G_kl| over the mean over k of max |G_kk|, a number () >= 0.

    For ReLU units, A_k = (0, w_k), this is max |<w_k, w_l>| / mean |w_k|^2. Zero for one unit,
    and where no unit has differences.

    >>> coherence_of(torch.tensor([[[0.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [0.6, 0.8]]]))
    tensor(0.6000)
    """
    largest = _largest(slopes)
    own = largest.diagonal().mean()
    others = largest - largest.diag().diag()
    return torch.where(own > 0, others.max() / torch.where(own > 0, own, 1.0), 0.0)


def capacity_of(slopes: Tensor) -> Capacity:
    """How many dimensions orthogonal units need.

    >>> capacity_of(torch.ones(3, 2, 5))
    Capacity(needed=0, available=5)
    """
    apart = slopes - slopes[:, :1]
    ranks = torch.linalg.matrix_rank(apart)  # (K,)
    return Capacity(int(ranks.sum()), slopes.shape[-1])


def _largest(slopes: Tensor) -> Tensor:
    """max over regions of |G_kl|, (K, K)."""
    return gram_of(slopes, centred=True).abs().amax((1, 3))
