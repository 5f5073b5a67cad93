r"""Are near patterns of one class? Label agreement of k nearest neighbours, beside baselines.

Symbols: N rows; agreement@k of a row the share of its k nearest other rows that have its label.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from probact.analysis.neighbours import as_rows, nearest
from probact.analysis.patterns.hamming import hamming_blocks
from probact.analysis.patterns.packed_patterns import PackedPatterns
from probact.arrays import as_labels, check_count, check_seed

__all__ = ["NeighbourAgreement", "hamming_neighbours", "neighbour_agreement"]


class NeighbourAgreement(NamedTuple):
    """Mean agreement@k of one representation, over rows, with its standard error.

    `difference` is its mean less that of the first representation, row by row, with
    `difference_error`. Errors are those of rows drawn independently.
    """

    name: str
    k: int
    mean: float
    standard_error: float
    difference: float
    difference_error: float


def hamming_neighbours(
    patterns: PackedPatterns, k: int, *, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Distances (N, k), ascending, of rows to their k nearest others, and which (N, k).

    Ties, of which there are many, go to rows in an order drawn with the seed.

    Raises:
        TypeError: no `PackedPatterns`.
        ValueError: k not in 1 .. N - 1, a seed that is none.

    >>> hamming_neighbours(PackedPatterns.from_bits([[0, 0], [0, 1], [1, 1]]), 1)[0].flatten()
    tensor([1, 1, 1])
    """
    if not isinstance(patterns, PackedPatterns):
        raise TypeError(f"patterns must be PackedPatterns, got {type(patterns).__name__}")
    rows = patterns.num_rows
    _check_k(k, rows)
    check_seed(seed)
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    order = order.to(patterns.words.device)
    place = order.argsort()
    distances, indices = [], []
    for at, block in hamming_blocks(patterns):
        keys = block.long() * rows + order  # (n, N), all different
        own = torch.arange(at.start, at.stop, device=keys.device)
        keys[own - at.start, own] = torch.iinfo(torch.int64).max
        found = keys.topk(k, largest=False).values.sort(1).values
        distances.append(found // rows)
        indices.append(place[found % rows])
    return torch.cat(distances), torch.cat(indices)


def neighbour_agreement(
    patterns: Mapping[str, PackedPatterns],
    labels: Any,
    *,
    baselines: Mapping[str, Any] | None = None,
    ks: Sequence[int] = (1, 5, 10),
    seed: int = 0,
) -> list[NeighbourAgreement]:
    """Agreement@k by Hamming distance of each pattern, and by L2 distance of each baseline.

    Rows for the differences are compared with the first baseline, or the first patterns without.

    Args:
        patterns: by name, of N rows each.
        labels: (N,).
        baselines: arrays (N, ...) by name, such as pixels and features.
        ks: numbers of neighbours.
        seed: of the order of ties.

    Raises: TypeError, ValueError: of `hamming_neighbours`, sizes that differ, no patterns.

    >>> packed = PackedPatterns.from_bits([[0, 0], [0, 0], [1, 1], [1, 1]])
    >>> neighbour_agreement({"bits": packed}, [0, 0, 1, 1], ks=[1])[0].mean
    1.0
    """
    given = {name: as_rows(x, name) for name, x in (baselines or {}).items()}
    sizes = {name: p.num_rows for name, p in patterns.items()}
    sizes |= {name: len(x) for name, x in given.items()}
    if not sizes or len(set(sizes.values())) != 1 or len(ks) == 0:
        raise ValueError(f"patterns and baselines must have the same rows, got {sizes}; ks {ks}")
    rows = next(iter(sizes.values()))
    y = as_labels(labels, "labels", rows)
    for k in ks:
        _check_k(k, rows)
    most = max(ks)
    found = {name: nearest(x - x.mean(0), x - x.mean(0), most, same=True)[1]
             for name, x in given.items()}  # fmt: skip
    for name, packed in patterns.items():
        found[name] = hamming_neighbours(packed, most, seed=seed)[1]
    same = {name: (y[index.cpu()] == y[:, None]).double() for name, index in found.items()}
    first = next(iter(same.values()))
    return [
        NeighbourAgreement(
            name, k, *_mean(s[:, :k].mean(1)), *_mean((s[:, :k] - first[:, :k]).mean(1))
        )
        for k in ks
        for name, s in same.items()
    ]


def _mean(values: Tensor) -> tuple[float, float]:
    return float(values.mean()), float(values.std()) / math.sqrt(len(values))


def _check_k(k: int, rows: int) -> None:
    check_count(k, "k")
    if k >= rows:
        raise ValueError(f"k must be below the number of rows, got {k} for {rows}")
