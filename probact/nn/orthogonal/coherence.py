r"""How far the units of a layer are from independent given the input: coherence diagnostics.

Symbols: A (K, R, D) slopes A_kr of unit k in region r; W (K, D) rows, the filters of a layer;
G = W W'. A factorial mixture with these slopes has a posterior that is a product over units if and
only if <A_kr - A_kr', A_ls - A_ls'> = 0 for all units k != l and regions: if the Gram matrix of
slopes, centred over r and over s, vanishes off the diagonal of units (Balestriero & Baraniuk 2019,
eq. 11, asks for <A_kr, A_ls> = 0, which is more than that). For ReLU, leaky ReLU and absolute
value it is <w_k, w_l> = 0, up to a factor.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from probact.arrays import as_matrix, as_tensor, check_finite, floats, polar_rows
from probact.distributions.code_enumeration import gram_of

__all__ = [
    "Capacity",
    "Coherence",
    "capacity",
    "coherence",
    "interaction_coherence",
    "interaction_gram",
]


class Coherence(NamedTuple):
    """How far K rows are from orthogonal; all are zero where they are."""

    mutual: float  # largest |cosine| of two rows
    mean_squared_cosine: float  # over pairs of rows; 1 / D on average for random directions
    off_diagonal_mass: float  # sum over k != l of G_kl^2: the penalty "rows"
    off_diagonal_share: float  # that, of the sum over all k, l


def coherence(weight: Tensor) -> Coherence:
    """Coherence of the rows of a weight (K, D), or of kernels (C_out, C_in, ...), reshaped.

    Raises: TypeError for no array; ValueError for fewer than two rows or axes, values that are not
    finite, and zero rows, which have no direction (as ReLU units they are constant).

    >>> coherence(torch.tensor([[1.0, 0.0], [1.0, 1.0]])).off_diagonal_share  # 2 of 1 + 4 + 2
    0.2857142857142857
    """
    value = as_tensor(weight, "weight")
    rows = as_matrix(value.flatten(1) if value.ndim > 2 else value, "weight").double()
    if len(rows) < 2:
        raise ValueError("weight must have at least two rows, got 1")
    directions, _ = polar_rows(rows, "weight")
    cosines = (directions @ directions.T).fill_diagonal_(0.0)
    largest = rows.abs().max()
    gram = (rows / largest) @ (rows / largest).T  # whose squares do not overflow
    whole = gram.square().sum()
    mass = gram.fill_diagonal_(0.0).square().sum()
    pairs = len(rows) * (len(rows) - 1)
    return Coherence(
        float(cosines.abs().max()),
        float(cosines.square().sum()) / pairs,
        float(mass * largest**2 * largest**2),
        float(mass / whole),
    )


def interaction_gram(slopes: Tensor) -> Tensor:
    r"""Double-centred Gram matrix (K, K, R, R) of slopes (K, R, D).

    Entry [k, l, r, s] is <A_kr - mean_r A_kr, A_ls - mean_s A_ls>. Divided by -sigma^2 it is the
    interaction of t_k = r and t_l = s in the posterior over regions of a factorial mixture, the
    part of it that neither unit has alone: all blocks k != l vanish iff units are independent
    given x.

    Raises: TypeError for no array; ValueError for another shape or values that are not finite.

    >>> relu = torch.tensor([[[0.0, 0.0], [2.0, 0.0]], [[0.0, 0.0], [3.0, 1.0]]])
    >>> interaction_gram(relu)[0, 1]  # <w_1, w_2> / 4 = 1.5
    tensor([[ 1.5000, -1.5000],
            [-1.5000,  1.5000]])
    """
    a = _slopes(slopes)
    return gram_of(a, centred=True).transpose(1, 2)


def interaction_coherence(slopes: Tensor) -> Tensor:
    """max_{k != l} |G_kl| over the mean over k of max |G_kk|, a number () >= 0.

    G is the `interaction_gram` of slopes (K, R, D). For ReLU units, A_k = (0, w_k), this is
    max |<w_k, w_l>| / mean |w_k|^2. Zero for one unit, and where no unit has differences.

    Raises: as `interaction_gram`.

    >>> interaction_coherence(torch.tensor([[[0.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [0.6, 0.8]]]))
    tensor(0.6000)
    """
    largest = interaction_gram(slopes).abs().amax((2, 3))  # (K, K)
    own = largest.diagonal().mean()
    others = largest - largest.diag().diag()
    return torch.where(own > 0, others.max() / torch.where(own > 0, own, 1.0), 0.0)


class Capacity(NamedTuple):
    """Dimensions that independent units need, and those that there are."""

    needed: int  # sum over units of dim span {A_kr - A_kr'}
    available: int  # D

    @property
    def suffices(self) -> bool:
        """Whether these units could be turned until they are independent given x."""
        return self.needed <= self.available


def capacity(slopes: Tensor) -> Capacity:
    """Whether there is room for orthogonal differences of slopes (K, R, D).

    Orthogonal units have orthogonal spans of differences, so their dimensions must sum to at most
    D: K <= D for ReLU, leaky ReLU and absolute value, K (R - 1) <= D for R slopes in general
    position. Ranks are numerical: singular values below D eps of a unit's largest do not count.

    Raises: TypeError for no array; ValueError for another shape or values that are not finite.

    >>> capacity(torch.randn(4, 3, 6)), capacity(torch.randn(3, 3, 6)).suffices
    (Capacity(needed=8, available=6), True)
    """
    a = _slopes(slopes)
    differences = F.pad(a[:, 1:] - a[:, :1], (0, 0, 0, 1 if a.shape[1] == 1 else 0))
    singular = torch.linalg.svdvals(differences)  # (K, min(R - 1, D))
    limit = max(differences.shape[1:]) * torch.finfo(a.dtype).eps
    ranks = (singular > limit * singular[:, :1]).sum()
    return Capacity(int(ranks), a.shape[2])


def _slopes(slopes: Tensor) -> Tensor:
    """Checked; at least single precision."""
    a = as_tensor(slopes, "slopes")
    if a.ndim != 3 or 0 in a.shape:
        raise ValueError(f"slopes must be (K, R, D), got shape {tuple(a.shape)}")
    check_finite(a, "slopes")
    if a.dtype in (torch.float32, torch.float64):
        return a
    return a.float() if a.dtype in floats else a.double()
