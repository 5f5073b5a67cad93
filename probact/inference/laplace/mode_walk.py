r"""The mode of an asymmetric Laplace law with its rates summed out: a random walk.

Symbols: x (K, n) sorted weights; m mode; G overlap, see `rate_draw`. Given G the rates have gamma
laws, which integrate to

    p(m | G, x) ~ (b_R + n A(m) + G)^-(a_R + n) (b_L + n B(m) + G)^-(a_L + n)

The draw of m given the rates, though exact, moves no further than they let it, and of real layers
the posterior of m is often wide or has several peaks. Here m moves by steps of several widths.
"""

import torch
from torch import Generator, Tensor

from probact.distributions.laplace_hyperprior import LaplaceHyperprior
from probact.inference.laplace.rows import SortedRows, excesses
from probact.inference.laplace_compiled.mode_walk import mode_walk

__all__ = ["walk_mode"]

_WIDTHS = (1.0, 4.0, 0.3) * 3  # of the steps, in asymptotic standard errors of the mode


def walk_mode(
    rows: SortedRows,
    loc: Tensor,
    overlap: Tensor,
    prior: LaplaceHyperprior,
    generator: Generator,
    form: str = "auto",
) -> Tensor:
    """Modes (K,) after nine Metropolis updates given the overlaps (K,).

    form as in `draw_mode`.
    """
    x, n, where = rows.values, rows.num_weights, generator.device
    shape = len(x), len(_WIDTHS)
    noise = torch.randn(shape, dtype=x.dtype, device=where, generator=generator).to(x)
    levels = 1.0 - torch.rand(shape, dtype=x.dtype, device=where, generator=generator).to(x)
    spread = (rows.sums[:, -1] - 2.0 * rows.sums[:, n // 2]) / n  # mean distance from the median
    width = (2.0 / n) ** 0.5 * spread
    steps = noise * width.unsqueeze(1) * torch.tensor(_WIDTHS, dtype=x.dtype, device=x.device)
    bounds = prior.low - rows.centre, prior.high - rows.centre
    start = loc - rows.centre
    if form == "compiled" or (form == "auto" and x.device.type == "cpu"):
        laws = torch.stack(prior[:4], 1)  # (K, 4)
        columns = (x, rows.sums, start, overlap, laws, *bounds, steps, levels)
        arrays = [value.cpu().contiguous().numpy() for value in columns]
        arrays[2] = arrays[2].copy()
        mode_walk(*arrays)
        moved = torch.from_numpy(arrays[2]).to(x)
    else:
        moved = _tensors(rows, start, overlap, prior, bounds, steps, levels)
    return torch.minimum(torch.maximum(moved + rows.centre, prior.low), prior.high)


def _tensors(
    rows: SortedRows,
    start: Tensor,
    overlap: Tensor,
    prior: LaplaceHyperprior,
    bounds: tuple[Tensor, Tensor],
    steps: Tensor,
    levels: Tensor,
) -> Tensor:
    """All classes at once, by tensors; modes less the centre."""
    n = rows.num_weights
    centred = rows._replace(centre=torch.zeros_like(rows.centre))

    def score(m: Tensor) -> Tensor:
        above, below = excesses(centred, m)
        right = (prior.right_concentration + n) * (prior.right_rate + above + overlap).log()
        return -right - (prior.left_concentration + n) * (prior.left_rate + below + overlap).log()

    m, height = start, score(start)
    for step, level in zip(steps.unbind(1), levels.unbind(1), strict=True):
        proposal = m + step
        new = score(proposal)
        taken = (level.log() < new - height) & (proposal >= bounds[0]) & (proposal <= bounds[1])
        m, height = torch.where(taken, proposal, m), torch.where(taken, new, height)
    return m
