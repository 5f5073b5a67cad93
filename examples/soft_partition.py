"""
Regions of a network, hard and soft
===================================

A ReLU network cuts its inputs into regions: each unit has a boundary, at which it switches. Read
as a mixture (Balestriero & Baraniuk 2019), a unit has a posterior over its two regions instead,
softmax(beta / (1 - beta) times its scores), and its entropy says how unsure the unit is. The
softened network hands on the posterior mean, a swish of beta, and keeps its weights; near beta = 1
it is the network itself.

A network of two hidden layers is trained on inputs of two dimensions, so that all of this can be
drawn: hard boundaries over the entropy of the softened network, by layer and summed, at several
beta. Three readings of held-out inputs:

* mean entropy of a unit by layer, and accuracy, against beta;
* share of units less sure than .9, and of inputs with such a unit;
* entropy against the distance to the nearest boundary of the hard network, which is exact: the
  nearest zero of a unit's affine map lies on the region's own border.

Full size: two moons and two spirals, half a minute on one CPU core; no files needed. ``--quick``:
two moons and a small network, seconds.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from runs import arguments, markdown, save_numbers
from scipy.stats import spearmanr
from sklearn.datasets import make_moons
from torch import Tensor, nn

from probact.models import SplineMixture
from probact.nn import train_classifier
from probact.plots.regions import plot_against_beta, plot_soft_partition
from probact.plots.style import LINES, TICK_SIZE, new_axes, tidy

BETAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
DRAWN = (0.5, 0.9, 0.98)
SURE = 0.9


class Plane(NamedTuple):
    """Labelled inputs of two dimensions, to train on and held out."""

    name: str
    x: Tensor  # (N, 2)
    y: Tensor  # (N,)
    unseen: Tensor  # (M, 2)
    answers: Tensor  # (M,)


class Pass(NamedTuple):
    """What a softened network does with inputs, and how sure its units are."""

    entropies: list[Tensor]  # (N, K) of each hidden layer, nats
    certainty: list[Tensor]  # (N, K) probability of the likelier region
    logits: Tensor  # (N, C)


class HardPass(NamedTuple):
    """The units of the hard network at inputs, and how far away they switch."""

    units: list[Tensor]  # (N, K) u of each hidden layer, before the ReLU
    distances: list[Tensor]  # (N, K) |u| / |du/dx|
    logits: Tensor  # (N, C)


def spirals(count: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two arms of a spiral, one and a half turns each, with noise."""
    y = np.arange(count) % 2
    angle = 3.0 * np.pi * np.sqrt(generator.uniform(0.02, 1.0, count))
    arm = np.stack([np.cos(angle + np.pi * y), np.sin(angle + np.pi * y)], 1)
    return angle[:, None] * arm + generator.normal(scale=0.3, size=(count, 2)), y


def plane(name: str, count: int, seed: int) -> Plane:
    """Standardised inputs, every second one held out."""
    if name == "moons":
        points, labels = make_moons(2 * count, noise=0.15, random_state=seed)
    else:
        points, labels = spirals(2 * count, np.random.default_rng(seed))
    order = np.random.default_rng(seed + 1).permutation(2 * count)
    points, labels = points[order], labels[order]
    points = (points - points.mean(0)) / points.std(0)
    x, y = torch.from_numpy(points).float(), torch.from_numpy(labels).long()
    return Plane(name, x[::2], y[::2], x[1::2], y[1::2])


def train(data: Plane, width: int, epochs: int, seed: int) -> nn.Sequential:
    """Two hidden layers of ReLU units."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Linear(2, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2)
    )
    for _ in train_classifier(net, data.x, data.y, epochs=epochs, learning_rate=1e-2, seed=seed):
        pass
    return net.double().eval()


def soft_pass(net: nn.Sequential, x: Tensor, beta: float) -> Pass:
    """The network with every ReLU layer read as a mixture at beta."""
    entropies, certainty, h = [], [], x.double()
    with torch.no_grad():
        for layer in (net[0], net[2]):
            mixture = SplineMixture.from_layer(layer, "relu").at_beta(beta)
            entropies.append(mixture.entropy(h))
            certainty.append(mixture.selection(h).amax(-1))
            h = mixture.readout(h, "expectation")
        return Pass(entropies, certainty, net[4](h))


def hard_pass(net: nn.Sequential, x: Tensor) -> HardPass:
    """Units and distances; du/dx of a layer is its weight times that of the active units below."""
    units, distances, h = [], [], x.double()
    slope = torch.eye(2, dtype=torch.float64).expand(len(x), 2, 2)  # (N, K, 2)
    with torch.no_grad():
        for layer in (net[0], net[2]):
            u, slope = layer(h), layer.weight @ slope
            units.append(u)
            distances.append(u.abs() / slope.norm(dim=-1))  # inf where nothing moves the unit
            h, slope = u.relu(), slope * (u > 0.0)[..., None]
        return HardPass(units, distances, net[4](h))


def measure(net: nn.Sequential, data: Plane) -> dict[str, Any]:
    """Readings of the held-out inputs at every beta."""
    hard = hard_pass(net, data.unseen)
    nearest = torch.cat(hard.distances, 1).amin(1)  # (M,)
    table = []
    for beta in BETAS:
        soft = soft_pass(net, data.unseen, beta)
        summed = torch.cat(soft.entropies, 1).sum(1)  # (M,)
        unsure = [(c < SURE).any(1).double().mean().item() for c in soft.certainty]
        either = (torch.cat(soft.certainty, 1) < SURE).any(1).double().mean().item()
        table.append({
            "beta": beta,
            "accuracy": share_right(soft.logits, data.answers),
            "same_answer": share_right(soft.logits, hard.logits.argmax(1)),
            "entropy_per_unit": [e.mean().item() for e in soft.entropies],
            "entropy_of_all_units": summed.mean().item(),
            "inputs_with_an_unsure_unit": [*unsure, either],
            "unsure_units": (torch.cat(soft.certainty, 1) < SURE).double().mean().item(),
            "rank_correlation_with_distance": float(spearmanr(nearest, summed).statistic),
            "by_distance": by_distance(nearest, summed),
        })  # fmt: skip
    return {
        "num_inputs": len(data.unseen),
        "accuracy": share_right(hard.logits, data.answers),
        "median_distance": nearest.median().item(),
        "dead_units": [
            int(SplineMixture.from_layer(layer, "relu").dead_units(h).sum())
            for layer, h in ((net[0], data.x), (net[2], net[:2](data.x.double())))
        ],
        "betas": table,
    }


def share_right(logits: Tensor, labels: Tensor) -> float:
    return float((logits.argmax(1) == labels).double().mean())


def by_distance(distance: Tensor, entropy: Tensor, bins: int = 8) -> dict[str, list[float]]:
    """Mean distance and mean entropy of equally many inputs each, the nearest first."""
    groups = distance.argsort().tensor_split(bins)
    return {
        "distance": [distance[rows].mean().item() for rows in groups],
        "entropy": [entropy[rows].mean().item() for rows in groups],
    }


def draw_partition(net: nn.Sequential, data: Plane, side: int, path: Any) -> None:
    """Rows of beta, columns of layers and their sum; the colours of a row share their scale."""
    low, high = data.x.amin(0) - 0.5, data.x.amax(0) + 0.5
    across, up = (torch.linspace(float(a), float(b), side) for a, b in zip(low, high, strict=True))
    grid = torch.stack(torch.meshgrid(across, up, indexing="xy"), -1).reshape(-1, 2)
    gaps = [u.T.reshape(-1, side, side) for u in hard_pass(net, grid).units]
    columns = [*gaps, torch.cat(gaps)]
    figure = Figure(figsize=(9.6, 2.9 * len(DRAWN)), layout="constrained")
    for beta, row in zip(DRAWN, figure.subplots(len(DRAWN), 3), strict=True):
        parts = [e.sum(1).reshape(side, side) for e in soft_pass(net, grid, beta).entropies]
        parts.append(parts[0] + parts[1])
        titles = ("first layer", "second layer", "both")
        for ax, part, gap, title in zip(row, parts, columns, titles, strict=True):
            plot_soft_partition(
                across, up, part, gap, highest=float(parts[2].max()),
                title=f"{title}, beta {beta:g}", colorbar=title == "both", ax=ax,
            )  # fmt: skip
    figure.savefig(path, dpi=150)


def draw_numbers(numbers: dict[str, Any], name: str, out: Any) -> None:
    """Accuracy and entropy against beta; entropy against the distance to a boundary."""
    rows = numbers["betas"]
    curves = {
        "accuracy": [r["accuracy"] for r in rows],
        "same class as the hard network": [r["same_answer"] for r in rows],
        "inputs with a unit less sure than .9": [r["inputs_with_an_unsure_unit"][2] for r in rows],
        "units less sure than .9": [r["unsure_units"] for r in rows],
    }
    hard = dict.fromkeys(curves, 0.0) | {
        "accuracy": numbers["accuracy"], "same class as the hard network": 1.0,
    }  # fmt: skip
    ax = plot_against_beta(BETAS, curves, ylabel="share", hard=hard)
    ax.set_ylim(-0.02, 1.02)
    ax.figure.savefig(out / f"{name}_beta.png", dpi=150)
    ax = new_axes(5.0, 3.4)
    tidy(ax, xlabel="distance to the nearest boundary (input units)",
         ylabel="entropy of all units (nats)", grid="both")  # fmt: skip
    for color, beta in zip(LINES, DRAWN, strict=False):
        each = rows[BETAS.index(beta)]["by_distance"]
        ax.plot(each["distance"], each["entropy"], "o-", color=color, markersize=3.5,
                label=f"beta {beta:g}")  # fmt: skip
    ax.set_ylim(bottom=0.0)
    ax.legend(fontsize=TICK_SIZE, frameon=False)
    ax.figure.savefig(out / f"{name}_distance.png", dpi=150)


def report(name: str, numbers: dict[str, Any]) -> str:
    """A table of the readings by beta."""
    header = ["beta", "accuracy", "same class as hard", "nats a unit, layer 1", "layer 2",
              "unsure units", "inputs with one", "rank correlation with distance"]  # fmt: skip
    rows = [
        [
            f"{r['beta']:g}",
            f"{r['accuracy']:.3f}",
            f"{r['same_answer']:.3f}",
            *(f"{e:.3f}" for e in r["entropy_per_unit"]),
            f"{r['unsure_units']:.3f}",
            f"{r['inputs_with_an_unsure_unit'][2]:.3f}",
            f"{r['rank_correlation_with_distance']:+.2f}",
        ]
        for r in numbers["betas"]
    ]
    words = (
        f"\n{name}: {numbers['num_inputs']} held-out inputs, accuracy {numbers['accuracy']:.3f}, "
        f"median distance to a boundary {numbers['median_distance']:.3f}, units dead on the "
        f"training inputs {numbers['dead_units']}\n"
    )
    return "\n".join([words, markdown(header, rows)])


def main(argv: Sequence[str] | None = None) -> None:
    args = arguments(__doc__, argv, None)
    names, count, width, epochs, side = ("moons", "spirals"), 1000, 16, 60, 241
    if args.quick:
        names, count, width, epochs, side = ("moons",), 300, 8, 40, 61
    table = {}
    for name in names:
        data = plane(name, count, args.seed)
        net = train(data, width, epochs, args.seed)
        table[name] = measure(net, data)
        print(report(name, table[name]), flush=True)
        draw_partition(net, data, side, args.out / f"{name}_partition.png")
        draw_numbers(table[name], name, args.out)
    save_numbers(args.out / "numbers.json", {"seed": args.seed, "sure": SURE, "data": table})


if __name__ == "__main__":
    main()
