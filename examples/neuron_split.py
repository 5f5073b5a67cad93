"""
What the split neurons see
==========================

Figure 5 of "An interpretation of the final fully connected layer": the neurons of a class are
split by their weights, '+++' the largest, '---' the smallest, and Smooth Grad-CAM++ of each part
is laid over images of the class; negative parts with their sign turned, or their maps would be
empty. The paper reads '+++' as the class's own parts and '---' as confusing ones. Here that is a
hypothesis, put against three measurements, each with a bootstrap interval over images:

* deletion: pixels are replaced by the mean colour, those highest on the map first; area under the
  probability of the image's class. Smaller than for random maps: the map shows what raises it.
  Larger: what lowers it. The same for the rival, the most probable other class: if '---' shows
  what the class is confused with, its deletion should lower the rival.
* insertion: pixels come back into a blurred image (sigma 5 pixels), in the same order.
* drop and increase: the probability lost if the map multiplies the image (a share of it), and the
  share of images for which it grows.

Differences to the map of all neurons and to random maps are taken image by image. Full size
(``--root``): the ImageNet MobileNetV2 on sample images, probably of its training set, ResNet-56 on
CIFAR-10, and the first network of `neuron_pruning.py` (trained if ``--networks`` lacks it).
``--quick``: a small convolutional network on digits, seconds.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from runs import arguments, markdown, save_numbers
from split_sources import NEEDS, Source, cifar10, digits, imagenet, own_network
from torch import Tensor

import probact as pa
from probact.models.neuron_split import (
    area_under,
    blurred,
    bootstrap_mean,
    confidence_change,
    deletion_curve,
    insertion_curve,
    node_cam,
)
from probact.plots.style import DASHES, LINES, MUTED, TICK_SIZE, new_row, tidy

NODES = ("", "+", "++", "+++", "-", "--", "---")
MEASURED = ("", "++", "+++", "-", "--", "---")  # "+" has the map of all neurons, see docs
SHOWN = ("all", "+++", "---")  # in the plots of curves
RANDOM_MAPS = 1  # an image


def sources(args: argparse.Namespace) -> Iterator[Source]:
    if args.quick:
        yield digits(args.seed, args.images)
        return
    yield cifar10(args.root, args.images)
    yield own_network(args)
    yield imagenet(args.root, args.seed, args.images // 2)


def all_maps(source: Source, seed: int) -> Tensor:
    """Maps (N, M, h, w): of the nodes, then random ones."""
    cams = node_cam(source.net, source.x, source.labels, MEASURED, tree=source.tree)
    shape = (len(cams), RANDOM_MAPS, *cams.shape[2:])
    chance = torch.rand(shape, generator=torch.Generator().manual_seed(seed)).to(cams)
    return torch.cat([cams, chance], 1)


def pooled(values: Tensor) -> Tensor:
    """(N, 7, ...) from (N, M, ...): the random maps of an image averaged."""
    nodes = len(MEASURED)
    chance = values[:, nodes:].double().mean(1, keepdim=True)
    return torch.cat([values[:, :nodes].double(), chance], 1)


def rivals(source: Source) -> tuple[Tensor, Tensor]:
    """The most probable other class (N,), and the probability (N,) of the images' own."""
    with torch.no_grad():
        p = torch.cat([source.net(part) for part in source.x.split(source.batch_size)]).softmax(1)
    own = p.gather(1, source.labels[:, None])[:, 0]
    return p.scatter(1, source.labels[:, None], -1.0).argmax(1), own


def curves(source: Source, maps: Tensor, steps: int, seed: int) -> dict[str, Tensor]:
    """Curves (N, 7, T + 1) by the name of the measurement."""
    x, mean = source.x, source.x.mean((0, 2, 3))[:, None, None]
    both = torch.stack([source.labels, rivals(source)[0]], 1)  # (N, 2)
    options = {"steps": steps, "batch_size": source.batch_size, "seed": seed}
    deleted = deletion_curve(source.net, x, both, maps, mean, **options)  # (N, M, 2, T + 1)
    inserted = insertion_curve(source.net, x, source.labels, maps, blurred(x), **options)
    return {"deletion": pooled(deleted[:, :, 0]), "insertion": pooled(inserted),
            "rival's deletion": pooled(deleted[:, :, 1])}  # fmt: skip


def likeness(maps: Tensor) -> Tensor:
    """Correlations (N, 7) over positions of every map with that of all neurons; 0 if constant."""
    flat = maps.flatten(2).double()
    flat = flat - flat.mean(2, keepdim=True)
    length = flat.norm(dim=2)
    cosine = (flat * flat[:, :1]).sum(2) / (length * length[:, :1]).clamp(min=1e-12)
    return pooled(cosine)


def intervals(values: Tensor, seed: int) -> dict[str, list[list[float]]]:
    """Mean and ends of a 95 % interval of values (N, 7), and of two differences, for each map."""
    readings = {"value": values, "minus all": values - values[:, :1],
                "minus random": values - values[:, -1:]}  # fmt: skip
    found = {name: bootstrap_mean(v, seed=seed) for name, v in readings.items()}
    return {name: torch.stack(list(each), 1).tolist() for name, each in found.items()}


def measure(source: Source, steps: int, seed: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Numbers of a source, and its curves."""
    maps = all_maps(source, seed)
    found = curves(source, maps, steps, seed)
    change = confidence_change(
        source.net, source.x, source.labels, maps, batch_size=source.batch_size
    )
    values = {name: area_under(each) for name, each in found.items()}
    values |= {"drop": pooled(change.drop), "increase": pooled(change.increase),
               "likeness": likeness(maps)}  # fmt: skip
    _, own = rivals(source)
    sizes = {name or "all": source.tree.sizes(name).double() for name in MEASURED}
    numbers = {
        "num_images": len(maps), "map": list(maps.shape[2:]), "steps": steps,
        "own_probability": float(own.mean()), "maps": [*sizes, "random"],
        "neurons": {name: [float(n.min()), float(n.median()), float(n.max())]
                    for name, n in sizes.items()},
        "readings": {name: intervals(v, seed) for name, v in values.items()},
    }  # fmt: skip
    return numbers, found


def bars(interval: Sequence[float]) -> str:
    return "{:.3f} ({:.3f} to {:.3f})".format(*interval)


def report(name: str, numbers: dict[str, Any]) -> str:
    """Tables of one source: the readings, and their differences."""
    size = " x ".join(str(side) for side in numbers["map"])
    lines = [
        f"\n{name}: {numbers['num_images']} images, maps {size}, {numbers['steps']} steps, mean "
        f"probability of the images' class {numbers['own_probability']:.3f}\n"
    ]
    readings = numbers["readings"]
    for kind in ("value", "minus all", "minus random"):
        header = [kind if kind != "value" else "map", *readings]
        rows = [
            [map_name, *(bars(each[kind][i]) for each in readings.values())]
            for i, map_name in enumerate(numbers["maps"])
        ]
        lines += [markdown(header, rows), ""]
    rows = [[k, "{:.0f}, {:.0f}, {:.0f}".format(*n)] for k, n in numbers["neurons"].items()]
    lines.append(markdown(["node", "neurons: smallest, median, largest class"], rows))
    return "\n".join(lines)


def draw_maps(source: Source, path: Path) -> None:
    """The first ten images and the maps of every node, upright."""
    x, labels = source.x[:10], source.labels[:10]
    maps = source.upright(node_cam(source.net, x, labels, NODES, tree=source.tree))
    sizes = {name: source.tree.sizes(name) for name in NODES}
    ax = pa.plots.cam_grid(
        source.images[:10].numpy(),
        maps.numpy(),
        row_names=[source.class_names[k] for k in labels.tolist()],
        column_names=[name or "all" for name in NODES],
        groups=[1, 3, 3],
        notes=[[f"n = {int(sizes[name][k])}" for name in NODES] for k in labels.tolist()],
    )
    ax.figure.savefig(path, dpi=130)


def draw_curves(found: dict[str, Tensor], names: Sequence[str], seed: int, path: Path) -> None:
    """Mean curves of three nodes and of random maps, with bootstrap bands."""
    panels = new_row(len(found), 3.4 * len(found), 3.0)
    chosen = [names.index(name) for name in SHOWN]
    for ax, (title, each) in zip(panels, found.items(), strict=True):
        share = np.linspace(0.0, 1.0, each.shape[2])
        for i, colour, dash in zip([*chosen, -1], [*LINES[:3], MUTED], DASHES, strict=False):
            mean, low, high = bootstrap_mean(each[:, i], seed=seed)
            ax.plot(share, mean, color=colour, linestyle=dash, label=names[i])
            ax.fill_between(share, low, high, color=colour, alpha=0.15, linewidth=0.0)
        of = "rival" if title.startswith("rival") else "class"
        what = "put back" if title == "insertion" else "deleted"
        tidy(ax, xlabel=f"share of pixels {what}", ylabel=f"probability of the {of}", grid="y")
        ax.set_ylim(bottom=0.0)
    panels[0].legend(frameon=False, fontsize=TICK_SIZE)
    panels[0].figure.savefig(path, dpi=150)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--images", type=int, default=40, help="images of a source, half of ImageNet"
    )
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--networks", type=Path, help="folder of neuron_pruning.py's networks")
    args = arguments(__doc__, argv, NEEDS, parser)
    table = {}
    for index, source in enumerate(sources(args)):
        draw_maps(source, args.out / f"maps_{index}.png")
        table[source.name], found = measure(source, args.steps, args.seed)
        names = table[source.name]["maps"]
        draw_curves(found, names, args.seed, args.out / f"curves_{index}.png")
        print(report(source.name, table[source.name]), flush=True)
        save_numbers(args.out / "numbers.json", {"seed": args.seed, "sources": table})


if __name__ == "__main__":
    main()
