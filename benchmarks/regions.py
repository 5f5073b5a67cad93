"""Speed of linear regions: local maps, the walk inside a region, exact counts.

One thread, CPU seconds of the process, medians over rounds. Maps of 1000 inputs at once are beside
one call for each input, ours and torch.autograd.functional.jacobian, timed on the first 100. Steps
of hit-and-run are beside the same walk written with numpy arrays. The exact count is beside the
distinct patterns on a grid. Run as

    OMP_NUM_THREADS=1 python benchmarks/regions.py

or as a part of benchmarks/patterns.py.
"""

import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

from probact.analysis.patterns import pattern_at
from probact.analysis.regions import (
    Polytope,
    chebyshev_ball,
    count_regions,
    hit_and_run,
    local_affine,
    local_affine_maps,
    region,
    region_upper_bound,
    slice_regions,
)

__all__ = ["geometry", "geometry_lines"]

LOOPED = 100
STEPS = 20_000


def geometry(rounds: int = 5) -> dict[str, Any]:
    """Every number."""
    return {"maps": maps(rounds), "walk": walk(rounds), "count": count()}


def perceptron(*widths: int) -> nn.Sequential:
    torch.manual_seed(0)
    parts = [p for a, b in pairwise(widths) for p in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*parts[:-1]).eval()


def convolutions() -> nn.Sequential:
    torch.manual_seed(0)
    parts = [nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()]
    return nn.Sequential(*parts, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(144, 10)).eval()


def seconds(function: Callable[[], Any], rounds: int) -> float:
    spent = []
    for _ in range(rounds + 1):
        start = time.process_time()
        function()
        spent.append(time.process_time() - start)
    return statistics.median(spent[1:])


def maps(rounds: int) -> list[dict[str, Any]]:
    """Microseconds for each input, at once and in a loop."""
    rows = []
    cases = {
        "784-256-256-256-10": (perceptron(784, 256, 256, 256, 10), (784,)),
        "64-64-64-64-10": (perceptron(64, 64, 64, 64, 10), (64,)),
        "two convolutions, 28 x 28": (convolutions(), (1, 28, 28)),
    }
    for name, (net, shape) in cases.items():
        for dtype in (torch.float32, torch.float64):
            net, x = net.to(dtype), torch.randn(1000, *shape, dtype=dtype)
            ways = {
                "at once": (lambda n=net, x=x: local_affine_maps(n, x), len(x)),
                "one by one": (
                    lambda n=net, x=x: [local_affine(n, v) for v in x[:LOOPED]],
                    LOOPED,
                ),
                "torch jacobian": (lambda n=net, x=x: jacobians(n, x[:LOOPED]), LOOPED),
            }
            took = {way: 1e6 * seconds(f, rounds) / size for way, (f, size) in ways.items()}
            rows.append({"network": name, "dtype": str(dtype)[6:], **took})
    return rows


def jacobians(net: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    return [torch.autograd.functional.jacobian(lambda v: net(v[None])[0], v) for v in x]


def walk(rounds: int) -> list[dict[str, Any]]:
    """Steps a second."""
    rows = []
    for name, widths in (("20-32-32-32", (20, 32, 32, 32, 3)), ("64-64-64-64", (64,) * 4 + (10,))):
        net, x = perceptron(*widths).double(), torch.zeros(widths[0], dtype=torch.float64)
        polytope = region(net, x, box=3.0)
        centre = chebyshev_ball(polytope).centre
        ours = seconds(lambda p=polytope, c=centre: hit_and_run(p, c, draws=STEPS), rounds)
        loop = seconds(lambda p=polytope, c=centre: plain_walk(p, c, STEPS // 10), rounds)
        rows.append({"region": name, "ours": STEPS / ours, "numpy": STEPS / 10 / loop})
    return rows


def plain_walk(polytope: Polytope, start: torch.Tensor, steps: int) -> np.ndarray:
    """The same walk with arrays, slacks kept along."""
    eye, rng = np.eye(polytope.dim), np.random.default_rng(0)
    n = np.vstack([polytope.normals.numpy(), eye, -eye])
    centre = polytope.centre.numpy()
    c = np.concatenate([polytope.offsets.numpy(), polytope.box + centre, polytope.box - centre])
    z, slack = start.numpy().copy(), c - n @ start.numpy()
    for _ in range(steps):
        u = rng.standard_normal(len(z))
        u /= np.linalg.norm(u)
        rate = n @ u
        share = slack / rate
        step = rng.uniform(share[rate < 0].max(), share[rate > 0].min())
        z, slack = z + step * u, slack - step * rate
    return z


def count() -> dict[str, Any]:
    """Regions of a 2-16-16 network in a box, by programs, by a slice and on a grid, each once."""
    net, box = perceptron(2, 16, 16, 1).double(), 3.0
    found: dict[str, Any] = {"bound": region_upper_bound(2, [16, 16])}
    zero, (u, v) = torch.zeros(2).double(), box * torch.eye(2).double()
    ways: dict[str, Callable[[], int]] = {
        "exact": lambda: count_regions(net, box=box).regions,
        "slice": lambda: len(slice_regions(net, zero, u, v).polygons),
        "grid of 300": lambda: on_grid(net, box, 300),
        "grid of 1000": lambda: on_grid(net, box, 1000),
        "exact, no box": lambda: count_regions(net).regions,
    }
    for way, function in ways.items():
        start = time.process_time()
        found[way] = {"regions": function(), "seconds": time.process_time() - start}
    return found


def on_grid(net: nn.Module, box: float, side: int) -> int:
    z = torch.linspace(-box, box, side, dtype=torch.float64)
    points = torch.cartesian_prod(z, z)
    return len(set().union(*(pattern_at(net, p).keys() for p in points.split(50_000))))


def geometry_lines(numbers: dict[str, Any]) -> list[str]:
    """Markdown of `geometry`."""
    text = ["Local affine maps, microseconds an input:", ""]
    text += [
        "| network | dtype | at once | one by one | torch jacobian |",
        "|---|---|---|---|---|",
    ]
    for row in numbers["maps"]:
        once = row["at once"]
        cells = [f"{row[w]:.0f} ({row[w] / once:.1f} x)" for w in ("one by one", "torch jacobian")]
        text.append(f"| {row['network']} | {row['dtype']} | {once:.0f} | {' | '.join(cells)} |")
    text += ["", "Hit-and-run, steps a second:", "", "| region | ours | numpy |", "|---|---|---|"]
    for row in numbers["walk"]:
        text.append(f"| {row['region']} | {row['ours']:.0f} | {row['numpy']:.0f} |")
    text += ["", f"Regions of a 2-16-16 network (bound {numbers['count']['bound']}):", ""]
    for way, row in numbers["count"].items():
        if way != "bound":
            text.append(f"- {way}: {row['regions']} in {row['seconds']:.2f} s")
    return text


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("\n".join(geometry_lines(geometry())))
