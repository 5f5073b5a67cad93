r"""The regions of a network in a plane of its inputs, as polygons.

Symbols: z(s, t) = origin + s u + t v for (s, t) in [-1, 1]^2. In a region every margin is affine
in (s, t), so that the region's part of the square is the square cut by half-planes; regions are
found from one to the next across their edges.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from probact.analysis.patterns.recording import pattern_at
from probact.analysis.patterns.replaying import check_affine
from probact.analysis.regions.local_affine import network_input
from probact.analysis.regions.polytope import margins_at
from probact.analysis.regions.traversal import check_double
from probact.arrays import check_count

__all__ = ["PlaneSlice", "slice_regions"]

_STEP = 1e-7  # over an edge, in the unit of the square
_TINY = 1e-12  # area below which a polygon is none
_ROUNDING = 1e-13
_COVERED = 1e-9  # share of the square that may be left
_STARTS = 64
_BATCH = 128


class PlaneSlice(NamedTuple):
    """Polygons in (s, t), (corners, 2) each, counter-clockwise; `keys` tell patterns apart.

    `covered` is the share of the square that the polygons fill: 1 where no region was missed.
    """

    polygons: list[np.ndarray]
    keys: list[bytes]
    covered: float


def slice_regions(
    net: nn.Module, origin: Any, u: Any, v: Any, *, max_regions: int = 20_000
) -> PlaneSlice:
    """All linear regions that the square origin + s u + t v, |s|, |t| <= 1, meets.

    Regions are looked for from many starting points and over the edges of those found, at more
    and more points of an edge until the square is filled; see `covered`.

    Raises:
        TypeError, ValueError: as `record`; inputs of different shapes, or a network that is not
            in float64; more than max_regions regions.

    >>> net = nn.Sequential(nn.Linear(2, 2), nn.ReLU()).double().eval()
    >>> net[0].weight.data, net[0].bias.data = torch.eye(2).double(), torch.zeros(2).double()
    >>> found = slice_regions(net, [0.0, 0.0], [1.0, 0.0], [0.0, 1.0])
    >>> len(found.polygons), round(found.covered, 6)
    (4, 1.0)
    """
    named = ((origin, "origin"), (u, "u"), (v, "v"))
    o, a, b = (network_input(net, x, name) for x, name in named)
    if not o.shape == a.shape == b.shape:
        shapes = [tuple(x.shape) for x in (o, a, b)]
        raise ValueError(f"origin, u and v must have one shape, got {shapes}")
    check_double(o)
    check_count(max_regions, "max_regions")
    axes = torch.stack([o, a, b])
    check_affine(net, pattern_at(net, axes[:1]), axes[:1])
    found = _Found({}, max_regions)
    _follow(net, axes, 1.998 * np.random.default_rng(0).random((_STARTS, 2)) - 0.999, found)
    for parts in (2, 8, 32):
        if found.covered < 1.0 - _COVERED:
            points = [p for polygon in found.polygons for p in _across(polygon, parts)]
            _follow(net, axes, np.array(points).reshape(-1, 2), found)
    kept = [(key, polygon) for key, polygon in found.regions.items() if polygon is not None]
    return PlaneSlice([polygon for _, polygon in kept], [key for key, _ in kept], found.covered)


class _Found(NamedTuple):
    """Regions by key, None for those that only touch the square."""

    regions: dict[bytes, np.ndarray | None]
    max_regions: int

    @property
    def polygons(self) -> list[np.ndarray]:
        return [polygon for polygon in self.regions.values() if polygon is not None]

    @property
    def covered(self) -> float:
        return sum(_area(polygon) for polygon in self.polygons) / 4.0

    def add(self, key: bytes, polygon: np.ndarray | None) -> None:
        self.regions[key] = polygon
        if len(self.regions) > self.max_regions and len(self.polygons) > self.max_regions:
            raise ValueError(f"the square meets more than max_regions={self.max_regions} regions")


def _follow(net: nn.Module, axes: Tensor, front: np.ndarray, found: _Found) -> None:
    """Add the regions of the points, and those that are reached over their edges."""
    while len(front):
        new = []
        for first in range(0, len(front), _BATCH):
            for key, polygon in _polygons(net, axes, front[first : first + _BATCH], found):
                found.add(key, polygon)
                if polygon is not None:
                    new.extend(_across(polygon, 1))
        front = np.array(new).reshape(-1, 2)


def _polygons(
    net: nn.Module, axes: Tensor, points: np.ndarray, found: _Found
) -> list[tuple[bytes, np.ndarray | None]]:
    """Keys and polygons of the regions of points that were not seen before."""
    where = torch.from_numpy(points).to(axes)
    shape = (-1, *([1] * (axes.ndim - 1)))
    inputs = axes[0] + where[:, 0].reshape(shape) * axes[1] + where[:, 1].reshape(shape) * axes[2]
    pattern = pattern_at(net, inputs)
    new: dict[bytes, int] = {}
    for i, key in enumerate(pattern.keys()):
        if key not in found.regions:
            new.setdefault(key, i)
    if not new:
        return []
    rows = torch.tensor(list(new.values()))
    chosen = pattern.rows(rows.to(axes.device))
    corners = [axes[0], axes[0] + axes[1], axes[0] + axes[2]]
    margins = [margins_at(net, chosen, c.expand(len(rows), *c.shape)) for c in corners]
    base, along, up = (m.cpu().numpy() for m in margins)
    return [
        (key, _clipped(base[k], along[k] - base[k], up[k] - base[k])) for k, key in enumerate(new)
    ]


def _clipped(base: np.ndarray, s: np.ndarray, t: np.ndarray) -> np.ndarray | None:
    """The square where base + s x + t y >= 0 in every row; None where nothing is left.

    Rows that do not change over the plane hold at the point that the pattern is of.
    """
    polygon = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    slopes = np.stack([s, t])  # (2, B)
    size = np.hypot(s, t)
    finite = np.isfinite(base) & np.isfinite(size)
    largest = max(np.abs(base[finite]).max(initial=0.0), size[finite].max(initial=0.0))
    kept = finite & (size > _ROUNDING * largest) & (base < np.abs(slopes).sum(0))
    base, slopes = base[kept] / size[kept], slopes[:, kept] / size[kept]
    while len(base):
        value = base + polygon @ slopes  # (corners, B)
        least = value.min(0)
        worst = int(least.argmin())
        if least[worst] >= 0.0:
            break
        polygon = _cut(polygon, value[:, worst])
        if len(polygon) < 3:
            return None
        least[worst] = 0.0  # each row cuts once
        base, slopes = base[least < 0.0], slopes[:, least < 0.0]
    return polygon if _area(polygon) > _TINY else None


def _cut(polygon: np.ndarray, value: np.ndarray) -> np.ndarray:
    """The part of a convex polygon where a function, linear on its edges, is not negative."""
    if (value >= 0).all():
        return polygon
    corners: list[np.ndarray] = []
    for k in range(len(polygon)):
        j = (k + 1) % len(polygon)
        if value[k] >= 0:
            corners.append(polygon[k])
        if (value[k] > 0 > value[j]) or (value[k] < 0 < value[j]):
            share = value[k] / (value[k] - value[j])
            corners.append(polygon[k] + share * (polygon[j] - polygon[k]))
    return np.array(corners).reshape(-1, 2)


def _area(polygon: np.ndarray | Sequence[Any]) -> float:
    x, y = np.asarray(polygon).T
    return 0.5 * abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1)))


def _across(polygon: np.ndarray, parts: int) -> list[np.ndarray]:
    """Points just over the edges, in the middle of parts of each; those outside left out."""
    found = []
    for k in range(len(polygon)):
        p, q = polygon[k], polygon[(k + 1) % len(polygon)]
        edge = q - p
        length = float(np.hypot(*edge))
        if length < 1e-9:
            continue
        outward = np.array([edge[1], -edge[0]]) / length
        for i in range(parts):
            point = p + (i + 0.5) / parts * edge + min(_STEP, 0.1 * length / parts) * outward
            if (np.abs(point) < 1.0).all():
                found.append(point)
    return found
