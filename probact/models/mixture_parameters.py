r"""Parameters of mixtures, one a unit: what may come in, and where a fit starts.

Symbols: slopes A (K, R, D), the means; table (K, R), their weights or offsets; noise () or (K,).
"""

from typing import Any

import torch
from torch import Generator, Tensor

from probact.arrays import as_matrix, check_count, check_seed
from probact.distributions.layer_parameters import as_max_affine

__all__ = ["as_mixtures", "spread_means"]

_SEED_ROWS = 10_000  # rows that the first means are chosen from


def as_mixtures(slopes: Any, table: Any, name: str) -> tuple[Tensor, Tensor]:
    """slopes (K, R, D) and table (K, R) as float64 in memory of their own.

    Raises: TypeError or ValueError naming the argument that is wrong.

    >>> as_mixtures([[[1, 2]]], [[0]], "offsets")[1]
    tensor([[0.]], dtype=torch.float64)
    """
    a, b = as_max_affine(slopes, table, name)
    return a.detach().to(torch.float64, copy=True), b.detach().to(torch.float64, copy=True)


def spread_means(x: Any, num_units: int, num_regions: int, seed: int) -> tuple[Tensor, Tensor]:
    """Means (K, R, D) among rows x (N, D), far apart in each unit, and a noise (K,) for them.

    k-means++ (Arthur & Vassilvitskii 2007) on at most 10 000 rows; the noise is the mean square
    per axis to the nearest mean.

    Raises: TypeError or ValueError naming the argument; where it has too few distinct rows.

    >>> means, noise = spread_means([[0.0], [0.1], [9.0]], 1, 2, seed=0)
    >>> (means[0, 0] - means[0, 1]).abs() > 8.0
    tensor([True])
    """
    rows = as_matrix(x, "x").double()
    check_count(num_units, "num_units")
    check_count(num_regions, "num_regions")
    check_seed(seed)
    generator = Generator(rows.device).manual_seed(seed)
    found = [_spread(rows, num_regions, generator) for _ in range(num_units)]
    return torch.stack([m for m, _ in found]), torch.stack([n for _, n in found])


def _spread(x: Tensor, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Means (R, D) of one unit, and its noise ()."""
    from sklearn.cluster import kmeans_plusplus  # here: a second of import that few runs need

    order = torch.randperm(len(x), generator=generator, device=x.device)[:_SEED_ROWS]
    rows = x[order]
    if not bool((rows - rows[0]).square().sum(1).isfinite().all()):
        raise ValueError("x is too large: squared distances of its rows are not finite")
    if len(rows.unique(dim=0)) <= count:
        raise ValueError(f"x must have more than {count} distinct rows, a region each and one")
    draw = int(torch.randint(2**31, (), generator=generator, device=x.device))
    _, chosen = kmeans_plusplus(rows.cpu().numpy(), count, random_state=draw)
    means = rows[torch.from_numpy(chosen).to(rows.device)]
    nearest = torch.stack([(rows - mean).square().sum(1) for mean in means]).amin(0)
    return means, nearest.mean() / x.shape[1]
