"""Uniform points of a linear region: the hit-and-run walk (Smith 1984; Lovasz & Vempala 2006)."""

import math
from typing import Any

import torch
from torch import Tensor

from probact.analysis.regions.local_affine import as_input
from probact.analysis.regions.polytope import Polytope
from probact.analysis.regions.walk_compiled.hit_and_run_steps import hit_and_run_steps
from probact.arrays import check_count, check_seed

__all__ = ["hit_and_run"]

_REFRESH = 200
_BLOCK = 2**20  # numbers of directions, rates and points at once


def hit_and_run(
    polytope: Polytope,
    start: Any,
    *,
    draws: int = 1000,
    thin: int = 1,
    tune: int = 0,
    chains: int = 1,
    shape: Any = None,
    seed: int = 0,
) -> Tensor:
    """Points (chains, draws, D) of walks whose limit is uniform on the region and its box.

    Each step goes along a random direction to a uniform point of the chord inside. Neighbours
    depend on each other, the more so in long thin regions and many dimensions: look at the
    effective sample size (`arviz.ess` reads the shape). `shape` (D, D) turns normal noise into
    directions: the Cholesky factor of a covariance of earlier points rounds the region.

    Args:
        start: a point inside, flattened or not, for instance the input or the centre of
            `chebyshev_ball`.
        draws, thin, tune: of thin * draws steps every thin-th is kept, after tune steps.

    Raises:
        ValueError: a region without a finite box, a start that is not inside, counts below one.

    >>> square = Polytope(torch.eye(2).double(), torch.ones(2).double(), torch.arange(2), (2,),
    ...                   torch.zeros(2).double(), 1.0)
    >>> hit_and_run(square, [0.0, 0.0], draws=5).shape
    torch.Size([1, 5, 2])
    """
    for name, count in (("draws", draws), ("thin", thin), ("chains", chains)):
        check_count(count, name)
    check_count(tune, "tune", smallest=0)
    check_seed(seed)
    z0 = as_input(start, "start").double().flatten()
    if not math.isfinite(polytope.box):
        raise ValueError("box must be finite: an unbounded region has no uniform law")
    if len(z0) != polytope.dim:
        raise ValueError(f"start must have {polytope.dim} entries, got {len(z0)}")
    if not bool(polytope.contains(z0)):
        raise ValueError("start must lie inside the region and its box")
    turn = None if shape is None else _as_shape(shape, polytope.dim)
    generator = torch.Generator().manual_seed(int(seed))
    return torch.stack(
        [_walk(polytope, z0, draws, thin, tune, turn, generator) for _ in range(chains)]
    )


def _walk(
    polytope: Polytope,
    start: Tensor,
    draws: int,
    thin: int,
    tune: int,
    turn: Tensor | None,
    generator: torch.Generator,
) -> Tensor:
    z = start.cpu().clone().numpy()
    normals = polytope.normals.cpu().contiguous()
    offsets = polytope.offsets.cpu().contiguous().numpy()
    centre = polytope.centre.cpu()
    low, high = (centre - polytope.box).numpy(), (centre + polytope.box).numpy()
    block = max(1, _BLOCK // (2 * polytope.dim + len(offsets)))
    kept = torch.empty(draws, polytope.dim, dtype=torch.float64)
    total = tune + draws * thin
    for done in range(0, total, block):
        size = min(block, total - done)
        noise = torch.randn(size, polytope.dim, dtype=torch.float64, generator=generator)
        noise = noise if turn is None else noise @ turn.T
        noise = noise / noise.norm(dim=1, keepdim=True)
        uniforms = torch.rand(size, dtype=torch.float64, generator=generator)
        path = torch.empty_like(noise)
        rates = noise @ normals.T  # (T, m)
        hit_and_run_steps(
            normals.numpy(), offsets, low, high, z, noise.numpy(), rates.numpy(),
            uniforms.numpy(), path.numpy(), _REFRESH,
        )  # fmt: skip
        number = torch.arange(done + 1, done + size + 1) - tune  # of each step after tuning
        keep = (number > 0) & (number % thin == 0)
        kept[number[keep] // thin - 1] = path[keep]
    return kept


def _as_shape(value: Any, dim: int) -> Tensor:
    turn = as_input(value, "shape").double().cpu()
    singular = turn.shape != (dim, dim) or int(torch.linalg.matrix_rank(turn)) < dim
    if singular:
        raise ValueError(f"shape must be an invertible ({dim}, {dim}), got {tuple(turn.shape)}")
    return turn
