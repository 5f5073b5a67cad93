r"""Exact maximum likelihood of the asymmetric Laplace law, over order statistics.

Symbols: x (K, n) weights, x_(1) <= ... <= x_(n) a sorted row, c_i = x_(1) + ... + x_(i);
A(m) = mean (x - m)^+ and B(m) = mean (m - x)^+; h(m) = sqrt A + sqrt B (Kotz, Kozubowski &
Podgorski 2001, section 3.5). For a known mode m

    s_R = sqrt A h,   s_L = sqrt B h,   log-likelihood -n (2 log h(m) + 1)

Between neighbouring order statistics A and B are linear in m, so h is concave and its minimum is a
weight. All are scanned, since h may have several local minima:

    n B(x_(i)) = i x_(i) - c_i,     n A(x_(i)) = c_n - c_i - (n - i) x_(i)

At either end of a row B or A is zero: the one-sided exponential law, reported as `boundary_gain`.
"""

from typing import Any

import torch
from torch import Tensor

from probact.analysis.laplace_fits.ald_fit import ALDFit
from probact.analysis.laplace_fits.weight_rows import (
    as_weight_rows,
    check_sorted,
    row_blocks,
    sort_rows,
)

__all__ = ["fit_asymmetric_laplace"]

_NO_SPREAD = 1e-300  # below it the rates overflow


def fit_asymmetric_laplace(weights: Any) -> ALDFit:
    """Fit m, s_R and s_L to every row of weights (K, n) on their device, in float64.

    The time is that of a sort and a few passes. Rows go through in blocks of about 2^17 weights on
    the CPU, so that memory stays below twice the input wherever a row is shorter than that.

    Raises:
        TypeError: no array.
        ValueError: not a floating matrix of at least 1 row and 3 columns, NaN or infinity, or a
            row whose sum overflows.

    >>> fit = fit_asymmetric_laplace(torch.tensor([[-1.0, 0.0, 0.5, 3.0]]))
    >>> fit.loc, fit.scale_right, fit.scale_left
    (tensor([0.], dtype=torch.float64), tensor([1.3427], dtype=torch.float64), \
tensor([0.7177], dtype=torch.float64))
    """
    rows = as_weight_rows(weights)
    parts = []
    for block in row_blocks(rows):
        ordered = sort_rows(block)
        check_sorted(ordered, rows)
        parts.append(_fit_sorted(ordered))
    loc, right, left, loglik, gain, degenerate = (
        torch.cat(column) for column in zip(*parts, strict=True)
    )
    return ALDFit(loc, right, left, loglik, gain, degenerate, rows.shape[1])


def _fit_sorted(ordered: Tensor) -> tuple[Tensor, ...]:
    """The tensors of an `ALDFit` of sorted rows (k, n)."""
    n = ordered.shape[1]
    centre = ordered[:, n // 2, None].double()
    x = ordered.double() - centre  # near the mode c_i and i x_(i) are then small
    h = _profile(x)  # (k, n)
    ends = torch.minimum(h[:, 0], h[:, -1])
    first = torch.where(h[:, 0] <= h[:, -1], 0, n - 1)
    best, at = _mask_ends(h, ordered).min(-1)
    inside = torch.isfinite(best)
    at = torch.where(inside, at, first).unsqueeze(-1)
    offset = x - x.gather(-1, at)
    right = offset.clamp(min=0.0).mean(-1).sqrt()  # again at the best m, by plain sums
    left = offset.clamp_(max=0.0).mean(-1).neg().sqrt()
    total = right + left
    loglik = -n * (2.0 * total.log() + 1.0)
    gain = torch.where(inside, 2.0 * n * (total.log() - ends.log()), 0.0)
    degenerate = ~inside | ~(total.square() > _NO_SPREAD)
    loc = ordered.gather(-1, at).squeeze(-1).double()
    return loc, right * total, left * total, loglik, gain, degenerate


def _profile(x: Tensor) -> Tensor:
    """h (k, n) at every weight of sorted rows x."""
    n = x.shape[1]
    i = torch.arange(1, n + 1, dtype=x.dtype, device=x.device)
    c = x.cumsum(-1)
    left = torch.addcmul(-c, i, x).clamp_(min=0.0)  # n B
    right = (c[:, -1:] - c).addcmul_(i - n, x).clamp_(min=0.0)  # n A
    return right.sqrt_().add_(left.sqrt_()).mul_(n**-0.5)


def _mask_ends(h: Tensor, ordered: Tensor) -> Tensor:
    """h, infinite at weights equal to the smallest or the largest of their row."""
    lowest, highest = ordered[:, :1].contiguous(), ordered[:, -1:].contiguous()
    start = torch.searchsorted(ordered, lowest, right=True)
    stop = torch.searchsorted(ordered, highest)
    position = torch.arange(h.shape[1], device=h.device)
    return h.masked_fill_((position < start) | (position >= stop), torch.inf)
