"""
The linear regions of a trained network
=======================================

A ReLU network is an affine map on each of the polytopes into which it cuts its inputs. Everything
about them is exact here: no grid, no sampling where a formula or a linear program serves.

For a perceptron of three hidden layers, in float64:

* straight lines between test images: regions met, bits flipped, and the detour, the pairs of flips
  that undo each other (a line of one hidden layer has none);
* the maps themselves: the row of the predicted class at several images, beside the images;
* the maps of many images as one matrix: singular values, ranks, how many other maps add up to one;
* the angle by which noise turns a map, and the share of patterns that it leaves unchanged;
* a plane through three images, cut into its regions;
* the size of regions: how far noise may go before the pattern changes, the largest ball inside,
  and the spread of points drawn uniformly from the region.

Full size: CIFAR-10 from a folder of data sets, ``--root``, some minutes on one CPU core, or
``--digits``, the 8 x 8 digits, which need no files. The largest ball in a region of CIFAR-10 needs
a linear program of 6912 rows and 3072 columns and is left out there. ``--quick``: small networks
on the digits, seconds.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from region_tables import report
from runs import arguments, save_numbers
from torch import Tensor, nn

import probact as pa
from probact import plots
from probact.analysis import patterns, regions
from probact.nn import accuracy, train_classifier

FILES = ["CIFAR10/cifar10_train_jpeg.npz", "CIFAR10/cifar10_test_jpeg.npz"]
SIGMAS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


class Setting(NamedTuple):
    """Sizes of a run."""

    width: int
    epochs: int
    lines: int
    maps: int  # images of the spectrum
    sized: int  # regions whose size is measured
    steps: int  # of the walk in each
    box: float  # units of the standardised inputs
    zoom: float = 1.0  # share of the plane through three images, each way


QUICK = Setting(width=32, epochs=15, lines=20, maps=300, sized=8, steps=20_000, box=3.0)
DIGITS = Setting(width=64, epochs=60, lines=200, maps=900, sized=30, steps=200_000, box=3.0)
CIFAR10 = Setting(
    width=256, epochs=10, lines=30, maps=1000, sized=6, steps=20_000, box=3.0, zoom=0.15
)


class Trained(NamedTuple):
    """A network in float64 with its test images, standardised and flattened, and one untrained."""

    net: nn.Sequential
    fresh: nn.Sequential
    x: Tensor  # (N, D)
    labels: Tensor
    images: Tensor  # (N, C, H, W)
    accuracy: float


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--digits", action="store_true", help="full size, on the digits")
    chosen = sys.argv[1:] if argv is None else argv
    args = arguments(__doc__, argv, None if "--digits" in chosen else FILES, parser)
    setting = QUICK if args.quick else DIGITS if args.digits else CIFAR10
    trained = train(setting, args.root, args.seed, digits=args.quick or args.digits)
    numbers: dict[str, Any] = {"accuracy": trained.accuracy, "setting": setting._asdict()}
    numbers["lines"] = read_lines(trained, setting, args.out / "lines.png")
    numbers["maps"] = read_maps(trained, setting, args.out)
    numbers["noise"] = read_noise(trained, setting, args.seed, args.out / "noise.png")
    numbers["plane"] = read_plane(trained, setting, args.out / "plane.png")
    numbers["sizes"] = read_sizes(trained, setting, args.seed, args.out / "sizes.png")
    save_numbers(args.out / "numbers.json", numbers)
    table = report(numbers)
    (args.out / "table.md").write_text(table, encoding="utf-8")
    print(table, end="")


def train(setting: Setting, root: Path | None, seed: int, *, digits: bool) -> Trained:
    if digits:
        sets = [pa.datasets.digits(train=t, test_fraction=0.5) for t in (True, False)]
    else:
        assert root is not None
        counts = (range(20_000), range(2_000))
        files = zip(FILES, counts, strict=True)
        sets = [pa.datasets.jpeg_archive(root / name, indices=rows) for name, rows in files]
    images = [data.floats() for data in sets]
    mean, scale = images[0].mean(), images[0].std()
    x = [((part - mean) / scale).flatten(1) for part in images]
    widths = (x[0].shape[1], setting.width, setting.width, setting.width, 10)
    torch.manual_seed(seed)
    net, fresh = perceptron(widths), perceptron(widths)
    for _ in train_classifier(net, x[0], sets[0].labels, epochs=setting.epochs, seed=seed):
        pass
    net, test = net.double().eval(), x[1].double()
    share = accuracy(net, test, sets[1].labels)
    return Trained(net, fresh.double().eval(), test, sets[1].labels, images[1], share)


def perceptron(widths: Sequence[int]) -> nn.Sequential:
    net = nn.Sequential()
    for i in range(len(widths) - 1):
        net.append(nn.Linear(widths[i], widths[i + 1]))
        if i < len(widths) - 2:
            net.append(nn.ReLU())
    return net


def read_lines(trained: Trained, setting: Setting, path: Path) -> dict[str, list[list[float]]]:
    """Regions, flips and distance of lines, trained and not, within a class and between two."""
    found, drawn = {}, {}
    for name, net in (("trained", trained.net), ("untrained", trained.fresh)):
        for kind, same in (("one class", True), ("two classes", False)):
            rows = []
            for i, j in pairs(trained.labels, setting.lines, same=same):
                line = regions.traverse(net, trained.x[i], trained.x[j])
                rows.append([line.num_regions, line.num_flips, line.distance, line.detour])
            found[f"{name}, {kind}"] = rows
            flips = [len(bits) for bits in line.flips]
            drawn[f"{name}, {kind}"] = (line.crossings, flips, line.distance)
    ax = plots.plot_line_flips(drawn)
    ax.figure.savefig(path, dpi=150)
    return found


def pairs(labels: Tensor, count: int, *, same: bool) -> Iterator[tuple[int, int]]:
    """Pairs of images of one class or of two, without repeating an image."""
    left = list(range(len(labels)))
    for _ in range(count):
        i = left.pop(0)
        j = next(k for k in left if bool(labels[k] == labels[i]) == same)
        left.remove(j)
        yield i, j


def predicted_maps(net: nn.Module, x: Tensor) -> Tensor:
    """The rows (N, D) of the local maps that belong to the predicted classes."""
    with torch.no_grad():
        classes = net(x).argmax(1)
    maps = torch.empty_like(x)
    for k in classes.unique().tolist():
        rows = (classes == k).nonzero().flatten()
        maps[rows] = regions.local_affine_maps(net, x[rows], outputs=[k]).weight[:, 0]
    return maps


def read_maps(trained: Trained, setting: Setting, out: Path) -> dict[str, Any]:
    """Spectra and ranks of one class's maps, pursuits of one of them by the others."""
    x, found, spectra = trained.x[: setting.maps], {}, {}
    for name, net in (("trained", trained.net), ("untrained", trained.fresh)):
        maps = regions.local_affine_maps(net, x, outputs=[0]).weight[:, 0]
        spectrum = regions.map_spectrum(maps)
        spectra[name] = spectrum.values
        pursuits = {
            kind: regions.matching_pursuit(maps[0], maps[1:], 20, orthogonal=kind == "orthogonal")
            for kind in ("plain", "orthogonal")
        }
        found[name] = {
            "rank": spectrum.rank,
            "stable rank": spectrum.stable_rank,
            "entropy rank": spectrum.entropy_rank,
            "residual of 20": {k: float(p.residual[-1]) for k, p in pursuits.items()},
            "first layer": int(torch.linalg.matrix_rank(net[0].weight)),
        }
    plots.plot_map_spectra(spectra).figure.savefig(out / "spectra.png", dpi=150)
    chosen = [int((trained.labels == k).nonzero()[0]) for k in range(10)]
    draw_maps(trained, chosen, out / "maps.png")
    return found


def draw_maps(trained: Trained, chosen: list[int], path: Path) -> None:
    """Images, and the map of their predicted class, trained and not, grey where it is zero."""
    rows = [trained.images[chosen].double()]
    for net in (trained.net, trained.fresh):
        maps = predicted_maps(net, trained.x[chosen]).reshape(rows[0].shape)
        largest = maps.abs().flatten(1).quantile(0.99, dim=1).reshape(-1, 1, 1, 1)
        rows.append((0.5 + 0.5 * maps / largest).clamp(0.0, 1.0))
    names = ["image", "map, trained", "map, untrained"]
    grid = torch.stack(rows)
    ax = plots.image_grid(grid, row_names=names, xlabel="test images", ylabel="")
    ax.figure.savefig(path, dpi=150)


def read_noise(trained: Trained, setting: Setting, seed: int, path: Path) -> dict[str, list[Any]]:
    """Angle of the predicted class's map to that under noise, and unchanged patterns."""
    generator = torch.Generator().manual_seed(seed)
    x = trained.x[: setting.maps]
    with torch.no_grad():
        classes = trained.net(x).argmax(1)
    here = regions.local_affine_maps(trained.net, x).weight
    rows = torch.arange(len(x))
    pattern = patterns.pattern_at(trained.net, x)
    angles, unchanged = [], []
    for sigma in SIGMAS:
        noise = torch.randn(x.shape, dtype=x.dtype, generator=generator)
        there = regions.local_affine_maps(trained.net, x + sigma * noise).weight
        angles.append(regions.map_angles(here[rows, classes], there[rows, classes]))
        moved = patterns.pattern_at(trained.net, x + sigma * noise)
        unchanged.append(float(pattern.matches(moved).double().mean()))
    ax = plots.plot_noise_angles(SIGMAS, torch.stack(angles), unchanged)
    ax.figure.savefig(path, dpi=150)
    mean = [float(a.mean()) for a in angles]
    error = [float(a.std() / len(a) ** 0.5) for a in angles]
    return {"sigma": list(SIGMAS), "angle": mean, "error": error, "unchanged": unchanged}


def read_plane(trained: Trained, setting: Setting, path: Path) -> dict[str, float]:
    """Regions of the plane through the first images of three classes, about their mean."""
    corners = torch.stack([trained.x[int((trained.labels == k).nonzero()[0])] for k in (0, 1, 2)])
    origin = corners.mean(0)
    first = corners[1] - corners[0]
    second = corners[2] - corners[0]
    second = second - (second @ first) / (first @ first) * first
    axes = torch.stack([first, second])
    places = (corners - origin) @ torch.linalg.pinv(axes)  # (3, 2)
    scale = 1.3 * setting.zoom * float(places.abs().max())
    found = regions.slice_regions(trained.net, origin, scale * axes[0], scale * axes[1])
    middles = torch.tensor(np.stack([polygon.mean(0) for polygon in found.polygons]))
    with torch.no_grad():
        classes = trained.net(origin + scale * middles @ axes).argmax(1)
    names = [f"image {k}" for k in range(3)]
    points = {
        name: (float(s), float(t))
        for name, (s, t) in zip(names, places / scale, strict=True)
        if max(abs(s), abs(t)) <= 1.0
    }
    ax = plots.plot_plane_slice(
        found.polygons, classes, class_names=[str(k) for k in range(10)], points=points
    )
    ax.figure.savefig(path, dpi=200)
    return {"regions": len(found.polygons), "covered": found.covered}


def read_sizes(
    trained: Trained, setting: Setting, seed: int, path: Path
) -> dict[str, list[float]]:
    """Sizes of regions in standardised inputs, within a box.

    How far noise may go in maximum and Euclidean norm, the radius of the largest ball, and the
    root mean square distance of uniform points from the input.
    """
    names = ["noise radius, max", "noise radius", "largest ball", "uniform points"]
    found: dict[str, list[float]] = {name: [] for name in names}
    for i in range(setting.sized):
        x = trained.x[i]
        polytope = regions.region(trained.net, x, box=setting.box)
        radius = polytope.noise_radius(x)
        found["noise radius, max"].append(radius.linf)
        found["noise radius"].append(radius.l2)
        start = x
        if polytope.dim <= 100:
            ball = regions.chebyshev_ball(polytope)
            found["largest ball"].append(ball.radius)
            start = ball.centre
        thin = max(1, setting.steps // 500)
        walk = regions.hit_and_run(
            polytope, start, draws=500, thin=thin, tune=setting.steps // 10, seed=seed + i
        )[0]
        assert bool(polytope.contains(walk, tolerance=1e-9).all())
        distance = float((walk - x).square().sum(1).mean().sqrt())
        found["uniform points"].append(distance)
    found = {name: values for name, values in found.items() if values}
    ax: Axes = plots.plot_region_sizes(found)
    assert isinstance(ax.figure, Figure)
    ax.figure.savefig(path, dpi=150)
    return found


if __name__ == "__main__":
    main()
