"""First partitions of the data, from which chains start.

Symbols: x (N, D) data in the chain's coordinates; z (N,) labels from 0 without gaps; K clusters.

No single start serves: a chain that moves single points hardly ever opens a cluster where D is
large, so the paper's few random clusters act as a ceiling, and many clusters can be too many.
"""

import math

import torch
from torch import Generator, Tensor

from probact.arrays import as_labels, as_tensor
from probact.inference.dirichlet.problem import Problem
from probact.inference.dirichlet.state import canonical

__all__ = ["check_start", "first_partitions"]

_MOST_SEEDS = 60
_LLOYD_STEPS = 3
_CHUNK = 1 << 14  # rows whose distances to all centres are held at once


def check_start(start: object) -> None:
    """Refuse what is neither the name of a start nor labels.

    Raises: ValueError for another word, TypeError for what is no array.
    >>> check_start("one cluster")
    """
    if not isinstance(start, str):
        as_tensor(start, "start")
    elif start != "auto" and start not in _STARTS:
        raise ValueError(f"start must be auto, {', '.join(_STARTS)}, or labels, got {start!r}")


def first_partitions(problem: Problem, start: object, generator: Generator) -> dict[str, Tensor]:
    """Labels (N,) by the name of their start, on the device of the data.

    start: "k-means++" (Arthur and Vassilvitskii 2007) with about sqrt(N) clusters, 60 at most;
    "random": uniform over int(log2(1 + N)) clusters (Jamroz et al. 2020); "one cluster"; "auto":
    these three; or integers (N,), whose name is "given".

    Raises: ValueError for another word or for labels that are not one integer per row, TypeError
    for what is no array.
    """
    x = problem.x
    if not isinstance(start, str):
        given = as_labels(start, "start", len(x))
        return {"given": canonical(given.to(x.device))}
    check_start(start)
    names = list(_STARTS) if start == "auto" else [start]
    return {name: _STARTS[name](x, generator) for name in names}


def _one_cluster(x: Tensor, generator: Generator) -> Tensor:
    return torch.zeros(len(x), dtype=torch.int64, device=x.device)


def _random(x: Tensor, generator: Generator) -> Tensor:
    n, device = len(x), generator.device
    z = torch.randint(int(math.log2(1 + n)), (n,), generator=generator, device=device)
    return canonical(z.to(x.device))


def _k_means(x: Tensor, generator: Generator) -> Tensor:
    centres = _seed_centres(x, min(_MOST_SEEDS, math.ceil(math.sqrt(len(x)))), generator)
    for _ in range(_LLOYD_STEPS):
        centres = _means(x, _nearest(x, centres), centres)
    return canonical(_nearest(x, centres))


def _seed_centres(x: Tensor, most: int, generator: Generator) -> Tensor:
    """Rows of x (K, D), each drawn by its squared distance from those before it; K <= most.

    The draw is a race of exponentials; it ends early when every row is a centre already.
    """
    first = torch.randint(len(x), (1,), generator=generator, device=generator.device)
    chosen = [x[first.to(x.device)].squeeze(0)]
    distance = _squared_distance(x, chosen[0])
    while len(chosen) < most and bool((distance > 0).any()):
        race = torch.empty(len(x), dtype=x.dtype, device=generator.device)
        race = race.exponential_(generator=generator).to(x.device)
        chosen.append(x[torch.where(distance > 0, distance / race, -1.0).argmax()])
        distance = torch.minimum(distance, _squared_distance(x, chosen[-1]))
    return torch.stack(chosen)


def _squared_distance(x: Tensor, centre: Tensor) -> Tensor:
    """Squared distances (N,), exactly zero at copies of the centre (D,)."""
    return torch.cat([((rows - centre) ** 2).sum(1) for rows in x.split(_CHUNK)])


def _nearest(x: Tensor, centres: Tensor) -> Tensor:
    """Labels (N,) of the nearest centre (K, D)."""
    norms = (centres * centres).sum(1)
    return torch.cat([(norms - 2 * rows @ centres.T).argmin(1) for rows in x.split(_CHUNK)])


def _means(x: Tensor, z: Tensor, centres: Tensor) -> Tensor:
    """Means (K, D) of the clusters; a centre without points stays where it is."""
    sums = torch.zeros_like(centres)
    for rows, labels in zip(x.split(_CHUNK), z.split(_CHUNK), strict=True):
        one_hot = labels.unsqueeze(0) == torch.arange(len(centres), device=x.device).unsqueeze(1)
        sums += one_hot.to(x.dtype) @ rows  # a product, not a scatter: the same bits on a GPU
    sizes = torch.bincount(z, minlength=len(centres)).unsqueeze(1)
    return torch.where(sizes > 0, sums / sizes.clamp(min=1), centres)


_STARTS = {"k-means++": _k_means, "random": _random, "one cluster": _one_cluster}
