r"""The linear region of a pattern as an intersection of half-spaces.

Symbols: z (D,) flattened inputs; a row for each unit of each gate: n_j z <= c_j, with n_j (D,) and
c_j from the replayed pattern, in which every margin c_j - n_j z is affine; max-pooling gives a row
per competitor. The box |z_i - centre_i| <= `box` is kept apart, as bounds.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from probact.analysis.patterns.gates import Pattern
from probact.analysis.patterns.recording import pattern_at
from probact.analysis.patterns.replaying import check_affine, replay
from probact.analysis.regions.local_affine import as_input, network_input
from probact.arrays import as_number

__all__ = [
    "NoiseRadius",
    "Polytope",
    "margins_at",
    "noise_radius",
    "region",
    "region_of_pattern",
]

_BATCH = 256  # inputs that go through the network at once,
_NUMBERS = 2**22  # with at most so many margins
_ROUNDING = 450.0  # units of rounding; rows below do not depend on the input


@dataclass(frozen=True)
class NoiseRadius:
    """Largest balls about an input inside its region, in Euclidean and in maximum norm.

    The units are the places in `Pattern.bits(choices=True)` of the bits that change first.
    """

    l2: float
    linf: float
    l2_unit: int
    linf_unit: int


@dataclass(frozen=True, eq=False)
class Polytope:
    """{z : normals z <= offsets, |z - centre| <= box}, float64.

    `units` (m,) are the places of the rows in `Pattern.bits(choices=True)`. Rows that no input
    changes are left out; `feasible` is False where such a row, or a constant one, fails.
    """

    normals: Tensor  # (m, D)
    offsets: Tensor  # (m,)
    units: Tensor  # (m,) int64
    input_shape: tuple[int, ...]
    centre: Tensor  # (D,)
    box: float = math.inf
    feasible: bool = True

    @property
    def dim(self) -> int:
        """D."""
        return int(self.normals.shape[1])

    def slack(self, z: Any) -> Tensor:
        """offsets - normals z, (..., m), of flattened points z (..., D)."""
        points = as_input(z, "z").to(self.normals)
        if points.shape[-1] != self.dim:
            raise ValueError(f"z must have {self.dim} columns, got {points.shape[-1]}")
        return self.offsets - points @ self.normals.T

    def contains(self, z: Any, *, tolerance: float = 0.0) -> Tensor:
        """Whether points z (..., D) lie inside, by at least -tolerance in every row."""
        inside: Tensor = (self.slack(z) >= -tolerance).all(-1)
        near = (as_input(z, "z").to(self.centre) - self.centre).abs().amax(-1)
        return inside & (near <= self.box + tolerance) & self.feasible

    def noise_radius(self, z: Any) -> NoiseRadius:
        """How far noise may move a point of the region before its pattern changes, exactly.

        min_j slack_j / |n_j|_2 in Euclidean and / |n_j|_1 in maximum norm; without the box. The
        numbers are negative where z lies outside.

        Raises: ValueError for a region without rows.
        """
        slack = self.slack(z)
        if slack.ndim != 1 or not len(slack):
            shape = tuple(slack.shape)
            raise ValueError(f"z must be one point (D,) of a region with rows, got slack {shape}")
        return _smallest(slack, self.normals.norm(dim=1), self.normals.abs().sum(1), self.units)


def region(net: nn.Module, x: Any, *, box: float = math.inf) -> Polytope:
    """The linear region of one input x (*input), within `box` of x in every coordinate.

    Computed in the precision of the network: convert it and x to float64 for exact statements.

    Raises:
        TypeError, ValueError: as `record`; x that is not finite; a box that is not above zero.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).double().eval()
    >>> x = torch.tensor([0.3, -0.2], dtype=torch.float64)
    >>> bool(region(net, x).contains(x))
    True
    """
    point = network_input(net, x, "x")
    pattern = pattern_at(net, point.unsqueeze(0))
    return region_of_pattern(net, pattern, point, box=box)


def region_of_pattern(
    net: nn.Module, pattern: Pattern, centre: Any, *, box: float = math.inf
) -> Polytope:
    """The inputs of a pattern of one row, which may be none, within `box` of a point (*input).

    Holds D numbers for each bit; for a network too large for that see `noise_radius`.

    Raises: as `region`; ValueError for a pattern of another network or of several rows.
    """
    point = network_input(net, centre, "centre")
    width = math.inf if box == math.inf else as_number(box, "box")
    if not isinstance(pattern, Pattern):
        raise TypeError(f"pattern must be a Pattern, got {type(pattern).__name__}")
    if pattern.num_rows != 1:
        raise ValueError(f"pattern must have one row, got {pattern.num_rows}")
    pattern.matches(pattern_at(net, point.unsqueeze(0)))  # refuses one of another network
    check_affine(net, pattern, point.unsqueeze(0))
    origin = _margins_at_zero(net, pattern, point)
    slopes = torch.cat(list(_slopes(net, pattern, point, origin))).T  # (B, D)
    bounded = torch.isfinite(origin)
    moving = bounded & _above_rounding(slopes.norm(dim=1), origin, point.dtype)
    kept = moving.nonzero().squeeze(1)
    still = origin[bounded & ~moving]  # the same sign for every input
    least = -_ROUNDING * torch.finfo(point.dtype).eps * float(origin[bounded].abs().max())
    return Polytope(
        normals=-slopes[kept],
        offsets=origin[kept],
        units=kept.cpu(),
        input_shape=tuple(point.shape),
        centre=point.flatten().double(),
        box=width,
        feasible=bool((still >= least).all()),
    )


def noise_radius(net: nn.Module, x: Any) -> NoiseRadius:
    """How far noise may move an input x (*input) before its pattern changes, exactly.

    As `Polytope.noise_radius`, without holding the region: D + 1 passes, memory O(bits), for
    convolutional networks of 10^5 units and more.

    Raises: as `region`; ValueError where no input changes any unit.

    >>> net = nn.Sequential(nn.Linear(2, 1), nn.ReLU()).double().eval()
    >>> net[0].weight.data, net[0].bias.data = torch.ones(1, 2).double(), torch.zeros(1).double()
    >>> radius = noise_radius(net, torch.ones(2).double())
    >>> round(radius.l2, 4), radius.linf
    (1.4142, 1.0)
    """
    point = network_input(net, x, "x")
    pattern = pattern_at(net, point.unsqueeze(0))
    check_affine(net, pattern, point.unsqueeze(0))
    slack = margins_at(net, pattern, point.unsqueeze(0))[0]
    origin = _margins_at_zero(net, pattern, point)
    squares, sums = torch.zeros_like(origin), torch.zeros_like(origin)
    for part in _slopes(net, pattern, point, origin):
        squares += part.square().sum(0)
        sums += part.abs().sum(0)
    moving = torch.isfinite(origin) & _above_rounding(squares.sqrt(), origin, point.dtype)
    kept = moving.nonzero().squeeze(1)
    if not len(kept):
        raise ValueError("no input changes any unit: the region is the whole space")
    return _smallest(slack[kept], squares[kept].sqrt(), sums[kept], kept)


def margins_at(net: nn.Module, pattern: Pattern, x: Tensor) -> Tensor:
    """Margins (M, B) of inputs x (M, *input) under the pattern, float64, affine in x."""
    with torch.inference_mode(False), torch.no_grad():
        with replay(net, pattern, keep_scores=True) as played:
            net(x.clone())  # which may work in place
        return pattern.margins(played.scores).double()


def _smallest(slack: Tensor, sizes: Tensor, sums: Tensor, units: Tensor) -> NoiseRadius:
    l2, linf = slack / sizes, slack / sums
    places = (int(units[int(r.argmin())]) for r in (l2, linf))
    return NoiseRadius(float(l2.min()), float(linf.min()), *places)


def _margins_at_zero(net: nn.Module, pattern: Pattern, point: Tensor) -> Tensor:
    return margins_at(net, pattern, torch.zeros_like(point).unsqueeze(0))[0]


def _slopes(net: nn.Module, pattern: Pattern, point: Tensor, origin: Tensor) -> Iterator[Tensor]:
    """Derivatives (M, B) of the margins along the axes of the input, M axes at a time."""
    size = max(1, min(_BATCH, _NUMBERS // len(origin), point.numel()))
    for first in range(0, point.numel(), size):
        count = min(size, point.numel() - first)
        axes = torch.zeros(count, point.numel(), dtype=point.dtype, device=point.device)
        axes[:, first : first + count].fill_diagonal_(1.0)
        yield margins_at(net, pattern, axes.reshape(count, *point.shape)) - origin


def _above_rounding(sizes: Tensor, origin: Tensor, dtype: torch.dtype) -> Tensor:
    """Which rows depend on the input: margins at zero bound the error of a difference."""
    known = torch.isfinite(sizes) & torch.isfinite(origin)
    if not bool(known.any()):
        return known
    largest = max(float(sizes[known].max()), float(origin[known].abs().max()))
    return sizes > _ROUNDING * torch.finfo(dtype).eps * largest
