r"""How many linear regions a small ReLU network has: exact counts, formulas and bounds.

Symbols: n units of one layer on inputs of dimension d; r the rank of its weight. In general
position the hyperplanes of the layer cut R^d into (Zaslavsky 1975)

    f(n, r) = sum_{i=0}^{min(n, r)} C(n, i),  and without offsets  2 sum_{i=0}^{r-1} C(n - 1, i)

which both obey f(n + 1, r + 1) = f(n, r + 1) + f(n, r).
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from probact.analysis.regions.linear_programs import MAX_SECONDS, program_seconds, solved
from probact.arrays import as_number, check_count

__all__ = ["RegionCount", "arrangement_regions", "count_regions", "region_upper_bound"]

_MARGIN = 1e-9  # a region has a ball of this radius
_MOST_UNITS = 400  # the depth of the recursion


class RegionCount(NamedTuple):
    """Number of regions, and of linear programs that it took."""

    regions: int
    programs: int


def arrangement_regions(num_units: int, rank: int, *, central: bool = False) -> int:
    """f(n, r), the regions of n hyperplanes in general position; central ones meet at a point.

    Raises: ValueError for counts below one.
    >>> arrangement_regions(6, 2), arrangement_regions(6, 3, central=True)
    (22, 32)
    """
    check_count(num_units, "num_units")
    check_count(rank, "rank")
    if central:
        top = min(rank, num_units)
        return 2 * sum(math.comb(num_units - 1, i) for i in range(top))
    return sum(math.comb(num_units, i) for i in range(min(num_units, rank) + 1))


def region_upper_bound(input_dim: int, widths: list[int]) -> int:
    """Bound of Serra, Tjandraatmadja & Ramalingam (2018) for layers of ReLU units.

    sum over j_1, .., j_L of prod_l C(n_l, j_l), j_l <= min(d, n_1 - j_1, .., n_{l-1} - j_{l-1},
    n_l).

    Raises: ValueError for counts below one.
    >>> region_upper_bound(2, [6, 6]), region_upper_bound(3, [7])
    (484, 64)
    """
    check_count(input_dim, "input_dim")
    if not widths:
        raise ValueError("widths must name a layer")
    for n in widths:
        check_count(n, "widths")
    ways = {input_dim: 1}  # dimension left: weighted number of choices so far
    for n in widths:
        new: dict[int, int] = {}
        for left, count in ways.items():
            for j in range(min(left, n) + 1):
                rest = min(left, n - j)
                new[rest] = new.get(rest, 0) + count * math.comb(n, j)
        ways = new
    return sum(ways.values())


def count_regions(
    net: nn.Module, *, box: float = math.inf, max_programs: int = 100_000
) -> RegionCount:
    """Exact number of activation patterns with an open set of inputs in |z_i| <= box.

    Units are decided one after the other, each branch by at most one linear program, and the
    affine map of each region of a layer goes on to the next. For `nn.Sequential` of Linear and
    ReLU: widths of tens and few inputs. Counted are regions that hold a ball of radius 1e-9.

    Raises:
        TypeError: a network with other modules.
        ValueError: more than max_programs programs, with the count so far; units and inputs for
            which a single region would take more than two minutes.

    >>> net = nn.Sequential(nn.Linear(1, 3), nn.ReLU(), nn.Linear(3, 1))
    >>> count_regions(net).regions
    4
    """
    check_count(max_programs, "max_programs")
    layers = _layers(net)
    dim = layers[0][0].shape[1]
    width = math.inf if box == math.inf else as_number(box, "box")
    units = sum(len(bias) for _, bias in layers)
    seconds = units * program_seconds(units, dim)
    if seconds > MAX_SECONDS or units > _MOST_UNITS:
        raise ValueError(
            f"{units} units on {dim} inputs are too many to count: one region alone would take "
            f"about {seconds:.0f} s, and there may be {_bound(layers):.2g} of them"
        )
    counter = _Counter(layers, width, max_programs)
    empty = np.zeros((0, dim)), np.zeros(0)
    counter.layer(0, *empty, np.eye(dim), np.zeros(dim), np.zeros(dim))
    return RegionCount(counter.regions, counter.programs)


def _bound(layers: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """The upper bound, or 2^units where it is too long to sum."""
    widths = [len(bias) for _, bias in layers]
    try:
        return float(region_upper_bound(layers[0][0].shape[1], widths))
    except OverflowError:
        return math.inf


class _Counter:
    """Depth-first over units: rows n z <= c of unit length hold the branch, z is inside."""

    def __init__(
        self, layers: list[tuple[np.ndarray, np.ndarray]], box: float, max_programs: int
    ) -> None:
        self.layers, self.max_programs, self.box = layers, max_programs, box
        self.regions = self.programs = 0

    def layer(
        self, depth: int, n: np.ndarray, c: np.ndarray, w: np.ndarray, b: np.ndarray, z: np.ndarray
    ) -> None:
        """Count behind `depth` layers of the branch, whose input is w z + b."""
        if depth == len(self.layers):
            self.regions += 1
            return
        weight, bias = self.layers[depth]
        scale = np.linalg.norm(weight, axis=1) * np.linalg.norm(w)  # of rounding in weight @ w
        self.unit(depth, n, c, weight @ w, weight @ b + bias, scale, z, [])

    def unit(
        self,
        depth: int,
        n: np.ndarray,
        c: np.ndarray,
        w: np.ndarray,
        b: np.ndarray,
        scale: np.ndarray,
        z: np.ndarray,
        bits: list[float],
    ) -> None:
        """Decide the next unit of a layer, with pre-activations w z + b."""
        i = len(bits)
        if i == len(b):
            gate = np.array(bits)
            self.layer(depth + 1, n, c, gate[:, None] * w, gate * b, z)
            return
        size = np.linalg.norm(w[i])
        if size <= 1e-13 * scale[i]:  # no input changes it
            self.unit(depth, n, c, w, b, scale, z, [*bits, float(b[i] > 0)])
            return
        for sign in (-1.0, 1.0):
            rows = np.vstack([n, -sign * w[i] / size])
            offsets = np.append(c, sign * b[i] / size)
            inside = self.inside(rows, offsets, z)
            if inside is not None:
                self.unit(depth, rows, offsets, w, b, scale, inside, [*bits, float(sign > 0)])

    def inside(self, n: np.ndarray, c: np.ndarray, z: np.ndarray) -> np.ndarray | None:
        """The centre of a small ball in the branch: z, if one fits there, or by a program."""
        if (c - n @ z).min() > _MARGIN and np.abs(z).max() < self.box:
            return z
        if self.programs == self.max_programs:
            raise ValueError(
                f"more than max_programs={self.max_programs} linear programs; {self.regions} "
                f"regions were found before, there may be {_bound(self.layers):.2g}"
            )
        self.programs += 1
        dim = n.shape[1]
        limit = (None, None) if math.isinf(self.box) else (-self.box, self.box)
        result = solved(
            np.append(np.zeros(dim), -1.0),
            A_ub=np.hstack([n, np.ones((len(n), 1))]),
            b_ub=c,
            bounds=[limit] * dim + [(0.0, 1.0)],
        )
        if result.status != 0 or (c - n @ result.x[:-1]).min() <= _MARGIN:
            return None
        point: np.ndarray = result.x[:-1]
        return point


def _layers(net: nn.Module) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights and biases of the layers before a ReLU."""
    if not isinstance(net, nn.Sequential):
        raise TypeError(f"net must be nn.Sequential of Linear and ReLU, got {type(net).__name__}")
    modules = [m for m in net if not isinstance(m, nn.Identity | nn.Flatten | nn.Dropout)]
    layers = []
    for k, module in enumerate(modules):
        wanted = nn.Linear if k % 2 == 0 else nn.ReLU
        if not isinstance(module, wanted):
            raise TypeError(
                f"net must alternate Linear and ReLU, module {k} is {type(module).__name__}"
            )
        if isinstance(module, nn.Linear) and k + 1 < len(modules):
            weight = module.weight.detach().double().cpu().numpy()
            bias = torch.zeros(len(weight)) if module.bias is None else module.bias.detach()
            layers.append((weight, bias.double().cpu().numpy()))
    if not layers:
        raise TypeError("net has no ReLU behind a Linear layer")
    return layers
