"""
Is a posterior over the last layer worth having?
================================================

The last layer of a network as a Bayesian model (``probact.models.LaplaceHead``: asymmetric Laplace
prior, exact Gibbs sampling; ``GaussianHead``: Gaussian prior) against the layer that training
leaves, against the same layer with its temperature fitted, and against a tuned ridge. Two tasks:

* The task of the network: features of the images that it was trained on, a fifth of them held out
  for the temperature.
* Few images: the network was trained on other classes, and the new layer sees 10, 30 or 100 images
  a class. Digits: trained on 0 to 4, asked for 5 to 9. With ``--root``: trained on Fashion-MNIST,
  asked for MNIST.

Measured on held-out images: accuracy, negative log-likelihood (nats), Brier score, calibration
error (15 bins of equal width) and its floor, what a calibrated predictor of the same confidences
would score. Beside each, the paired difference to the trained head. Standard errors cover the
choice of images and of networks (``crossed_mean``); for the calibration error and AUROC they add
the mean bootstrap (DeLong) variance to the variance over networks. How well the entropy of the
prediction tells images of another kind from test images is AUROC; "own" is the score peculiar to a
layer: energy for a point, mutual information for draws.

Default: the digits of scikit-learn, three networks, about ten CPU minutes; stopped, the same
command goes on. ``--quick``: one network, few sweeps, a minute. ``--root DIR``: MNIST and
Fashion-MNIST, 3000 images to train on and 4000 to judge by.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from head_predictors import Budget, fit_layers, read
from head_tables import summary, tables
from runs import arguments, kept_numbers, save_numbers, train_convnet
from torch import Generator, Tensor, nn

import probact as pa
from probact import analysis
from probact.datasets import ImageData
from probact.heads import Head
from probact.plots.style import LABEL_SIZE, new_row

MNIST = ["MNIST/raw/train-images-idx3-ubyte", "FashionMNIST/raw/train-images-idx3-ubyte"]
DRAWN = ("trained head", "temperature", "Gaussian about the head", "Gaussian, Gibbs",
         "ALD, Gibbs", "ALD of the head, Gibbs")  # fmt: skip


class Plan(NamedTuple):
    """Networks, images a class of the new layer, and the length of everything."""

    networks: int
    images: tuple[int, ...]
    dim: int
    epochs: int
    own_task: Budget
    few_images: Budget
    draws: int  # of the bootstrap


class Problem(NamedTuple):
    """Features and labels to fit a layer on, and those to judge it by."""

    x: Tensor
    y: Tensor
    num_classes: int
    trained: Head | None
    validation: tuple[Tensor, Tensor] | None
    test_x: Tensor
    test_y: Tensor
    foreign: dict[str, Tensor]  # features of images of other kinds


def plan(args: argparse.Namespace) -> Plan:
    if args.quick:
        short = Budget(draws=10, tune=5, steps=20, kept=20)
        return Plan(1, (10,), 8, 2, short, short, 5)
    long = Budget(draws=400, tune=300, steps=600, kept=200)
    return Plan(3, (10, 30, 100), 32, 15, long._replace(draws=200, tune=200), long, 200)


def data(root: Path | None, seed: int) -> dict[str, ImageData]:
    """Images of the network's own task, of the new one, and the held-out ones of both."""
    if root is None:
        train, test = (
            pa.datasets.digits(train=t, test_fraction=0.4, seed=seed) for t in (True, False)
        )
        old = {name: only(d, range(5)) for name, d in (("train", train), ("test", test))}
        new = {name: only(d, range(5, 10)) for name, d in (("train", train), ("test", test))}
        return {"train": train, "test": test, "old": old["train"], "old test": old["test"],
                "new": new["train"], "new test": new["test"]}  # fmt: skip
    first = {True: slice(0, 3000), False: slice(0, 4000)}
    digits, clothes = (
        {t: rows(load(root, train=t), first[t]) for t in (True, False)}
        for load in (pa.datasets.mnist, pa.datasets.fashion_mnist)
    )
    new = digits
    return {"train": new[True], "test": new[False], "old": clothes[True],
            "old test": clothes[False], "new": new[True], "new test": new[False]}  # fmt: skip


def rows(images: ImageData, chosen: slice | Tensor) -> ImageData:
    return images._replace(images=images.images[chosen], labels=images.labels[chosen])


def only(images: ImageData, classes: range) -> ImageData:
    """Images of some classes, numbered from zero."""
    held = rows(images, (images.labels >= classes.start) & (images.labels < classes.stop))
    names = tuple(images.class_names[c] for c in classes)
    return held._replace(labels=held.labels - classes.start, class_names=names)


def foreign_images(images: Tensor, seed: int) -> dict[str, Tensor]:
    """Test images (N, C, H, W) spoilt: negatives, a quarter turn, pixels in one other order."""
    stream = Generator().manual_seed(seed)
    order = torch.randperm(images[0, 0].numel(), generator=stream)
    shuffled = images.flatten(2)[..., order].reshape(images.shape)
    return {"negative": 1.0 - images, "turned": images.rot90(1, (2, 3)), "shuffled": shuffled}


def features(net: nn.Module, images: Tensor) -> Tensor:
    return pa.capture(net, images, dtype=torch.float64).x


def problems(
    args: argparse.Namespace, p: Plan, seed: int
) -> Iterator[tuple[str, int, Problem, Budget]]:
    """The network's own task, then the new one from few images to many."""
    found = data(args.root, args.seed)
    if args.only != "few":
        yield "own task", 0, own_task(args, p, found, seed), p.own_task
    if args.only == "own":
        return
    *_, last = train_convnet(found["old"], p.dim, epochs=p.epochs, seed=seed, bias=True)
    new, test = found["new"], found["new test"]
    x, images = features(last.net, new.floats()), test.floats()
    spoilt = {n: features(last.net, v) for n, v in foreign_images(images, args.seed).items()}
    spoilt["old classes"] = features(last.net, found["old test"].floats())
    told = features(last.net, images)
    for count in p.images:
        kept = some(new.labels, count, seed)
        sizes = len(new.class_names), None, None  # no trained head, nothing held out
        yield "few images", count, Problem(
            x[kept], new.labels[kept], *sizes, told, test.labels, spoilt
        ), p.few_images  # fmt: skip


def own_task(args: argparse.Namespace, p: Plan, found: dict[str, ImageData], seed: int) -> Problem:
    """A network and the images that it was trained on, but for a fifth."""
    test, images = found["test"], found["test"].floats()
    train, held = split_off(found["train"], seed)
    *_, last = train_convnet(train, p.dim, epochs=p.epochs, seed=seed, bias=True)
    net = last.net
    spoilt = {n: features(net, v) for n, v in foreign_images(images, args.seed).items()}
    if args.root is not None:
        spoilt["clothes"] = features(net, found["old test"].floats())
    validation = features(net, held.floats()), held.labels
    x, told = features(net, train.floats()), features(net, images)
    sizes = len(train.class_names), pa.find_head(net), validation
    return Problem(x, train.labels, *sizes, told, test.labels, spoilt)


def split_off(images: ImageData, seed: int) -> tuple[ImageData, ImageData]:
    """Four fifths to train on, one to hold out."""
    first, last = pa.datasets.stratified_split(images.labels, test_fraction=0.2, seed=seed)
    return rows(images, first), rows(images, last)


def some(labels: Tensor, count: int, seed: int) -> Tensor:
    """Indices of `count` images of each class, at random."""
    order = torch.randperm(len(labels), generator=Generator().manual_seed(seed))
    return torch.cat([order[labels[order] == c][:count] for c in labels.unique()])


def judge(problem: Problem, p: Plan, budget: Budget, seed: int) -> dict[str, Any]:
    """Scores of each layer, by row where they are means over rows."""
    p_, found, trained = problem, {}, None
    layers = fit_layers(p_.x, p_.y, p_.num_classes, p_.trained, p_.validation, budget, seed)
    for name, layer in layers:
        told = read(layer, p_.test_x, p_.test_y)
        trained = told if trained is None else trained
        scores = analysis.row_scores(told.probs, p_.test_y)
        error = analysis.calibration_error(told.probs, p_.test_y, draws=p.draws)
        gap = analysis.calibration_error_difference(
            told.probs, trained.probs, p_.test_y, draws=p.draws
        )
        curve = analysis.reliability_curve(told.probs, p_.test_y, num_bins=10, bins="mass")
        found[name] = {
            "accuracy": scores.correct.tolist(), "nll": scores.nll.tolist(),
            "brier": scores.brier.tolist(), "ece": error._asdict(), "ece_gap": gap._asdict(),
            "curve": [part.tolist() for part in curve], "rhat": told.rhat,
            "auroc": {kind: foreign(layer, told, x) for kind, x in p_.foreign.items()},
        }  # fmt: skip
    return found


def foreign(layer: Any, told: Any, x: Tensor) -> dict[str, Any]:
    """How well two scores find features x of images of another kind."""
    other = read(layer, x)
    return {
        name: {
            **analysis.auroc(getattr(told, name), getattr(other, name))._asdict(),
            "fpr": analysis.false_positive_rate(
                getattr(told, name), getattr(other, name), draws=2
            ).value,
        }
        for name in ("entropy", "own")
    }


def draw(numbers: dict[str, Any], out: Path) -> None:
    """Reliability, nll against images a class, and AUROC of the entropy."""
    first = [name for name in numbers if name.startswith("few")]
    chosen = ["own task", first[0], first[-1]]
    panels = new_row(3, 11.0, 4.4)
    for ax, name in zip(panels, chosen, strict=True):
        curves = {layer: numbers[name][layer]["curve"] for layer in DRAWN}
        pa.plots.plot_reliability(curves, ax=ax)
        ax.set_title(name, fontsize=LABEL_SIZE, pad=44)
    panels[0].figure.savefig(out / "reliability.png", dpi=150)
    sizes = [int(name.split()[2]) for name in first]
    series = {layer: np.array([numbers[n][layer]["nll"] for n in first]).T for layer in DRAWN}
    ax = pa.plots.plot_against_size(sizes, series)
    ax.figure.savefig(out / "nll_against_images.png", dpi=150)
    panels = new_row(2, 11.0, 4.6)
    for ax, name in zip(panels, ("own task", first[0]), strict=True):
        layers = numbers[name]
        kinds = list(layers["trained head"]["auroc"])
        series = {
            kind: np.array([layers[layer]["auroc"][kind]["entropy"][:2] for layer in layers]).T
            for kind in kinds
        }
        pa.plots.plot_scores(list(layers), series, xlabel="AUROC of the entropy", ax=ax)
        ax.set_title(name, fontsize=LABEL_SIZE, pad=32)
    panels[0].figure.savefig(out / "foreign_images.png", dpi=150)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--networks", type=int, help="networks, each with its own seed")
    parser.add_argument("--only", choices=("own", "few"), help="measure one task, no tables")
    args = arguments(__doc__, argv, None, parser)
    if args.root is not None and not (args.root / MNIST[0]).is_file():
        parser.exit(2, f"{parser.prog}: {args.root} lacks {MNIST[0]}\n")
    p = plan(args)
    folder = args.out / "readings"
    folder.mkdir(exist_ok=True)
    every: dict[str, list[dict[str, Any]]] = {}
    for seed in range(args.seed, args.seed + (args.networks or p.networks)):
        for setting, count, problem, budget in problems(args, p, seed):
            name = setting if count == 0 else f"{setting}, {count} a class"
            path = folder / f"{setting.replace(' ', '_')}_{count}_{seed}.json"
            found = kept_numbers(path, lambda q=problem, b=budget, s=seed: judge(q, p, b, s))
            every.setdefault(name.replace(",", ""), []).append(found)
    if args.only is not None:
        return
    numbers = {name: summary(each) for name, each in every.items()}
    for name, found in numbers.items():
        print(f"\n{name}\n\n{tables(found)}", flush=True)
    draw(numbers, args.out)
    save_numbers(args.out / "numbers.json", {"seed": args.seed, "tasks": numbers})


if __name__ == "__main__":
    main()
