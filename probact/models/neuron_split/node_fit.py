r"""What a node of the split tree says of its weights, for many classes at once.

Symbols: x (k, n) rows in ascending order, the weights of k classes, or their negatives for the
left side; a node is the N = n - start last of a row, all above its anchor a; j = 1 .. N ranks
them; excess d = x - a > 0; scale s = mean d, the maximum-likelihood fit of the exponential law
from a.

    AD = -N - 1/N sum_j [(2j - 1) log(1 - e^{-d_j / s}) - (2(N - j) + 1) d_j / s]

compares them with that law (Anderson & Darling 1954). Its p-value is for an estimated scale:
Stephens' approximation to the law of AD* = AD (1 + 0.6 / N) (D'Agostino & Stephens 1986, section
4.9). The gain in BIC of an asymmetric Laplace law, which has two parameters more, is

    2 (l_ALD - l_exp) - 2 log N = 2N (log s - 2 log h) - 2 log N,   h = min_m sqrt A(m) + sqrt B(m)

with A(m) = mean (x - m)^+ and B(m) = mean (m - x)^+ (`probact.analysis.laplace_fits`).
"""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Suffix", "anderson_darling", "asymmetric_laplace_mode", "exponential_pvalue", "suffix"]

_SHIFTED = 3.0  # AD* from which on log p is continued along its tangent: p < 1e-3


class Suffix(NamedTuple):
    """The last weights of each row, in the columns that any of them has."""

    values: Tensor  # (k, w) the columns of x
    inside: Tensor  # (k, w) bool: whether a column belongs to the row's node
    rank: Tensor  # (k, w) j, float64; below 1 outside
    num: Tensor  # (k, 1) N, float64

    def sums_after(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Sums of values (k, w) inside, right of each column (k, w) and in all (k, 1)."""
        held = torch.where(self.inside, values, 0.0)
        sums = held.flip(-1).cumsum(-1).flip(-1)  # the far tail is summed first
        return torch.nn.functional.pad(sums[:, 1:], (0, 1)), sums[:, :1]


def suffix(ordered: Tensor, start: Tensor) -> Suffix:
    """The node of each row of ordered (k, n) that begins at column start (k,); n if it is empty.

    >>> suffix(torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([1])).values
    tensor([[2., 4.]])
    """
    n = ordered.shape[1]
    first = min(int(start.min()), n - 1)
    position = torch.arange(first, n, device=ordered.device)
    inside = position >= start[:, None]
    rank = (position - start[:, None] + 1).double()
    return Suffix(ordered[:, first:], inside, rank, (n - start)[:, None].double())


def anderson_darling(node: Suffix, excess: Tensor, scale: Tensor) -> Tensor:
    """AD (k,) of excesses d (k, w) from the exponential law of scale (k, 1).

    >>> node = suffix(torch.tensor([[1.0, 2.0, 4.0]], dtype=torch.float64), torch.tensor([0]))
    >>> anderson_darling(node, node.values, node.values.mean(1, keepdim=True))
    tensor([0.3774], dtype=torch.float64)
    """
    z = torch.where(node.inside, excess / scale, 1.0)
    log_below = torch.log(-torch.expm1(-z))
    terms = (2.0 * node.rank - 1.0) * log_below - (2.0 * (node.num - node.rank) + 1.0) * z
    total = torch.where(node.inside, terms, 0.0).sum(-1, keepdim=True)
    return (-node.num - total / node.num).squeeze(-1)


def exponential_pvalue(distance: Tensor, num: Tensor) -> Tensor:
    """p-value of AD for N weights and an estimated scale, same shape; NaN where AD is NaN.

    From N = 20 on the share of p-values below 0.1 or less is right within 0.005; what is below
    1e-3 is an order of magnitude.

    >>> exponential_pvalue(torch.tensor([1.321], dtype=torch.float64), torch.tensor([1e9]))
    tensor([0.0507], dtype=torch.float64)
    """
    z = (distance * (1.0 + 0.6 / num)).clamp(min=0.0)
    held = z.clamp(max=_SHIFTED)
    slope = -3.009 + 2.0 * 0.15 * _SHIFTED
    pieces = (
        1.0 - torch.exp(-12.2204 + 67.459 * z - 110.3 * z * z),
        1.0 - torch.exp(-6.1327 + 20.218 * z - 18.663 * z * z),
        torch.exp(0.9209 - 3.353 * z + 0.300 * z * z),
        torch.exp(0.731 - 3.009 * held + 0.15 * held * held + slope * (z - held)),
    )
    p = pieces[3]
    for piece, bound in zip(pieces[2::-1], (0.95, 0.51, 0.26), strict=True):
        p = torch.where(z <= bound, piece, p)
    return p


def asymmetric_laplace_mode(node: Suffix, values: Tensor) -> tuple[Tensor, Tensor]:
    """Column (k,) of the fitted mode of values (k, w), ascending inside, and h (k,) there.

    h is infinite where no value lies strictly between the smallest and the largest of the node.

    >>> node = suffix(torch.tensor([[0.0, 1.0, 1.5, 4.0]]), torch.tensor([0]))
    >>> asymmetric_laplace_mode(node, node.values.double())[0]
    tensor([1])
    """
    after, total = node.sums_after(values)
    below = (node.rank * values - (total - after)).clamp(min=0.0)  # N B
    above = (after - (node.num - node.rank) * values).clamp(min=0.0)  # N A
    h = (below.sqrt() + above.sqrt()) / node.num.sqrt()
    least = torch.where(node.inside, node.values, torch.inf).amin(-1, keepdim=True)
    interior = node.inside & (node.values > least) & (node.values < node.values[:, -1:])
    best, column = torch.where(interior, h, torch.inf).min(-1)
    return column, best
