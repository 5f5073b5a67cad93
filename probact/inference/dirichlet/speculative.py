r"""Collapsed Gibbs in tensor operations, for data on an accelerator; full covariance.

All points of a block are drawn at once, as if none would move. The labels before the first mover
are final; its move is carried to the later points (symbols and algebra in `blocked_sweep`), and
they are drawn again with the same uniforms. So a block takes as many passes as it has moves, each
with one transfer to the host, and the labels are those of the sweep point by point.

What a tensor pass cannot do well (an r too near one, a scale whose Cholesky factor fails) is left
to the compiled sweep, from the point where it was met.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from probact.inference.dirichlet.blocked import blocked_sweep, log_table
from probact.inference.dirichlet.blocked_clusters import SweepResult
from probact.inference.dirichlet.problem import Problem

__all__ = ["speculative_sweep"]

_CLOSEST = 1e-8  # 1 - r below this has lost half its digits
_SPARE = 16  # free slots beyond those in use


class Rules(NamedTuple):
    """What does not change during a sweep."""

    problem: Problem
    scale: Tensor  # (D, D) s S_0
    table: Tensor  # (N + 1,) log n + c(n), and c(0) at 0
    log_new: Tensor  # (N,)
    prior: "Slots"  # one slot, without points


class Slots(NamedTuple):
    """Slots of components; an empty slot's numbers mean nothing. Tensors change in place."""

    sizes: Tensor  # (K,) int64
    means: Tensor  # (K, D)
    scales: Tensor  # (K, D, D)
    log_dets: Tensor  # (K,) log|L|
    whiteners: Tensor  # (K, D, D) W


class Block(NamedTuple):
    """The points of a block, and where they stand."""

    x: Tensor  # (B, D)
    z: Tensor  # (B,) changes in place
    uniforms: Tensor  # (B,)
    log_new: Tensor  # (B,)
    y: Tensor  # (K, B, D + 1) y~
    r: Tensor  # (K, B)


def speculative_sweep(
    problem: Problem,
    scale_factor: float,
    concentration: float,
    z: Tensor,
    order: Tensor,
    uniforms: Tensor,
    *,
    block: int = 512,
) -> SweepResult:
    """As `blocked_sweep`, with tensors on the device of the data; labels come back as an array.

    Raises: ValueError where a component's scale matrix leaves the range of float64.
    """
    z, start, tally = z.clone(), 0, [0, 0, 0]
    rules = make_rules(problem, scale_factor, concentration)
    while start < len(order):
        slots = collect(rules, z)
        last = start
        if slots is not None:
            start = draw_blocks(rules, slots, z, order, uniforms, start, block, tally)
        if start == last and start < len(order):  # the same point again: not a want of slots
            break
    rest = slice(start, None)
    host = problem._replace(x=problem.x.cpu(), loc=problem.loc.cpu(), scale=problem.scale.cpu())
    labels, order_left, uniforms_left = (t.cpu().numpy() for t in (z, order[rest], uniforms[rest]))
    if start == len(order):
        moved, born, died = tally
        return SweepResult(labels, moved, born, died, math.nan)
    end = blocked_sweep(host, scale_factor, concentration, labels, order_left, uniforms_left)
    moved, born, died = (a + b for a, b in zip(tally, end[1:4], strict=True))
    return SweepResult(end.z, moved, born, died, math.nan)


def make_rules(problem: Problem, scale_factor: float, concentration: float) -> Rules:
    x, (n, d) = problem.x, problem.x.shape
    scale = scale_factor * problem.scale
    root = torch.linalg.cholesky(scale)
    eye = torch.eye(d, dtype=x.dtype, device=x.device)
    prior = Slots(
        sizes=torch.zeros(1, dtype=torch.int64, device=x.device),
        means=problem.loc.unsqueeze(0),
        scales=scale.unsqueeze(0),
        log_dets=2 * root.diagonal().log().sum().unsqueeze(0) + math.log(problem.kappa),
        whiteners=torch.linalg.solve_triangular(root, eye, upper=False).unsqueeze(0),
    )
    table = torch.from_numpy(log_table(n, d, problem.kappa, problem.df)).to(x)
    r = ((x - problem.loc) @ prior.whiteners[0].T).square().sum(1) + 1 / problem.kappa
    log_new = math.log(concentration) + table[0] - 0.5 * prior.log_dets
    return Rules(problem, scale, table, log_new - 0.5 * (problem.df + 1) * r.log1p(), prior)


def collect(rules: Rules, z: Tensor) -> Slots | None:
    """All components from the labels; None where a factor fails."""
    problem, kappa_0 = rules.problem, rules.problem.kappa
    count = int(z.max()) + 1 + _SPARE
    sizes = torch.bincount(z, minlength=count)
    means = problem.loc.repeat(count, 1)
    scales = rules.scale.repeat(count, 1, 1)
    for k, n in enumerate(sizes.tolist()):
        if n > 0:  # one component after the other: scattered sums vary from run to run on CUDA
            rows = problem.x[z == k]
            mean = rows.mean(0)
            gap, rows = problem.loc - mean, rows - mean
            scales[k] += rows.T @ rows + kappa_0 * n / (kappa_0 + n) * torch.outer(gap, gap)
            means[k] = mean + kappa_0 / (kappa_0 + n) * gap
    slots = Slots(sizes, means, scales, means.new_zeros(count), torch.zeros_like(scales))
    taken = sizes.nonzero().squeeze(1)
    return slots if factorise(slots, taken, kappa_0) else None


def factorise(slots: Slots, which: Tensor, kappa_0: float) -> bool:
    """Compute W and log|L| of some slots from their scales; False where one fails."""
    root, info = torch.linalg.cholesky_ex(slots.scales[which])
    if bool(info.any()):
        return False
    eye = torch.eye(root.shape[-1], dtype=root.dtype, device=root.device).expand_as(root)
    slots.whiteners[which] = torch.linalg.solve_triangular(root, eye, upper=False)
    log_det = 2 * root.diagonal(dim1=1, dim2=2).log().sum(1)
    slots.log_dets[which] = log_det + (kappa_0 + slots.sizes[which].double()).log()
    return True


def whiten(slots: Slots, x: Tensor, kappa_0: float) -> Tensor:
    """y~ (K, B, D + 1) of points (B, D)."""
    y = torch.einsum("kab,nb->kna", slots.whiteners, x)
    y -= torch.einsum("kab,kb->ka", slots.whiteners, slots.means).unsqueeze(1)
    lift = (kappa_0 + slots.sizes.double()).rsqrt().reshape(-1, 1, 1).expand(-1, len(x), 1)
    return torch.cat([y, lift], 2)


def weigh(rules: Rules, slots: Slots, block: Block, first: int) -> tuple[Tensor, Tensor]:
    """Log weights (B', K + 1) of the points from `first` on, and where r of their own misleads."""
    n = slots.sizes.unsqueeze(1)  # (K, 1)
    r, z, df = block.r[:, first:], block.z[first:], rules.problem.df
    own = torch.arange(len(n), device=z.device).unsqueeze(1) == z  # (K, B')
    inside = r.gather(0, z.unsqueeze(0))
    size = slots.sizes[z]
    stay = (size > 1) & ~(inside[0] < 1 - _CLOSEST)
    weights = rules.table[n] - 0.5 * (df + n.double() + 1) * r.log1p()
    alone = (
        rules.table[(size - 1).clamp(min=0)]
        + 0.5 * (df + size.double() - 1) * (-inside[0]).log1p()
    )
    alone = alone.where(size > 1, -math.inf)
    weights = alone.where(own, weights) - 0.5 * slots.log_dets.unsqueeze(1)
    weights = weights.where(n > 0, -math.inf)
    return torch.cat([weights, block.log_new[first:].unsqueeze(0)]).T, stay


def choose(weights: Tensor, uniforms: Tensor) -> Tensor:
    """The options (B',) whose intervals of the cumulative weights hold the uniforms."""
    shares = (weights - weights.amax(1, keepdim=True)).exp()
    total = shares @ torch.ones_like(shares[:1]).expand(shares.shape[1], -1).triu()  # cumulative
    choice = (total <= (uniforms * total[:, -1]).unsqueeze(1)).sum(1)
    places = torch.arange(shares.shape[1], device=shares.device)
    last = places.where(shares > 0, -1).amax(1)
    return torch.minimum(choice, last)


def draw_blocks(
    rules: Rules,
    slots: Slots,
    z: Tensor,
    order: Tensor,
    uniforms: Tensor,
    start: int,
    size: int,
    tally: list[int],
) -> int:
    """Draw the order from `start` on; where it had to stop, or its length."""
    problem = rules.problem
    sites = order.to(z.device)
    uniforms = uniforms.to(z.device)
    while start < len(order):
        these = sites[start : start + size]
        x, y = problem.x[these], whiten(slots, problem.x[these], problem.kappa)
        r = y.square().sum(2)
        block = Block(x, z[these], uniforms[start : start + size], rules.log_new[these], y, r)
        drawn, touched = draw_block(rules, slots, block, tally)
        z[these[:drawn]] = block.z[:drawn]
        start += drawn
        if drawn < len(these):
            return start
        if touched:
            which = torch.tensor(sorted(touched), device=z.device)
            if not factorise(slots, which, problem.kappa):
                return start
    return start


def draw_block(rules: Rules, slots: Slots, block: Block, tally: list[int]) -> tuple[int, set[int]]:
    """Draw a block; how many of its points were drawn, and which slots changed."""
    sizes = slots.sizes.tolist()
    spare, first, touched = len(sizes), 0, set[int]()
    places = torch.arange(len(block.z), device=block.z.device)
    while first < len(block.z):
        weights, misleading = weigh(rules, slots, block, first)
        old = block.z[first:]
        new = choose(weights, block.uniforms[first:])
        keeps = (new == spare) & (slots.sizes[old] == 1)
        new = old.where(keeps, new)
        event = torch.where((new != old) | misleading, places[: len(old)], len(old)).min()
        at = event.clamp(max=len(old) - 1)
        packed = torch.stack([event, old[at], new[at], misleading[at].long()]).tolist()
        ahead, a, b, hard = packed  # the one transfer of the pass
        first += ahead
        if ahead == len(old):
            break
        born = b == spare
        if born:
            b = next((k for k in range(spare) if sizes[k] == 0), spare)
        if hard or b == spare:
            return first, touched
        if born:
            reset(rules, slots, block, b)
        for k, sign in ((a, -1), (b, 1)):
            carry(rules, slots, block, k, first, sign)
            sizes[k] += sign
            touched.add(k)
        block.z[first] = b
        tally[0] += 1
        tally[1] += born
        tally[2] += sizes[a] == 0
        first += 1
    return len(block.z), {k for k in touched if sizes[k] > 0}


def reset(rules: Rules, slots: Slots, block: Block, k: int) -> None:
    """Make slot k a component without points."""
    for mine, empty in zip(slots, rules.prior, strict=True):
        mine[k] = empty[0]
    block.y[k] = whiten(rules.prior, block.x, rules.problem.kappa)[0]
    block.r[k] = block.y[k].square().sum(1)


def carry(rules: Rules, slots: Slots, block: Block, k: int, i: int, sign: int) -> None:
    """Add or drop point i of the block in slot k."""
    y = block.y[k]
    f = y @ y[i]  # (B,)
    here, factor = y[i].clone(), 1 + sign * f[i]
    block.r[k] -= sign / factor * f * f
    y -= torch.outer((1 - factor.rsqrt()) / f[i] * f, here)
    slots.log_dets[k] += factor.log()
    kappa = rules.problem.kappa + slots.sizes[k].double()
    gap = block.x[i] - slots.means[k]
    slots.scales[k] += sign * kappa / (kappa + sign) * torch.outer(gap, gap)
    slots.means[k] += sign / (kappa + sign) * gap
    slots.sizes[k] += sign
