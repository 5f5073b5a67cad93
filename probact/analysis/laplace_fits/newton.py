"""Newton's method for many small problems at once, each with its own row of data.

Symbols: K problems of p parameters theta (K, p); x (K, n) their data; objective(theta, x) gives
value (K,), gradient (K, p) and Hessian (K, p, p).
"""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Objective", "newton_maximum"]

Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]

_ITERATIONS = 100
_LONGEST = 2.0  # step, or half of |theta| where that is longer
_SHORTEST = 1e-8  # share of a Newton step below which no ascent is to be had


def newton_maximum(
    objective: Objective, start: Tensor, x: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """theta (K, p) in the box [low, high], the values (K,) there, and whether each converged.

    Every step goes uphill: eigenvalues of the Hessian count by their size, parameters at a side of
    the box that would leave it are held, steps end at the first side that they meet, and are cut
    to a quarter until the value does not fall. A row stops when a whole step changes it by less
    than 1e-12, which for smooth values of order one leaves an error far below that.

    >>> def parabola(theta, x):
    ...     gap = theta - x
    ...     return -gap.square().sum(-1), -2.0 * gap, -2.0 * torch.eye(1).expand(len(x), 1, 1)
    >>> x = torch.tensor([[0.5], [3.0]])
    >>> newton_maximum(parabola, 0.0 * x, x, torch.tensor([-1.0]), torch.tensor([2.0]))[0]
    tensor([[0.5000],
            [2.0000]])
    """
    theta = start.clone()
    value, gradient, hessian = (part.clone() for part in objective(theta, x))
    share = torch.ones_like(value)
    converged = torch.zeros_like(value, dtype=torch.bool)
    active = torch.arange(len(x), device=x.device)
    rows = x
    for _ in range(_ITERATIONS):
        trial, whole = _stepped(
            theta[active], gradient[active], hessian[active], share[active], low, high
        )
        found, slope, curvature = objective(trial, rows)
        gain = found - value[active]
        up = gain >= 0.0  # False for NaN
        kept = active[up]
        converged[active] = (gain.abs() < 1e-12) & whole
        theta[kept], value[kept] = trial[up], found[up]
        gradient[kept], hessian[kept] = slope[up], curvature[up]
        share[active] = torch.where(up, 1.0, 0.25 * share[active])
        left = (~converged & (share > _SHORTEST)).nonzero().squeeze(-1)
        if not len(left):
            break
        if len(left) < len(active):
            active, rows = left, x[left]
    return theta, value, converged


def _stepped(
    theta: Tensor, gradient: Tensor, hessian: Tensor, share: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor]:
    """The point (K, p) after a share (K,) of a step inside the box, and whether it was whole."""
    held = _leaves(theta, gradient, low, high)
    held = held | _leaves(theta, _uphill(gradient, hessian, held), low, high)
    step = _uphill(gradient, hessian, held)
    length = torch.linalg.vector_norm(step, dim=-1)
    longest = _LONGEST * (0.25 * torch.linalg.vector_norm(theta, dim=-1)).clamp_min(1.0)
    step = step * (share * longest / length.maximum(longest)).unsqueeze(-1)
    side = torch.where(step > 0.0, high, low)
    met = torch.where(step == 0.0, torch.inf, (side - theta) / step)  # in steps
    nearest = met.amin(-1, keepdim=True)
    trial = torch.where(
        (nearest < 1.0) & (met == nearest), side, theta + nearest.clamp(max=1.0) * step
    )
    whole = (share == 1.0) & (length <= longest) & (nearest.squeeze(-1) >= 1.0)
    return trial.clamp(low, high), whole


def _leaves(theta: Tensor, direction: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Parameters at a side of the box that the direction points out of."""
    return ((theta <= low) & (direction < 0.0)) | ((theta >= high) & (direction > 0.0))


def _uphill(gradient: Tensor, hessian: Tensor, held: Tensor) -> Tensor:
    """Newton step (K, p) of the parameters that are not held.

    Eigenvalues, in units in which the Hessian's diagonal is one or less, have their signs set for
    ascent.
    """
    either = held.unsqueeze(-1) | held.unsqueeze(-2)
    unit = hessian.diagonal(dim1=-2, dim2=-1).abs().sqrt().clamp_min(1e-3).reciprocal()
    scaled = torch.where(either, 0.0, hessian) * unit.unsqueeze(-1) * unit.unsqueeze(-2)
    size, axes = torch.linalg.eigh(scaled)
    size = size.abs().clamp_min(1e-9)
    along = axes.mT @ (torch.where(held, 0.0, gradient) * unit).unsqueeze(-1)
    step: Tensor = unit * (axes @ (along / size.unsqueeze(-1))).squeeze(-1)
    return step
