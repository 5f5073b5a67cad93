"""
What activation patterns say
============================

The statistics of the 0/1 code of a network's units: how often each is active, and which law that
follows from layer to layer; Hamming distances beside those of fair coins, and what the mean of
them cannot see; groups of patterns; neighbours beside those of pixels; the values behind the bits
and what of them the bits keep; normalisation; adversarial images.

`--quick` and `--data digits` take perceptrons on the digits, new and trained; `--data cifar10` an
AlexNet-like network on 10 000 images, new, or trained for `--epochs`.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from activation_figures import draw
from activation_tables import tables
from neuron_networks import CIFAR10
from runs import arguments, save_numbers
from torch import Tensor, nn

import probact as pa
from probact.analysis import ActiveSums, rectified_test
from probact.analysis import patterns as pt
from probact.nn import accuracy, train_classifier

NORMALISED = [64] + [256] * 10
_SECONDS: dict[str, float] = {}


class Source(NamedTuple):
    """Networks by name, images (N, ...) as they take them, labels (N,), training data."""

    networks: dict[str, nn.Module]
    x: Tensor
    labels: Tensor
    epsilon: float  # of the attack
    most_rows: int  # for what takes time or memory by pairs


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", choices=["digits", "cifar10"], default="cifar10")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=0, help="of training on CIFAR-10")
    early = parser.parse_known_args(argv)[0]
    digits_only = "--quick" in (sys.argv[1:] if argv is None else argv) or early.data == "digits"
    args = arguments(__doc__, argv, needs=None if digits_only else CIFAR10, parser=parser)
    source = digits(args) if digits_only else cifar10(args)
    numbers: dict[str, Any] = {}
    for name, net in source.networks.items():
        numbers[name] = read(net, source, args.seed)
    if digits_only:
        numbers["normalisation"] = normalisation(source.x)
    table = "\n\n".join(tables(numbers)) + "\n"
    print(table)
    (args.out / "table.md").write_text(table, encoding="utf-8")
    save_numbers(args.out / "numbers.json", without_arrays(numbers))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    costs = {"seconds": _SECONDS, "peak_megabytes": peak}
    (args.out / "costs.json").write_text(json.dumps(costs, indent=1) + "\n", encoding="utf-8")
    draw(numbers, args.out)


def digits(args: argparse.Namespace) -> Source:
    """Three hidden layers of 256, new and trained; images standardised."""
    train, test = (pa.datasets.digits(train=t, test_fraction=0.3) for t in (True, False))
    x, held = (d.floats().flatten(1) for d in (train, test))
    mean, spread = x.mean(), x.std()
    x, held = (x - mean) / spread, (held - mean) / spread
    networks = {}
    for name, epochs in (("new", 0), ("trained", 5 if args.quick else 45)):
        torch.manual_seed(args.seed)
        net = nn.Sequential()
        for before in (64, 256, 256):
            net.extend([nn.Linear(before, 256), nn.ReLU()])
        net.append(nn.Linear(256, 10))
        for _ in (
            train_classifier(net, x, train.labels, epochs=epochs, seed=args.seed) if epochs else ()
        ):
            pass
        networks[name] = net.eval()
    number = 400 if args.quick else len(x)
    return Source(networks, x[:number], train.labels[:number], 0.15, 4000)


def cifar10(args: argparse.Namespace) -> Source:
    """Five convolutions and two hidden layers, after Krizhevsky et al. 2012, for 32 x 32."""
    torch.manual_seed(args.seed)
    net = nn.Sequential(
        nn.Conv2d(3, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Flatten(),
        nn.Linear(2304, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10),
    )  # fmt: skip
    if args.epochs:
        train = pa.datasets.jpeg_archive(args.root / CIFAR10[0])
        images = 4.0 * train.floats() - 2.0
        for epoch in train_classifier(net, images, train.labels, epochs=args.epochs):
            print(f"epoch {epoch.number}: {epoch.loss:.3f} nats", flush=True)
        del images, train
    test = pa.datasets.jpeg_archive(args.root / CIFAR10[1])
    order = torch.randperm(len(test.labels), generator=torch.Generator().manual_seed(args.seed))
    rows = order[: args.images]
    x = 4.0 * test.floats(rows) - 2.0
    name = "trained" if args.epochs else "new"
    return Source({name: net.eval()}, x, test.labels[rows], 0.1, 4000)


@contextmanager
def timed(name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    _SECONDS[name] = _SECONDS.get(name, 0.0) + time.perf_counter() - start


def read(net: nn.Module, source: Source, seed: int) -> dict[str, Any]:
    """Every statistic of one network."""
    x, y = source.x, source.labels
    with timed("patterns"):
        packed = pt.collect(net, x)
    with timed("moments of pre-activations"):
        moments = pt.score_moments(net, x, batch_size=128)
    few = packed.rows(slice(0, source.most_rows))
    with timed("neighbours"):
        chosen = slice(0, source.most_rows)
        near = pt.neighbour_agreement(
            {"all patterns": few, "last layer": few.layer(packed.names[-1])}, y[chosen],
            baselines={"pixels": x[chosen].flatten(1), "features": features(net, x[chosen])},
            ks=[1, 10],
        )  # fmt: skip
    with timed("constellations"):
        groups = pt.constellations(few.layer(packed.names[-1]), max_rows=1000, seed=seed)
    with timed("distances of all pairs"):
        counts = pt.hamming_counts(packed)
    found = {
        "accuracy": accuracy(net, x, y),
        "layers": [
            layer_row(m, p) for m, (_, p) in zip(moments, packed.each_layer(), strict=True)
        ],
        "neighbours": [row._asdict() for row in near],
        "constellations": {k: getattr(groups, k) for k in ("score", "fair", "matched")},
        "unique": packed.unique()[0].num_rows,
        "rows": packed.num_rows,
        "attack": attack(net, source),
        **first_layer(net),
    }
    last = packed.layer(packed.names[-1])
    found["arrays"] = {
        "p": {m.name: m.probability for m in moments}, "laws": {m.name: m.law for m in moments},
        "counts": counts, "last_counts": pt.hamming_counts(last), "curve": groups.curve(),
        "values": values(net, x[: source.most_rows]), "sums": sums_of(moments[0]),
    }  # fmt: skip
    return found


def layer_row(moments: pt.ScoreMoments, packed: pt.PackedPatterns) -> dict[str, Any]:
    """Law of p, distances, dependence, and the test of the values, of one layer."""
    p, law = moments.probability, moments.law
    with timed("tests of distances"):
        coins = pt.bernoulli_test(packed)
        [activity] = pt.activation_probabilities(packed).layers()
        apart = pt.dependence_test(packed.rows(slice(0, 1000)))
    with timed("fits of values"):
        test = rectified_test(sums_of(moments))
        usable = ~test.p_value.isnan()
    rejected = float((test.p_value[usable] < 0.05).double().mean()) if usable.any() else None
    return {
        "name": moments.name, "bits": activity.num_bits, "mean": activity.mean,
        "variance": activity.variance, "dead": activity.dead, "always_on": activity.always_on,
        "saturated": activity.saturated, "correlation": moments.correlation,
        "predicted_variance": law.variance, "distance_to_law": law.distance(p),
        "distance_to_uniform": pt.distance_to_uniform(p), "mean_distance": coins.all_pairs_mean,
        "p_value": coins.p_value, "variance_ratio": apart.variance_ratio,
        "rejected": rejected, "tested": float(usable.double().mean()),
    }  # fmt: skip


def sums_of(m: pt.ScoreMoments) -> ActiveSums:
    return ActiveSums(m.num_rows, m.active, m.active_first, m.active_second)


def features(net: nn.Module, x: Tensor) -> Tensor:
    """What the head reads, (N, n)."""
    assert isinstance(net, nn.Sequential)
    with torch.no_grad():
        return torch.cat([net[:-1](part) for part in x.split(256)])


def values(net: nn.Module, x: Tensor) -> Tensor:
    """Positive values of the first unit of the first layer."""
    assert isinstance(net, nn.Sequential)
    with torch.no_grad():
        h = torch.cat([net[:2](part).flatten(1)[:, 0] for part in x.split(256)])
    return h[h > 0]


def first_layer(net: nn.Module) -> dict[str, Any]:
    """Hyperplanes, and what is left of the signs when bits take the place of white outputs."""
    layer = next(m for m in net.modules() if isinstance(m, nn.Linear | nn.Conv2d))
    found = pt.hyperplane_test(layer.weight, layer.bias)
    fan = layer.weight[0].numel()
    white = torch.randn(2000, fan, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        f = torch.relu(white @ layer.weight.flatten(1).mT + layer.bias)
    agreement = pt.sign_agreement(f)
    return {
        "hyperplanes": {
            "bound": found.bound, "ks_distance": found.ks_distance, "p_value": found.p_value,
            "square_norm": float(found.norms.square().mean()),
        },
        "sign_agreement": [float(agreement.mean()), float(agreement.std()) / 2000**0.5],
    }  # fmt: skip


def attack(net: nn.Module, source: Source) -> dict[str, Any]:
    """FGSM, random signs of its length, other images: distances and accuracies."""
    x, y = source.x[:1000], source.labels[:1000]
    with timed("attack"):
        moved = pt.fast_gradient_sign(net, x, y, source.epsilon)
        layers = pt.adversarial_report(net, x, moved)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).sign()
    return {
        "epsilon": source.epsilon,
        "accuracy": accuracy(net, x, y),
        "attacked": accuracy(net, moved, y),
        "random": accuracy(net, x + source.epsilon * noise, y),
        "layers": [layer._asdict() for layer in layers],
    }


def normalisation(x: Tensor) -> list[dict[str, Any]]:
    with timed("normalisation"):
        rows = pt.normalisation_report(lambda name: pt.normalised_mlp(name, NORMALISED, x=x), x)
    return [row._asdict() for row in rows]


def without_arrays(numbers: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {k: v for k, v in found.items() if k != "arrays"}
        if isinstance(found, dict)
        else found
        for name, found in numbers.items()
    }


if __name__ == "__main__":
    main()
