"""
Accuracy when norms are dropped
===============================

Table 1 of Seo, Lee & Han (2021): if only the direction of a penultimate activation a says which
class an image is of, a classifier argmax(W a + b) should lose little when a, the rows w_i of W,
or both are scaled to unit length. Without a bias the length of a changes nothing at all; with
one it decides how much the bias weighs. The table shows the accuracy as trained and after each
change, with the change's standard error, paired by image::

    a           argmax W a/|a| + b
    w           argmax w_i a / |w_i| + b_i
    a and w     both
    no b        argmax W a, whatever the length of a
    w, no b     argmax w_i a / |w_i|, whatever the length of a

Full size (``--root``): our ConvNet on digits and on MNIST, a LeNet on MNIST, four ResNets on
CIFAR-10 and a MobileNetV2 on 1000 ImageNet images, about four minutes on two CPU cores. The
CIFAR-10 images are lossy JPEG copies, on which the networks lose about ten points; the ImageNet
ones are one a class, of an unknown split. ``--quick``: ConvNets on digits, with and without a
bias, seconds.

The paper's networks differ from these and its printed rates are not at hand, so that none stand
beside the measured ones.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pretrained
from runs import arguments, held_out_digits, markdown, save_numbers, train_convnet
from torch import Tensor, nn
from torch.nn.functional import normalize

import probact as pa
from probact.plots.style import DASHES, INK, LINES, new_axes, tidy

DEPTHS = (20, 32, 44, 56)
NEEDS = [
    "MNIST/raw/train-images-idx3-ubyte",
    pretrained.MNIST_TEST,
    pretrained.LENET,
    pretrained.CIFAR10_IMAGES,
    *map(pretrained.cifar10_resnet_file, DEPTHS),
    pretrained.IMAGENET_IMAGES,
    pretrained.MOBILENET,
]
CHANGES = ("a", "w", "a and w", "no b", "w, no b")


def table_row(features: pa.Features, weight: Tensor, bias: Tensor | None) -> dict[str, Any]:
    """Accuracy as trained, and after each change with the paired difference and its error."""
    a, w = features.x.double(), weight.double()
    b = 0.0 if bias is None else bias.double()
    unit_a, unit_w = features.unit().x, normalize(w, dim=1)
    logits = {
        "as trained": a @ w.T + b,
        "a": unit_a @ w.T + b,
        "w": a @ unit_w.T + b,
        "a and w": unit_a @ unit_w.T + b,
        "no b": a @ w.T,
        "w, no b": a @ unit_w.T,
    }
    right = {k: (v.argmax(1) == features.labels).double() for k, v in logits.items()}  # (N,) each
    trained = right.pop("as trained")
    root = len(trained) ** 0.5
    changes = {
        name: {"accuracy": float(r.mean()), "change": float((r - trained).mean()),
               "standard_error": float((r - trained).std() / root)}
        for name, r in right.items()
    }  # fmt: skip
    share = float(trained.mean())
    error = (share * (1.0 - share)) ** 0.5 / root
    return {
        "num_images": len(trained), "dim": a.shape[1], "num_classes": len(w),
        "has_bias": bias is not None, "accuracy": share, "standard_error": error,
        "after": changes,
    }  # fmt: skip


def pretrained_networks(root: Path) -> Iterator[tuple[str, nn.Module, object]]:
    """Name, network and prepared images of every network read from files."""
    mnist = pa.datasets.mnist(root, train=False)
    yield "LeNet, MNIST", pretrained.mnist_lenet(root), (mnist.images / 256.0, mnist.labels)
    for depth in DEPTHS:
        net = pretrained.cifar10_resnet(root, depth)
        yield f"ResNet-{depth}, CIFAR-10", net, pretrained.cifar10_batches(root)
    yield "MobileNetV2, ImageNet", pretrained.mobilenet(root), pretrained.imagenet_batches(root)


def trained_networks(args: Any) -> Iterator[tuple[str, nn.Module, object]]:
    """Name, network and unseen images of every network trained here."""
    train, unseen = held_out_digits()
    other = ("D = 32, bias", 32, True) if args.quick else ("D = 2", 2, False)
    for kind, dim, bias in [("D = 32", 32, False), other]:
        epochs = 30 if dim == 2 else 12
        *_, last = train_convnet(train, dim, epochs=epochs, seed=args.seed, bias=bias)
        yield f"ConvNet ({kind}), digits", last.net, (unseen.floats(), unseen.labels)
    if not args.quick:
        train, unseen = (pa.datasets.mnist(args.root, train=t) for t in (True, False))
        *_, last = train_convnet(train, 32, epochs=3, seed=args.seed, num_images=20_000)
        yield "ConvNet (D = 32), MNIST", last.net, (unseen.floats(), unseen.labels)


def report(table: dict[str, dict[str, Any]]) -> str:
    """The table in points of a hundred."""
    rows = []
    for name, row in table.items():
        share = f"{100 * row['accuracy']:.2f} ± {100 * row['standard_error']:.2f}"
        after = [row["after"][change] for change in CHANGES]
        points = ((100 * a["change"], 100 * a["standard_error"]) for a in after)
        rows.append([name, share, *(f"{p:+.2f} ± {error:.2f}" for p, error in points)])
    return markdown(["network", "as trained, %", *CHANGES], rows)


def draw(table: dict[str, dict[str, Any]], path: Path) -> None:
    """Changes in accuracy, one row per network."""
    ax = new_axes(7.0, 1.4 + 0.45 * len(table))
    tidy(ax, xlabel="change of accuracy (points, ± 1 standard error)", ylabel="", grid="x")
    height = np.arange(len(table))
    for index, change in enumerate(CHANGES):
        after = [row["after"][change] for row in table.values()]
        ax.errorbar(
            [100 * a["change"] for a in after],
            height + 0.14 * (index - 2),
            xerr=[100 * a["standard_error"] for a in after],
            fmt="osD^v"[index], color=LINES[index], markersize=4, linewidth=1.0, label=change,
        )  # fmt: skip
    ax.axvline(0.0, color=INK, linewidth=0.8, linestyle=DASHES[1])
    ax.set_yticks(height, list(table))
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.legend(title="what changes", fontsize=8, title_fontsize=8, frameon=False, loc="upper left",
              bbox_to_anchor=(1.01, 1.0))  # fmt: skip
    ax.figure.savefig(path, dpi=150)


def main(argv: Sequence[str] | None = None) -> None:
    args = arguments(__doc__, argv, NEEDS)
    networks = list(trained_networks(args))
    if not args.quick:
        networks += pretrained_networks(args.root)
    table = {}
    for name, net, data in networks:
        features = pa.capture(net, data)
        head = pa.find_head(net, num_classes=int(features.labels.max()) + 1)
        table[name] = table_row(features, head.weight, head.bias)
    print(report(table))
    print("printed rates of the paper: not available")
    draw(table, args.out / "normalised_accuracy.png")
    save_numbers(args.out / "numbers.json", {"seed": args.seed, "networks": table})


if __name__ == "__main__":
    main()
