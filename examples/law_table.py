"""
Which law do activations follow?
================================

Seo, Lee & Han (2021) take the direction of a penultimate activation of class i to follow a von
Mises-Fisher law around the class's weight w_i, with one concentration for all classes: the tied
vMF. Here that claim stands against rivals that each change one part of it
(``pa.models.activation_laws``), on the activations of several networks.

Every law is fitted on one half of images that the network was not trained on, and scored on the
other half by its mean log density (nats per activation, higher is better): activations of
training images are more concentrated than those a law has to hold for. Laws with a spread per
class take two images a class and are left out where there is one. Gains over the tied vMF are
paired by image, and so are their standard errors.

The comparison is made twice: on the activations as they are, and on centred ones, from which the
mean activation of the fitting half is subtracted (and the mean of the rows from W). Softmax does
not see a vector that is added to every row of W, but the directions of the rows change with it.

Full size (``--root``): our ConvNet on digits and MNIST, a LeNet on MNIST, a ResNet-56 on
CIFAR-10 (lossy JPEG copies) and a MobileNetV2 on 1000 ImageNet images, one a class, of an
unknown split; about ten minutes on two CPU cores. ``--quick``: the ConvNets on digits, trained
briefly.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pretrained
import torch
from runs import arguments, halves, held_out_digits, markdown, save_numbers, train_convnet
from torch import Tensor, nn

import probact as pa

RESNET56_FEATURES = "weights/cifar10_resnet56_test_features.npz"
NEEDS = [
    "MNIST/raw/train-images-idx3-ubyte",
    pretrained.MNIST_TEST,
    pretrained.LENET,
    pretrained.cifar10_resnet_file(56),
    RESNET56_FEATURES,
    pretrained.IMAGENET_IMAGES,
    pretrained.MOBILENET,
]


class Source(NamedTuple):
    """A network's head and its activations on images that it was not trained on."""

    name: str
    images: str  # what they are, in words
    features: pa.Features
    head: pa.Head


def captured(name: str, images: str, net: nn.Module, data: object) -> Source:
    """The source of a network and its prepared images."""
    features = pa.capture(net, data)
    head = pa.find_head(net, num_classes=int(features.labels.max()) + 1)
    return Source(name, images, features, head)


def our_networks(args: Any) -> Iterator[Source]:
    """ConvNets trained here."""
    train, unseen = held_out_digits()
    for dim, epochs in ((2, 30), (32, 30)):
        epochs = 8 if args.quick else epochs
        *_, last = train_convnet(train, dim, epochs=epochs, seed=args.seed)
        held_out = unseen.floats(), unseen.labels
        yield captured(f"digits, D = {dim}", "digits not trained on", last.net, held_out)
    if not args.quick:
        train, unseen = (pa.datasets.mnist(args.root, train=t) for t in (True, False))
        *_, last = train_convnet(train, 32, epochs=3, seed=args.seed, num_images=20_000)
        held_out = unseen.floats(), unseen.labels
        yield captured("MNIST, D = 32", "MNIST test images", last.net, held_out)


def networks_from_files(root: Path) -> Iterator[Source]:
    """Networks that others trained."""
    mnist = pa.datasets.mnist(root, train=False)
    lenet, data = pretrained.mnist_lenet(root), (mnist.images / 256.0, mnist.labels)
    yield captured("MNIST, LeNet", "MNIST test images", lenet, data)
    stored = np.load(root / RESNET56_FEATURES, allow_pickle=False)
    x, labels = torch.from_numpy(stored["features"]), torch.from_numpy(stored["labels"])
    features = pa.Features(x.float(), labels.long())  # stored as float16 and uint8
    head = pa.find_head(pretrained.cifar10_resnet(root, 56))
    yield Source("CIFAR-10, ResNet-56", "CIFAR-10 test images (JPEG)", features, head)
    net, batches = pretrained.mobilenet(root), pretrained.imagenet_batches(root)
    yield captured("ImageNet, MobileNetV2", "ImageNet samples of unknown split", net, batches)


def measure(source: Source, seed: int) -> dict[str, Any]:
    """Held-out densities of all laws, and how far the tied vMF holds: as they are, and centred."""
    x, labels = source.features
    assert labels is not None
    weight, bias = source.head.weight.float(), source.head.bias
    fitting, scoring = (pa.Features(x[rows], labels[rows]) for rows in halves(labels, seed))
    centre = fitting.x.mean(0)
    centred = (pa.Features(half.x - centre, half.labels) for half in (fitting, scoring))
    logits = scoring.x @ weight.T + (0.0 if bias is None else bias)
    laws, fit = compare(fitting, scoring, weight, seed)
    laws_centred, fit_centred = compare(*centred, weight - weight.mean(0), seed)
    return {
        "dim": weight.shape[1],
        "num_classes": len(weight),
        "fitted_on": f"{len(fitting.x)} {source.images}",
        "scored_on": f"{len(scoring.x)} others",
        "seed": seed,
        "accuracy": float((logits.argmax(1) == scoring.labels).double().mean()),
        "laws": laws,
        "readings": fit,
        "laws_centred": laws_centred,
        "readings_centred": fit_centred,
    }


def compare(
    fitting: pa.Features, scoring: pa.Features, weight: Tensor, seed: int
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """[mean, error, gain over the tied vMF, error] of each law, and the tied law's readings."""
    laws = pa.models.fit_activation_laws(fitting.unit().x, fitting.labels, weight)
    scores = pa.models.held_out_log_density(laws, scoring.unit().x, scoring.labels)
    kappa = float(laws["tied vMF"].parameters[1][0])
    return {name: list(s) for name, s in scores.items()}, readings(scoring, weight, kappa, seed)


def readings(scoring: pa.Features, weight: Tensor, kappa: float, seed: int) -> dict[str, float]:
    """`directional_fit` of the scoring half, on the classes that occur in it."""
    classes, labels = scoring.labels.unique(return_inverse=True)
    fit = pa.analysis.directional_fit(scoring.x, labels, weight[classes], kappa, seed=seed)
    law = pa.models.VMFClassifier(weight, kappa)
    own = pa.special.bessel_ratio(law.fixed_concentration, law.dim) * law.directions  # (C, D)
    norms = torch.linalg.vector_norm(weight.double(), dim=1)
    return {
        "kappa": kappa,
        "mean_cosine": fit.mean_cosine,
        "ks_distance": fit.ks_distance,
        "ks_pvalue": fit.ks_pvalue,
        "norm_correlation": fit.norm_correlation,
        "non_negative": fit.non_negative,
        "model_non_negative": fit.model_non_negative,
        "smallest_class_cosine": min(fit.class_cosine),
        "largest_class_cosine": max(fit.class_cosine),
        "mean_length": float(scoring.unit().x.mean(0).norm()),  # what all classes share
        "model_mean_length": float(own[scoring.labels].mean(0).norm()),
        "largest_mean_angle": max(fit.mean_angle),
        "smallest_weight_norm": float(norms.min()),
        "largest_weight_norm": float(norms.max()),
    }


def density_table(table: dict[str, dict[str, Any]], key: str) -> str:
    """Laws in rows, sources in columns; gains over the tied vMF in the second part."""
    names = list(dict.fromkeys(name for entry in table.values() for name in entry[key]))

    def rows(first: int) -> list[list[str]]:
        return [
            [name, *(_cell(entry[key].get(name), first) for entry in table.values())]
            for name in names
        ]

    density = markdown(["mean log density", *table], rows(0))
    return f"{density}\n\n{markdown(['gain over the tied vMF', *table], rows(2))}"


def _cell(values: list[float] | None, first: int) -> str:
    """Mean ± error, or gain ± error, of one law on one source."""
    if values is None:
        return "left out"
    sign = "+" if first else ""
    return f"{values[first]:{sign}.3f} ± {values[first + 1]:.3f}"


def readings_table(table: dict[str, dict[str, Any]], key: str) -> str:
    """Readings in rows, sources in columns."""
    names = list(next(iter(table.values()))[key])
    rows = [[name, *(f"{entry[key][name]:.3g}" for entry in table.values())] for name in names]
    rows.insert(0, ["accuracy", *(f"{entry['accuracy']:.4f}" for entry in table.values())])
    return markdown(["reading", *table], rows)


def draw(table: dict[str, dict[str, Any]], folder: Path) -> None:
    """One figure a source."""
    for index, (name, entry) in enumerate(table.items()):
        laws = entry["laws"]
        ax = pa.plots.plot_law_comparison(
            list(laws),
            [values[0] for values in laws.values()],
            [values[1] for values in laws.values()],
            reference=laws["tied vMF"][0],
            reference_name="tied vMF",
        )
        ax.figure.suptitle(name, fontsize=9)
        ax.figure.savefig(folder / f"laws_{index}.png", dpi=150)


def main(argv: Sequence[str] | None = None) -> None:
    args = arguments(__doc__, argv, NEEDS)
    table = {}
    for source in our_networks(args):
        table[source.name] = measure(source, args.seed)
    if not args.quick:
        for source in networks_from_files(args.root):
            table[source.name] = measure(source, args.seed)
    for title, tail in (("as they are", ""), ("centred", "_centred")):
        print(f"\nactivations {title}\n\n{density_table(table, 'laws' + tail)}")
        print(f"\n{readings_table(table, 'readings' + tail)}")
    draw(table, args.out)
    save_numbers(args.out / "law_table.json", table)


if __name__ == "__main__":
    main()
