"""
A mixture of a classifier's features
====================================

A Dirichlet-process Gaussian mixture is fitted to the penultimate activations of a network, on one
half of images that it was not trained on, without their labels. Three questions:

* Do its clusters know the classes? The partition of least expected variation of information is
  put against the labels: adjusted Rand index and V-measure (both 1 if equal, 0 by chance and 0
  if one cluster holds all), and a table of clusters by classes. Not where a class has one image.
* How complex is the law? Relative entropy to the diagonal Gaussian of the same means and
  variances, and total correlation of its coordinates (nats; mean, smallest and largest over the
  kept draws).
* Does it hold for other images? Mean log density of the other half (nats per image, higher is
  better, one standard error over images) beside that of one Gaussian fitted by maximum
  likelihood and of the same prior with a single component.

Full size (``--root``): the ResNet-56 features of CIFAR-10 (D = 64, 10 000 lossy JPEG copies of
test images) and the activations of an ImageNet MobileNetV2 (D = 1280) on 1000 sample images, on
their first 20 principal axes: the axes come from the half that is fitted. A few minutes on one
CPU core. ``--quick``: a ConvNet on digits, seconds.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pretrained
import torch
from mixtures import Fitted, Run, complexity, fit, rhat_in_words
from runs import arguments, halves, held_out_digits, markdown, save_numbers, train_convnet
from sklearn.metrics import adjusted_rand_score, v_measure_score
from torch import Tensor
from torch.distributions import MultivariateNormal

import probact as pa
from probact.plots.style import INK, LABEL_SIZE, TICK_SIZE, new_axes, tidy

RESNET56_FEATURES = "weights/cifar10_resnet56_test_features.npz"
NEEDS = [RESNET56_FEATURES, pretrained.IMAGENET_IMAGES, pretrained.MOBILENET]
CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
AXES = 20  # principal axes kept where there are fewer images than dimensions


class Source(NamedTuple):
    """Features of a network, and the two halves of their rows."""

    name: str
    x: Tensor  # (N, D) float64
    labels: Tensor  # (N,)
    class_names: tuple[str, ...]
    fitting: Tensor  # (n,) rows
    scoring: Tensor  # (m,) rows


def sources(args: argparse.Namespace) -> Iterator[Source]:
    """The features of every network."""
    if args.quick:
        train, unseen = held_out_digits()
        *_, last = train_convnet(train, 6, epochs=10, seed=args.seed)
        held_out = pa.capture(last.net, (unseen.floats(), unseen.labels))
        yield source("ConvNet, digits", held_out, unseen.class_names, args.seed)
        return
    stored = np.load(args.root / RESNET56_FEATURES, allow_pickle=False)
    x, labels = torch.from_numpy(stored["features"]), torch.from_numpy(stored["labels"])
    features = pa.Features(x.double(), labels.long())  # stored as float16 and uint8
    yield source("ResNet-56, CIFAR-10", features, CIFAR10_CLASSES, args.seed)
    net, batches = pretrained.mobilenet(args.root), pretrained.imagenet_batches(args.root)
    names = pa.datasets.jpeg_archive(args.root / pretrained.IMAGENET_IMAGES, indices=[0])
    yield source("MobileNetV2, ImageNet", pa.capture(net, batches), names.class_names, args.seed)


def source(name: str, features: pa.Features, class_names: tuple[str, ...], seed: int) -> Source:
    """Two halves, in few dimensions where the half to fit has not five images a dimension."""
    x, labels = features.x.double(), features.labels
    assert labels is not None
    fitting, scoring = halves(labels, seed)
    if len(fitting) < 5 * x.shape[1]:
        centre = x[fitting].mean(0)
        *_, right = torch.linalg.svd(x[fitting] - centre, full_matrices=False)
        x = (x - centre) @ right[:AXES].T
    return Source(name, x, labels, class_names, fitting, scoring)


def densities(found: Fitted, source: Source) -> dict[str, tuple[float, float]]:
    """Mean log density of the scoring half and its standard error, of three laws."""
    x, unseen = source.x[source.fitting], source.x[source.scoring]
    gaussian = MultivariateNormal(x.mean(0), torch.cov(x.T, correction=0))
    scores = {
        "DP-GMM": found.predictive.log_prob(unseen),
        "one component": found.model.base.posterior(x).predictive().log_prob(unseen),
        "Gaussian": gaussian.log_prob(unseen),
    }
    root = len(unseen) ** 0.5
    return {name: (float(s.mean()), float(s.std()) / root) for name, s in scores.items()}


def against_classes(clusters: Tensor, labels: Tensor) -> dict[str, Any] | None:
    """Agreement of clusters (n,) with labels (n,), and how often each pair occurs, (K, C)."""
    if int(torch.bincount(labels).max()) == 1:
        return None
    table = torch.zeros(int(clusters.max()) + 1, int(labels.max()) + 1, dtype=torch.int64)
    table.index_put_((clusters, labels), torch.ones_like(labels), accumulate=True)
    return {
        "adjusted_rand_index": float(adjusted_rand_score(labels, clusters)),
        "v_measure": float(v_measure_score(labels, clusters)),
        "table": table.tolist(),
    }


def first_name(source: Source, label: int) -> str:
    """The class's first name: ImageNet gives several, divided by commas."""
    return source.class_names[label].split(",")[0]


def measure(source: Source, run: Run) -> tuple[dict[str, Any], Fitted]:
    """All readings of one network's features, and the fit that they are of."""
    x, labels = source.x[source.fitting], source.labels[source.fitting]
    found = fit(x, run, progress=False)
    best = pa.analysis.point_partition(found.posterior, max_draws=50)
    sizes = torch.bincount(best.labels)
    largest = {
        str(k): [first_name(source, label) for label in labels[best.labels == k][:8].tolist()]
        for k in sizes.argsort(descending=True)[:10].tolist()
    }
    numbers = {
        "num_images": len(x), "dim": x.shape[1], **complexity(found, x, run),
        "sizes": sizes.tolist(), "classes": against_classes(best.labels, labels),
        "first_members": largest, "log_density": densities(found, source),
    }  # fmt: skip
    return numbers, found


def draw_samples(found: Fitted, source: Source, path: Path, seed: int) -> None:
    """New features beside unseen ones on two principal axes, coloured by component."""
    mixture, unseen = found.predictive.mixtures[-1], source.x[source.scoring]
    fresh = mixture.sample((len(unseen),), seed=seed)  # (n, D)
    axes = torch.linalg.svd(unseen - unseen.mean(0), full_matrices=False).Vh[:2].T  # (D, 2)
    weights = mixture.weights.log()
    of = [(mixture.component_log_prob(x) + weights).argmax(1) for x in (unseen, fresh)]
    known = [f"component {k + 1}" for k in range(len(mixture.weights) - 1)]
    observed, sampled = ((x - unseen.mean(0)) @ axes for x in (unseen, fresh))
    panels = pa.plots.plot_projected_activations(
        observed, of[0], sampled, of[1], class_names=[*known, "new component"], unit="feature"
    )
    panels[0].figure.savefig(path, dpi=150)


def report(name: str, numbers: dict[str, Any], class_names: Sequence[str]) -> str:
    """Readings of one network in words and tables."""
    lines = [f"\n{name}: {numbers['num_images']} images fitted, D = {numbers['dim']}\n"]
    readings = ("num_components", "relative_entropy", "total_correlation")
    rows = [
        [key, *(f"{numbers[key][part]:.3f}" for part in ("mean", "min", "max"))]
        for key in readings
    ]
    lines.append(markdown(["reading", "mean", "min", "max"], rows))
    lines.append(f"R-hat of num_components: {rhat_in_words(numbers['rhat'])}\n")
    rows = [[k, f"{m:.3f} ± {e:.3f}"] for k, (m, e) in numbers["log_density"].items()]
    lines.append(markdown(["law", "held-out log density, nats"], rows))
    if numbers["classes"]:
        agreement = numbers["classes"]
        lines.append(
            f"\nadjusted Rand index {agreement['adjusted_rand_index']:.3f}, "
            f"V-measure {agreement['v_measure']:.3f}\n"
        )
        rows = [[str(k), *map(str, row)] for k, row in enumerate(agreement["table"])]
        lines.append(markdown(["cluster", *class_names], rows))
    else:
        rows = [
            [k, str(numbers["sizes"][int(k)]), ", ".join(names)]
            for k, names in numbers["first_members"].items()
        ]
        lines.append(f"\n{markdown(['cluster', 'images', 'classes of the first ones'], rows)}")
    return "\n".join(lines)


def draw(numbers: dict[str, Any], class_names: Sequence[str], path: Any) -> None:
    """Clusters by classes: the share of each class that a cluster holds."""
    counts = np.array(numbers["classes"]["table"], dtype=float)
    ax = new_axes(1.6 + 0.42 * counts.shape[1], 1.4 + 0.24 * len(counts))
    shares = counts / counts.sum(0, keepdims=True)
    image = ax.imshow(shares, cmap="viridis", vmin=0.0, vmax=1.0, aspect="auto")
    tidy(ax, xlabel="class", ylabel="cluster, largest first")
    ax.set_xticks(range(len(class_names)), class_names, rotation=45, ha="right")
    bar = ax.figure.colorbar(image, ax=ax)
    bar.set_label("share of the class", fontsize=LABEL_SIZE, color=INK)
    bar.ax.tick_params(labelsize=TICK_SIZE)
    ax.figure.savefig(path, dpi=150)


def main(argv: Sequence[str] | None = None) -> None:
    args = arguments(__doc__, argv, NEEDS)
    run = Run(draws=100, tune=100, kept=20, num_samples=10_000, moves=2, seed=args.seed)
    if args.quick:
        run = Run(draws=60, tune=60, kept=10, num_samples=2000, moves=2, seed=args.seed)
    table = {}
    for index, each in enumerate(sources(args)):
        table[each.name], found = measure(each, run)
        numbers = table[each.name]
        print(report(each.name, numbers, each.class_names), flush=True)
        if numbers["classes"]:
            draw(numbers, each.class_names, args.out / f"clusters_{index}.png")
        draw_samples(found, each, args.out / f"samples_{index}.png", args.seed)
    save_numbers(args.out / "numbers.json", {"seed": args.seed, "sources": table})


if __name__ == "__main__":
    main()
