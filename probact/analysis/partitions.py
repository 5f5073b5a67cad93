r"""Partitions against each other, and how often draws of one put two points together.

Symbols: a, b, z (N,) labels of N points, whose values mean nothing but equality; n_kl the number
of points with label k in a and l in b; S draws. p_ij is the share of the draws in which points i
and j have one label: the posterior similarity (Binder 1978; Fritsch & Ickstadt 2009).
"""

import math
from typing import Any

import torch
from torch import Tensor

from probact.analysis.label_draws import contingency, label_draws, one_partition, slots
from probact.arrays import as_labels, as_tensor, check_count, check_seed

__all__ = [
    "adjusted_rand_index",
    "binder_loss",
    "random_rows",
    "similarity_matrix",
    "variation_of_information",
]

MOST_ROWS = 5_000  # a similarity matrix of so many points takes 200 MB
_CELLS = 2**24  # entries of a block of one-hot draws, 64 MB; also the counts float32 holds exactly


def binder_loss(a: Any, b: Any) -> float:
    """Share of the N (N - 1) / 2 pairs that one of a, b (N,) joins and the other parts.

    One minus the Rand index. Binder 1978 with equal costs; R's salso counts N^2 / 2 pairs.

    Raises: TypeError, ValueError for labels that are not integers, equally many and at least one.

    >>> binder_loss([0, 0, 1], [0, 1, 1])
    0.6666666666666666
    """
    n, table = _table(a, b)
    square = table.double() ** 2
    apart = table.sum(1).double().square().sum() + table.sum(0).double().square().sum()
    apart -= 2.0 * square.sum()
    return float(apart) / max(n * (n - 1), 1)


def variation_of_information(a: Any, b: Any) -> float:
    """H(a | b) + H(b | a) in nats of labels a, b (N,): a metric, at most log N (Meila 2007).

    Raises: TypeError, ValueError for labels that are not integers, equally many and at least one.

    >>> variation_of_information([0, 0, 1, 1], [0, 1, 0, 1]) / math.log(2.0)
    2.0
    """
    n, table = _table(a, b)
    share = table.double() / n
    joint = torch.special.entr(share).sum()
    parts = torch.special.entr(share.sum(1)).sum() + torch.special.entr(share.sum(0)).sum()
    return max(0.0, float(2.0 * joint - parts))


def adjusted_rand_index(a: Any, b: Any) -> float:
    """Rand index of a, b (N,) corrected for chance, 1 if equal (Hubert & Arabie 1985).

    Raises: TypeError, ValueError for labels that are not integers, equally many and at least one.

    >>> adjusted_rand_index([0, 0, 1, 1], [1, 1, 0, 0])
    1.0
    """
    n, table = _table(a, b)
    both, first, second = (
        float((counts.double() * (counts.double() - 1.0)).sum())
        for counts in (table, table.sum(1), table.sum(0))
    )  # ordered pairs with one label in both, in a, in b
    chance = first * second / max(n * (n - 1), 1)
    spread = 0.5 * (first + second) - chance
    return 1.0 if spread == 0.0 else (both - chance) / spread  # 0/0: both trivial, and equal


def _table(a: Any, b: Any) -> tuple[int, Tensor]:
    """N and the counts n_kl (K, L)."""
    left = one_partition(a, "a")
    right = one_partition(b, "b", len(left))
    return len(left), contingency(left, right.to(left.device).unsqueeze(0))[0]


def random_rows(num_points: int, size: int, *, seed: int = 0) -> Tensor:
    """`size` of the points 0 .. num_points - 1, each subset equally likely, in increasing order.

    Raises: ValueError for a size above num_points, or what is no count or seed.

    >>> random_rows(10, 3)
    tensor([1, 4, 7])
    """
    check_count(num_points, "num_points")
    check_count(size, "size")
    check_seed(seed)
    if size > num_points:
        raise ValueError(f"size must be at most num_points = {num_points}, got {size}")
    order = torch.randperm(num_points, generator=torch.Generator().manual_seed(int(seed)))
    return order[:size].sort().values


def similarity_matrix(z: Any, *, rows: Any = None) -> Tensor:
    """p_ij (R, R) in float64, of draws z (chain, draw, N) or (draw, N), or of a posterior's z.

    All chains count alike. rows: indices (R,) of the points to keep, such as `random_rows(N, R)`;
    an integer R takes just these; None all N, up to 5000.

    Raises: TypeError, ValueError for z without integer draws, rows that are not indices, or more
    than 5000 points without rows.

    >>> similarity_matrix([[0, 0, 1], [0, 1, 1]])
    tensor([[1.0000, 0.5000, 0.0000],
            [0.5000, 1.0000, 0.5000],
            [0.0000, 0.5000, 1.0000]], dtype=torch.float64)
    """
    draws = label_draws(z).flatten(0, 1)  # (S, N)
    kept = _row_indices(rows, draws.shape[1]).to(draws.device)
    draws = slots(draws[:, kept])
    counts = torch.zeros(len(kept), len(kept), device=draws.device)  # float32: whole numbers
    for block in _draw_blocks(draws):
        _count_pairs(block, counts)
    upper = counts.triu()
    counts = upper + upper.triu(1).T
    return counts.double() / len(draws)


def _row_indices(rows: Any, num_points: int) -> Tensor:
    """The points to keep (R,)."""
    if rows is None:
        if num_points > MOST_ROWS:
            raise ValueError(
                f"{num_points} points have {num_points}^2 similarities; pass rows=, a number or"
                f" indices of at most {MOST_ROWS} points"
            )
        return torch.arange(num_points)
    if isinstance(rows, int) and not isinstance(rows, bool):
        return random_rows(num_points, rows)
    indices = as_tensor(rows, "rows")
    indices = as_labels(indices, "rows", indices.numel())
    if len(indices) == 0 or int(indices.min()) < 0 or int(indices.max()) >= num_points:
        raise ValueError(f"rows must be indices from 0 to {num_points - 1}, at least one")
    return indices


def _draw_blocks(draws: Tensor) -> tuple[Tensor, ...]:
    """Consecutive draws whose one-hot labels have at most `_CELLS` entries together."""
    widest = (int(draws.max()) + 1) * draws.shape[1]
    if len(draws) >= _CELLS:
        raise ValueError(f"z must have fewer than {_CELLS} draws, got {len(draws)}")
    blocks: tuple[Tensor, ...] = draws.split(max(1, _CELLS // widest))
    return blocks


def _count_pairs(block: Tensor, counts: Tensor) -> None:
    """Add to the upper half of counts (R, R) the draws of the block (S, R) that join each pair."""
    width = block.amax(1) + 1  # (S,) labels of each draw
    first = width.cumsum(0) - width
    columns = block + first.unsqueeze(1)  # (S, R) a column of its own per label and draw
    hot = torch.zeros(block.shape[1], int(width.sum()), device=block.device)
    hot.scatter_(1, columns.T, 1.0)
    step = math.ceil(len(hot) / 8)
    for start in range(0, len(hot), step):
        stop = start + step
        counts[start:stop, start:] += hot[start:stop] @ hot[start:].T
