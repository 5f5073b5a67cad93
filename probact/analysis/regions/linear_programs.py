r"""Linear programs on the region of a pattern, by HiGHS.

Symbols: {z : n_j z <= c_j} with bounds of the box; r the radius of the largest ball inside.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor

from probact.analysis.regions.local_affine import as_input
from probact.analysis.regions.polytope import Polytope

__all__ = [
    "ChebyshevBall",
    "analytic_centre",
    "chebyshev_ball",
    "essential_faces",
    "interior_point",
    "program_seconds",
    "solved",
    "width",
]

MAX_SECONDS = 120.0
_STEPS = 1000  # of Newton's method
_LEAST = 1e-9  # lengths below are zero


class ChebyshevBall(NamedTuple):
    """The largest Euclidean ball inside a region; radius inf where there is none largest."""

    centre: Tensor  # (D,)
    radius: float


def program_seconds(rows: int, dim: int) -> float:
    """A rough time of one program on one core, more than was measured at 2e3 to 2e6 entries.

    >>> 0.005 < program_seconds(136, 20) < 0.1 < 5 < program_seconds(2336, 784) < 20
    True
    """
    seconds: float = 0.01 * (rows * dim / 2720.0) ** 1.03
    return seconds


def chebyshev_ball(
    polytope: Polytope, *, max_seconds: float | None = MAX_SECONDS
) -> ChebyshevBall:
    """Centre and radius of the largest ball in the region and its box.

    Where balls of any size fit, the radius is inf and the centre that of one of radius 1. A radius
    below 1e-9 says that the region is flat or empty to the accuracy of HiGHS.

    Raises:
        ValueError: an empty region; a program that would take more than max_seconds by
            `program_seconds` (None: no limit).

    >>> square = Polytope(torch.eye(2).double(), torch.ones(2).double(), torch.arange(2), (2,),
    ...                   torch.zeros(2).double(), 1.0)
    >>> chebyshev_ball(square).radius
    1.0
    """
    _affordable(polytope, 1, max_seconds)
    ball = _largest_ball(polytope, math.inf)
    if ball is None:
        raise ValueError("the region is empty: no input has the pattern")
    return ball


def interior_point(
    polytope: Polytope, *, max_seconds: float | None = MAX_SECONDS
) -> Tensor | None:
    """A point (D,) strictly inside the region, or None where there is none.

    The point is checked against every row. Regions without a ball of radius 1e-9 count as none.

    Raises: ValueError as `chebyshev_ball` for a program that takes too long.
    """
    _affordable(polytope, 1, max_seconds)
    ball = _largest_ball(polytope, 1.0)
    if ball is None or ball.radius <= _LEAST:
        return None
    inside = bool((polytope.slack(ball.centre) > 0.0).all()) and bool(
        polytope.contains(ball.centre)
    )
    return ball.centre if inside else None


def width(
    polytope: Polytope, direction: Any, *, max_seconds: float | None = MAX_SECONDS
) -> tuple[float, float]:
    """Least and largest value of <direction, z> over the region: two programs.

    Raises: as `chebyshev_ball`; ValueError for a direction of another size.
    """
    u = as_input(direction, "direction").double().flatten()
    if len(u) != polytope.dim:
        raise ValueError(f"direction must have {polytope.dim} entries, got {len(u)}")
    _affordable(polytope, 3, max_seconds)
    _check_not_empty(polytope)
    problem, ends = _constraints(polytope), []
    for sign in (1.0, -1.0):
        result = solved(sign * u.cpu().numpy(), **problem)
        ends.append(-sign * math.inf if result.status == 3 else sign * float(result.fun))
    return ends[0], ends[1]


def essential_faces(polytope: Polytope, *, max_seconds: float | None = MAX_SECONDS) -> Tensor:
    """Numbers of the rows that are faces of the region: without them it would be larger.

    The region is that of these rows and the box alone; of rows that say the same the first is
    kept. One program per row.

    Raises: as `chebyshev_ball`.
    """
    rows = len(polytope.offsets)
    _affordable(polytope, rows + 1, max_seconds)
    _check_not_empty(polytope)
    problem, kept = _constraints(polytope), list(range(rows))
    normals, offsets = problem.pop("A_ub"), problem.pop("b_ub")
    for j in reversed(range(rows)):
        relaxed = offsets[kept].copy()
        relaxed[kept.index(j)] += 1.0
        result = solved(-normals[j], A_ub=normals[kept], b_ub=relaxed, **problem)
        if result.status == 0 and -result.fun <= offsets[j] + _LEAST:
            kept.remove(j)
    return torch.tensor(kept, dtype=torch.int64)


def analytic_centre(polytope: Polytope, start: Any) -> Tensor:
    """The point (D,) with the largest product of slacks, from a point strictly inside.

    Newton's method on the log barrier; O(m D^2) a step, for regions too large for a program.

    Raises: ValueError for a region without a finite box, or a start that is not inside.
    """
    if not math.isfinite(polytope.box):
        raise ValueError("box must be finite: an unbounded region may have no analytic centre")
    z = as_input(start, "start").double().flatten()
    if len(z) != polytope.dim:
        raise ValueError(f"start must have {polytope.dim} entries, got {len(z)}")
    eye = torch.eye(polytope.dim, dtype=z.dtype, device=z.device)
    n = torch.cat([polytope.normals, eye, -eye])
    low, high = polytope.centre - polytope.box, polytope.centre + polytope.box
    c = torch.cat([polytope.offsets, high, -low])
    if not bool((c - n @ z > 0.0).all()) or not polytope.feasible:
        raise ValueError("start must lie strictly inside the region and its box")
    size = n.norm(dim=1)
    n, c = n / size.unsqueeze(1), c / size
    for _ in range(_STEPS):
        scaled = n / (c - n @ z).unsqueeze(1)
        gradient = scaled.sum(0)
        step = -torch.linalg.solve(scaled.T @ scaled, gradient)
        decrement = math.sqrt(max(0.0, -float(gradient @ step)))
        if decrement < 1e-9:
            return z
        z = z + step / (1.0 + decrement)  # damped: stays inside
    raise RuntimeError(f"no analytic centre after {_STEPS} steps of Newton's method")


def solved(objective: np.ndarray, **problem: Any) -> Any:
    """HiGHS at its finest tolerances: status 0 solved, 2 infeasible, 3 unbounded.

    Raises: RuntimeError where it gives up.
    """
    for options in ({f"{side}_feasibility_tolerance": 1e-10 for side in ("primal", "dual")}, {}):
        result = linprog(objective, method="highs", options=options, **problem)
        if result.status in (0, 2, 3):
            return result
    raise RuntimeError(f"the linear program was not solved: {result.message}")


def _check_not_empty(polytope: Polytope) -> None:
    if _largest_ball(polytope, 1.0) is None:
        raise ValueError("the region is empty: no input has the pattern")


def _largest_ball(polytope: Polytope, at_most: float) -> ChebyshevBall | None:
    if not polytope.feasible:
        return None
    problem, dim = _constraints(polytope), polytope.dim
    rows, bounds = [problem["A_ub"]], [problem["b_ub"]]
    if math.isfinite(polytope.box):
        eye, centre = np.eye(dim), polytope.centre.cpu().numpy()
        rows += [eye, -eye]
        bounds += [polytope.box + centre, polytope.box - centre]
    normals, offsets = np.vstack(rows), np.concatenate(bounds)
    result = solved(
        np.append(np.zeros(dim), -1.0),
        A_ub=np.hstack([normals, np.ones((len(normals), 1))]),
        b_ub=offsets,
        bounds=[(None, None)] * dim + [(0.0, None if math.isinf(at_most) else at_most)],
    )
    if result.status == 3:
        ball = _largest_ball(polytope, 1.0)
        return None if ball is None else ball._replace(radius=math.inf)
    if result.status != 0:
        return None
    return ChebyshevBall(torch.from_numpy(result.x[:-1]), float(result.x[-1]))


def _constraints(polytope: Polytope) -> dict[str, Any]:
    """Rows of unit length, and the box as bounds."""
    centre = polytope.centre.cpu().numpy()
    box = polytope.box
    bounds: Any = [(None, None)] * polytope.dim
    if math.isfinite(box):
        bounds = np.stack([centre - box, centre + box], 1)
    normals, offsets = polytope.normals.cpu().numpy(), polytope.offsets.cpu().numpy()
    size = np.linalg.norm(normals, axis=1)
    return {"A_ub": normals / size[:, None], "b_ub": offsets / size, "bounds": bounds}


def _affordable(polytope: Polytope, programs: int, max_seconds: float | None) -> None:
    rows = len(polytope.offsets) + (2 * polytope.dim if math.isfinite(polytope.box) else 0)
    seconds = programs * program_seconds(max(rows, 1), polytope.dim)
    if max_seconds is not None and seconds > max_seconds:
        count = "a linear program" if programs == 1 else f"{programs} linear programs"
        raise ValueError(
            f"{count} of {rows} rows and {polytope.dim} inputs would take about {seconds:.0f} s, "
            f"more than max_seconds={max_seconds:g}; raise it or give None, or use "
            "analytic_centre, or a network of fewer units"
        )
