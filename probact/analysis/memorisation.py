r"""Does a generator hand back its training data? Distances to the training set, three samples.

Symbols: T training rows, P held-out rows of the same law, Q generated rows; d(r) the distance of a
row r to the nearest row of T.

A generator that has learnt the law and not the rows puts Q no nearer to T than P is. Given T, the
distances of P and of Q are two independent samples, and Mann and Whitney's test compares them: the
z-score of the count of pairs with d(q) > d(p) is C_T of Meehan et al. (2020), on one cell. Far
below zero: copies. Far above: samples farther from the data than data are, as of a poor model.

Copying a few rows hardly moves the ranks; it shows in the share of Q nearer than almost all of P.
With the threshold at the j-th smallest of N distances of P, the number of the M rows of Q below it
is beta-binomial(M; j, N - j + 1) if both have one law.
"""

import math
from typing import Any, NamedTuple

import torch
from scipy import stats
from torch import Tensor

from probact.analysis.neighbours import as_rows, nearest

__all__ = ["Memorisation", "memorisation"]


class Memorisation(NamedTuple):
    """Readings of generated rows against training and held-out rows."""

    z_score: float  # C_T: far below zero where generated rows are copies
    p_value: float  # of a z-score this low, were the generated rows as far as the held-out
    near_share: float  # of generated rows nearer than the threshold
    near_share_expected: float  # j / (N + 1), if they were as far as the held-out
    near_p_value: float  # of a share this high
    threshold: float  # the j-th smallest distance of the held-out rows
    generated_distance: Tensor  # (M,) to the nearest training row
    held_out_distance: Tensor  # (N,)
    nearest_train: Tensor  # (M,) index of the training row nearest to each generated one


def memorisation(
    generated: Any, train: Any, held_out: Any, *, level: float = 0.01
) -> Memorisation:
    """Compare d(generated) with d(held_out), distances to the nearest training row.

    generated (M, ...), train and held_out (N, ...): images, laid flat, or features, in float64.
    Pixels show copies; features also show copies that were shifted or recoloured. `level`: the
    quantile of the held-out distances that is the threshold. Held-out rows must be new draws of
    the law of the training rows, no copies of them either.

    Raises:
        TypeError: no arrays.
        ValueError: not finite, different widths, level not in (0, 1), or fewer held-out rows than
            1 / level - 1, of which the quantile would not be known.

    >>> x = torch.randn(600, 3, generator=torch.Generator().manual_seed(0))
    >>> train, held_out, fresh = x.split(200)
    >>> memorisation(train + 0.01, train, held_out).z_score < -10
    True
    >>> abs(memorisation(fresh, train, held_out).z_score) < 3
    True
    """
    if not isinstance(level, float) or not 0.0 < level < 1.0:
        raise ValueError(f"level must lie between 0 and 1, got {level!r}")
    t = as_rows(train, "train")
    p, q = (
        as_rows(value, name, t.shape[1]).to(t.device)
        for value, name in ((held_out, "held_out"), (generated, "generated"))
    )
    rank = math.floor(level * (len(p) + 1) + 1e-9)  # j
    if rank < 1:
        least = math.ceil(1.0 / level - 1e-9) - 1
        raise ValueError(
            f"held_out must have at least {least} rows for level {level:g}, got {len(p)}"
        )
    unit = 2.0 ** math.frexp(max(float(rows.abs().max()) for rows in (t, p, q)))[1]
    centre = (t / unit).mean(0)
    t, p, q = (rows / unit - centre for rows in (t, p, q))
    own, index = (found[:, 0] for found in nearest(q, t, 1))
    other = nearest(p, t, 1)[0][:, 0]
    threshold = float(other.sort().values[rank - 1])
    near = int((own < threshold).sum())
    z_score, p_value = _mann_whitney(own, other)
    return Memorisation(
        z_score=z_score,
        p_value=p_value,
        near_share=near / len(q),
        near_share_expected=rank / (len(p) + 1),
        near_p_value=float(stats.betabinom.sf(near - 1, len(q), rank, len(p) - rank + 1)),
        threshold=threshold * unit,
        generated_distance=own * unit,
        held_out_distance=other * unit,
        nearest_train=index,
    )


def _mann_whitney(q: Tensor, p: Tensor) -> tuple[float, float]:
    """z-score of the count of pairs q > p (ties count half), and P(Z < z)."""
    m, n = len(q), len(p)
    pooled = torch.cat([q, p]).numpy(force=True)
    ranks = stats.rankdata(pooled)
    count = float(ranks[:m].sum()) - m * (m + 1) / 2
    ties = stats.tiecorrect(ranks)
    if ties == 0.0:  # all distances are equal
        return 0.0, 0.5
    z = (count - m * n / 2) / math.sqrt(ties * m * n * (m + n + 1) / 12)
    return z, float(stats.norm.cdf(z))
