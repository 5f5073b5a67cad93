r"""Paths from one input to another through the space of patterns.

Symbols: points g_0 = x0, .., g_T = x1; f(g) the positive parts of all gate scores; a(g) bits.
`halved_path` puts a midpoint between every two neighbours again and again. `conditional_geodesic`
(Henaff & Simoncelli 2016) minimises

    E_f = T sum_t |f(g_{t+1}) - f(g_t)|^2

and, among the paths where that is small, E = T sum_t |g_{t+1} - g_t|^2: it descends along the
gradient of E less its projection on the gradient of E_f, one inner product over the whole path,
and then lowers E_f again.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from probact.analysis.midpoints.gate_scores import as_pairs, gate_scores
from probact.analysis.midpoints.midpoint_search import find_midpoints
from probact.analysis.regions.local_affine import as_input
from probact.arrays import as_number, check_count
from probact.capturing.passes import undisturbed

__all__ = ["PatternPath", "conditional_geodesic", "halved_path", "path_of"]


@dataclass(frozen=True, eq=False)
class PatternPath:
    """Points (T + 1, *input) and the Hamming distances (T,) of each from the next."""

    points: Tensor
    steps: Tensor
    distance: int  # of the ends

    @property
    def length(self) -> int:
        """Sum of the steps; the distance at least, by an even number more."""
        return int(self.steps.sum())

    @property
    def excess(self) -> int:
        """(length - distance) / 2: bits that change there and back. 0 for a Hamming geodesic."""
        return (self.length - self.distance) // 2


def path_of(net: nn.Module, points: Any) -> PatternPath:
    """The distances along given points (T + 1, *input).

    Raises: as `record`; ValueError for fewer than two points.
    """
    z, _ = as_pairs(net, points, points, ("points", "points"))
    if len(z) < 2:
        raise ValueError(f"points must be two at least, got {len(z)}")
    with undisturbed(net):
        bits = gate_scores(net, z) > 0
    steps = (bits[1:] != bits[:-1]).sum(1)
    return PatternPath(z, steps, int((bits[0] != bits[-1]).sum()))


def halved_path(
    net: nn.Module, x0: Any, x1: Any, *, depth: int = 3, **options: Any
) -> PatternPath:
    """2^depth + 1 points from x0 to x1 (*input) by recursive halving with `find_midpoints`.

    Its options go on. All halves of one depth are searched at once. A path of exact midpoints is a
    Hamming geodesic: its steps add up to the distance of the ends.

    Raises: as `find_midpoints`.
    """
    check_count(depth, "depth")
    first, second = as_pairs(net, as_input(x0, "x0").unsqueeze(0), as_input(x1, "x1").unsqueeze(0))
    points = torch.cat([first, second])
    for _ in range(depth):
        middle = find_midpoints(net, points[:-1], points[1:], **options).z
        pairs = torch.stack([points[:-1], middle], 1).flatten(0, 1)
        points = torch.cat([pairs, points[-1:]])
    return path_of(net, points)


def conditional_geodesic(
    net: nn.Module,
    x0: Any,
    x1: Any,
    *,
    num_steps: int = 16,
    rounds: int = 10,
    iterations: int = 100,
    learning_rate: float = 0.01,
    tolerance: float = 1e-4,
) -> PatternPath:
    """The path of `num_steps` steps with a small E_f and, given that, a small E.

    Starts on the straight line: `iterations` of Adam on E_f; then rounds of as many steps along
    the projected gradient of E and on E_f, until neither energy changes by more than tolerance.

    Raises: as `find_midpoints`.
    """
    counts = (("num_steps", num_steps), ("rounds", rounds), ("iterations", iterations))
    for name, count in counts:
        check_count(count, name, smallest=2 if name == "num_steps" else 1)
    rate = as_number(learning_rate, "learning_rate")
    close = as_number(tolerance, "tolerance", inclusive=True)
    first, second = as_pairs(net, as_input(x0, "x0").unsqueeze(0), as_input(x1, "x1").unsqueeze(0))
    shape = (-1, *([1] * (first.ndim - 1)))
    t = torch.linspace(0.0, 1.0, num_steps + 1, dtype=first.dtype, device=first.device)
    inner = (first + t.reshape(shape) * (second - first))[1:-1].clone()
    with undisturbed(net), torch.inference_mode(False), torch.enable_grad():
        first, second, inner = (v.clone() for v in (first, second, inner))

        def energies(z: Tensor) -> tuple[Tensor, Tensor]:
            path = torch.cat([first, z, second])
            f = gate_scores(net, path).relu()
            own = (path[1:] - path[:-1]).square().sum()
            return num_steps * own, num_steps * (f[1:] - f[:-1]).square().sum()

        inner = _minimise(energies, inner, iterations, rate)
        before = [float(e.detach()) for e in energies(inner)]
        for _ in range(rounds):
            inner = _slide(energies, inner, iterations, rate)
            inner = _minimise(energies, inner, iterations, rate)
            after = [float(e.detach()) for e in energies(inner)]
            small = [abs(a - b) <= close * abs(b) for a, b in zip(after, before, strict=True)]
            before = after
            if all(small):
                break
    return path_of(net, torch.cat([first, inner, second]))


def _minimise(energies: Any, z: Tensor, iterations: int, rate: float) -> Tensor:
    """The best of some steps of Adam on E_f."""
    z = z.clone().requires_grad_()
    optimizer = torch.optim.Adam([z], rate)
    best, kept = torch.inf, z.detach().clone()
    for _ in range(iterations):
        value = energies(z)[1]
        if float(value.detach()) < best:
            best, kept = float(value.detach()), z.detach().clone()
        (z.grad,) = torch.autograd.grad(value, z)
        optimizer.step()
    return kept


def _slide(energies: Any, z: Tensor, iterations: int, rate: float) -> Tensor:
    """Steps down E that leave E_f the same to first order."""
    z = z.clone().requires_grad_()
    optimizer = torch.optim.Adam([z], rate)
    for _ in range(iterations):
        own, features = energies(z)
        (down,) = torch.autograd.grad(own, z)
        (along,) = torch.autograd.grad(features, z)
        square = along.square().sum().clamp_min(1e-300)
        z.grad = down - (down * along).sum() / square * along
        optimizer.step()
    return z.detach()
