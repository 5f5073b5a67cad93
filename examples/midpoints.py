"""
Half-way between two images in the space of patterns
====================================================

Which image has an activation pattern between those of two others? Four searches on a trained
network: the middle of the straight line, the paper's two objectives on activations with p = 1 and
2, and one that constrains only the units on which the ends agree; then paths by recursive halving,
and the conditional geodesic, with the Hamming distance of every step.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from neuron_networks import Size, load, penultimate, train_networks
from neuron_pruning import SIZES
from runs import arguments, markdown, save_numbers
from torch import Tensor, nn

from probact import plots
from probact.analysis.midpoints import (
    Midpoints,
    PatternPath,
    conditional_geodesic,
    find_midpoints,
    halved_path,
    path_of,
)

SEARCHES = {
    "straight line": {"algorithm": "straight"},
    "features, L2": {"algorithm": "features", "norm": 2},
    "features, L1": {"algorithm": "features", "norm": 1},
    "masked, L2": {"algorithm": "masked", "norm": 2},
    "masked, L1": {"algorithm": "masked", "norm": 1},
    "agreed units": {"algorithm": "agreed"},
}
SHOWN = 4
NAMES = "d", "d0", "d1", "wrong units", "between", "abs(d0 - d1)"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", choices=["digits", "cifar10"], default="cifar10")
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--steps", type=int, default=300, help="of a search")
    parser.add_argument("--depth", type=int, default=4, help="halvings of a path")
    args = arguments(__doc__, argv, needs=None, parser=parser)
    data = "digits" if args.quick else args.data
    size = SIZES["quick" if args.quick else data]
    if data == "cifar10" and args.root is None:
        parser.exit(2, "midpoints: pass --root DIR, the folder of CIFAR10, or --data digits\n")
    net, first, second = prepare(size, args.root, args.out, args.seed, args.pairs)
    rate = 0.02 if data == "digits" else 0.005  # in the units of the images
    steps = 40 if args.quick else args.steps
    found = {
        name: find_midpoints(net, first, second, steps=steps, learning_rate=rate, **options)
        for name, options in SEARCHES.items()
    }
    rows = [[name, *(cell(v) for v in readings(m))] for name, m in found.items()]
    paths = follow(net, first[0], second[0], 2 if args.quick else args.depth, steps, rate)
    walks = [
        [name, str(p.distance), str(p.length), str(p.excess), " ".join(map(str, p.steps.tolist()))]
        for name, p in paths.items()
    ]
    table = markdown(["search", *NAMES], rows)
    table += "\n" + markdown(["path", "distance", "length", "excess", "steps"], walks)
    print(table)
    (args.out / "table.md").write_text(table)
    save_numbers(
        args.out / "numbers.json", {"midpoints": as_numbers(found), "paths": as_walks(paths)}
    )
    picture(first, second, found, args.out / "midpoints.png")


def prepare(
    size: Size, root: Path | None, out: Path, seed: int, count: int
) -> tuple[nn.Module, Tensor, Tensor]:
    """The trained network, and pairs of test images of different classes."""
    for line in train_networks(size, root, out, range(seed, seed + 1)):
        print(line, flush=True)
    net, _ = penultimate(size, root, out, seed)
    test = load(size, root, train=False, count=8 * count)
    x, y = test.floats(slice(0, 8 * count)), test.labels[: 8 * count]
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    pairs = order[: len(order) // 2 * 2].reshape(-1, 2)
    pairs = pairs[y[pairs[:, 0]] != y[pairs[:, 1]]][:count]
    return net.eval(), x[pairs[:, 0]], x[pairs[:, 1]]


def follow(
    net: nn.Module, a: Tensor, b: Tensor, depth: int, steps: int, rate: float
) -> dict[str, PatternPath]:
    """Three paths of as many points."""
    t = torch.linspace(0.0, 1.0, 2**depth + 1).reshape(-1, *[1] * a.ndim)
    return {
        "straight line": path_of(net, a + t * (b - a)),
        "conditional geodesic": conditional_geodesic(
            net, a, b, num_steps=2**depth, iterations=max(20, steps // 4), rounds=4,
            learning_rate=0.2 * rate,
        ),
        "halved, agreed units": halved_path(
            net, a, b, depth=depth, steps=steps, learning_rate=rate
        ),
    }  # fmt: skip


def readings(found: Midpoints) -> list[Tensor]:
    """The columns of the table, a value a pair."""
    columns = (
        found.distance, found.to_first, found.to_second, found.wrong_units, found.between,
        found.imbalance,
    )  # fmt: skip
    return [column.double() for column in columns]


def cell(values: Tensor) -> str:
    """Mean and standard error over pairs."""
    error = values.std() / len(values) ** 0.5
    digits = 2 if float(values.abs().max()) <= 1.0 else 1
    return f"{float(values.mean()):.{digits}f} ± {float(error):.{digits}f}"


def as_numbers(found: dict[str, Midpoints]) -> dict[str, Any]:
    return {
        search: {name: v.tolist() for name, v in zip(NAMES, readings(m), strict=True)}
        for search, m in found.items()
    }


def as_walks(paths: dict[str, PatternPath]) -> dict[str, Any]:
    return {name: {"distance": p.distance, "steps": p.steps.tolist()} for name, p in paths.items()}


def picture(first: Tensor, second: Tensor, found: dict[str, Midpoints], path: Path) -> None:
    """A row a pair: one end, its midpoints, the other end."""
    columns = [first, *(m.z for m in found.values()), second]
    images = torch.stack([c[:SHOWN].clamp(0.0, 1.0) for c in columns], 1)
    groups = [("x0", 1), *((name, 1) for name in found), ("x1", 1)]
    ax = plots.image_grid(images.numpy(), groups=groups, xlabel="", ylabel="pair of test images")
    ax.figure.set_size_inches(13, 6)
    ax.figure.savefig(path, dpi=110, bbox_inches="tight")


if __name__ == "__main__":
    main()
