r"""The mode of an asymmetric Laplace law given its rates and the weights: an exact draw.

Symbols: x (K, n) sorted weights; m mode; r, l rates. Under a flat prior on [low, high] the log
density -r n A(m) - l n B(m) is concave and linear between neighbouring weights, with slope
r (n - i) - l i where i weights lie below. So a segment is chosen by its mass, and the mode inside
it by the inverse distribution function of a truncated exponential law.
"""

import torch
from torch import Generator, Tensor

from probact.inference.laplace.rows import SortedRows
from probact.inference.laplace_compiled.mode_scan import mode_scan

__all__ = ["draw_mode", "mode_density"]

_BLOCK = 2**23  # weights at once in the tensor form, which holds several copies of them


def draw_mode(
    rows: SortedRows,
    rate_right: Tensor,
    rate_left: Tensor,
    low: Tensor,
    high: Tensor,
    generator: Generator | None,
    form: str = "auto",
) -> Tensor:
    """Modes (K,) within bounds (K,), given rates (K,).

    form: "compiled" goes outwards from the top of each density, about 8 sqrt(n) segments, until
    the rest has less than e^-40 of the mass; "tensor" takes all segments, wherever the rows are.
    Both turn the same random numbers into the same draws, up to rounding. "auto" compiles on the
    CPU.
    """
    x = rows.values
    where = x.device if generator is None else generator.device
    uniforms = torch.rand((2, len(x)), dtype=x.dtype, device=where, generator=generator).to(x)
    bounds = low - rows.centre, high - rows.centre
    if form == "compiled" or (form == "auto" and x.device.type == "cpu"):
        loc = _compiled(x, rate_right, rate_left, *bounds, uniforms)
    else:
        size = max(1, _BLOCK // x.shape[1])
        columns = (x, rate_right, rate_left, *bounds, uniforms.mT)
        blocks = zip(*(column.split(size) for column in columns), strict=True)
        loc = torch.cat([_tensors(*block) for block in blocks])
    # the sum with the centre may round past a bound
    return torch.minimum(torch.maximum(loc + rows.centre, low), high)


def mode_density(
    rows: SortedRows, rate_right: Tensor, rate_left: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor]:
    """Knots and log density (nats) at them, (K, n + 2) each, of the law that `draw_mode` draws.

    Between knots the log density is linear; the first and the last are the bounds.
    """
    low, high = low - rows.centre, high - rows.centre
    knots, slope, width = _segments(rows.values, rate_right, rate_left, low, high)
    height, log_mass = _log_masses(slope, width)
    height = height - log_mass.logsumexp(1, keepdim=True)
    return knots + rows.centre.unsqueeze(1), height


def _compiled(
    x: Tensor, right: Tensor, left: Tensor, low: Tensor, high: Tensor, u: Tensor
) -> Tensor:
    arrays = (value.cpu().contiguous().numpy() for value in (x, right, left, low, high, u))
    loc = torch.empty(len(x), dtype=x.dtype)
    visited = torch.empty(len(x), dtype=torch.int64)
    mode_scan(*arrays, loc.numpy(), visited.numpy())
    return loc.to(x.device)


def _tensors(
    x: Tensor, right: Tensor, left: Tensor, low: Tensor, high: Tensor, u: Tensor
) -> Tensor:
    """Modes (k,) of some rows, by tensors; u (k, 2)."""
    knots, slope, width = _segments(x, right, left, low, high)
    log_mass = _log_masses(slope, width)[1]
    mass = torch.exp(log_mass - log_mass.amax(1, keepdim=True))
    below = mass.cumsum(1)
    level = u[:, :1] * below[:, -1:]
    i = torch.searchsorted(below, level, right=True).clamp(max=x.shape[1])  # (k, 1)
    s, w, start = slope.gather(1, i), width.gather(1, i), knots.gather(1, i)
    share, t = u[:, 1:], s * w
    tail = torch.where(t < 0, share, 1.0 - share)
    inside = torch.log1p(tail * torch.expm1(-t.abs())) / torch.where(t == 0, 1.0, s)
    drawn = torch.where(t < 0, inside, torch.where(t == 0, share * w, w + inside))
    return (start + drawn.clamp(min=0.0).minimum(w)).squeeze(1)


def _segments(
    x: Tensor, right: Tensor, left: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Knots (K, n + 2), and slopes and widths (K, n + 1) of the segments between them."""
    n = x.shape[1]
    lo, hi = low.unsqueeze(1), high.unsqueeze(1)
    knots = torch.cat([lo, torch.minimum(torch.maximum(x, lo), hi), hi], 1)
    i = torch.arange(n + 1, dtype=x.dtype, device=x.device)
    slope = right.unsqueeze(1) * (n - i) - left.unsqueeze(1) * i
    return knots, slope, knots.diff(dim=1)


def _log_masses(slope: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    """Log density at the knots, zero at the first, and log mass of the segments."""
    t = slope * width
    height = torch.nn.functional.pad(t.cumsum(1), (1, 0))
    size = torch.where(t == 0, 1.0, t.abs())
    share = torch.where(t == 0, 1.0, -torch.expm1(-size) / size)  # of the larger end's density
    log_mass = torch.maximum(height[:, 1:], height[:, :-1]) + width.log() + share.log()
    return height, log_mass
