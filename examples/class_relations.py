"""
Relations between classes
=========================

Figure 3 of Seo, Lee & Han (2021): p_T(j | i), the probability that a final layer gives to class
j when activations are drawn from the von Mises-Fisher law of class i (eq. 7). Heads trained on
the same classes should agree on which classes are alike, whatever their network.

Five ImageNet heads of 256 to 1280 dimensions are compared in two ways: with the paper's kappa =
85 in each, and with each head's kappa chosen for one mean cosine between an activation and its
class weight. One kappa means very different spreads in different dimensions; 0.5 is the mean
cosine that kappa = 85 has at the 128 dimensions of the paper's CIFAR-100 networks. The figures
show each head's log p_T with the classes in one order, the leaves of a hierarchical clustering
of the last head's directions; with many classes the colours end where 1 in 1000 of the entries
off the diagonal lie. The table gives the correlation of log p_T off the diagonal between heads,
beside that of the cosines between class weights, which takes no law at all.

Full size (``--root``, ``weights/imagenet_heads.safetensors``): 1000 classes, ``--draws``
activations a class, about two minutes on two CPU cores. ``--quick``: three ConvNets on digits,
seconds.
"""

import argparse
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pretrained
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from runs import arguments, held_out_digits, markdown, save_numbers, train_convnet
from scipy.cluster.hierarchy import leaves_list, linkage
from torch import Tensor
from torch.nn.functional import normalize

import probact as pa

KAPPA = 85.0
MEAN_COSINE = 0.5
HEADS = (
    "mobilenet_v1_0.25_128", "mobilenet_v1_0.5_160", "mobilenet_v1_0.75_192",
    "mobilenet_v1_1.0_224", "mobilenet_v2_1.0_224",
)  # fmt: skip


class Relations(NamedTuple):
    """p_T of one head at one kappa."""

    probs: NDArray[np.float64]  # (C, C)
    numbers: dict[str, float]


def imagenet_heads(root: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Weights (1000, d) of the five heads, and the names of the classes."""
    path = root / pretrained.HEADS
    weights = {k: pa.find_head(path, name=f"{k}.weight").weight.float() for k in HEADS}
    names = np.load(root / pretrained.IMAGENET_IMAGES, allow_pickle=False)["class_names"]
    return weights, tuple(map(str, names))


def digits_heads(seed: int) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Weights (10, D) of three small networks."""
    train, _ = held_out_digits()
    weights = {}
    for dim in (8, 16, 32):
        *_, last = train_convnet(train, dim, epochs=6, seed=seed + dim, width=8)
        weights[f"ConvNet, D = {dim}"] = last.net.head.weight.detach()
    return weights, train.class_names


def relations(law: pa.models.VMFClassifier, draws: int, seed: int) -> Relations:
    """p_T with its Monte Carlo error, relative to the entry, and how peaked its rows are."""
    estimate = law.estimate_class_relations(draws, seed=seed)
    probs, error = estimate.probs.double(), estimate.standard_error.double()
    off = ~torch.eye(len(probs), dtype=torch.bool)
    kappa = law.fixed_concentration
    return Relations(
        probs.numpy(),
        {
            "kappa": float(kappa),
            "mean_cosine": float(pa.special.bessel_ratio(kappa, law.dim)),
            "mean_own_prob": float(probs.diagonal().mean()),
            "mean_row_entropy": float(torch.special.entr(probs).sum(1).mean()),  # nats
            "median_relative_error": float((error / probs)[off].median()),
            "sd_log_off_diagonal": float(probs[off].log().std()),
        },
    )


def correlations(matrices: dict[str, NDArray[np.float64]]) -> dict[str, float]:
    """Pearson's, of the entries off the diagonal, for each pair of heads."""
    off = ~np.eye(len(next(iter(matrices.values()))), dtype=bool)
    return {
        f"{a} / {b}": float(np.corrcoef(matrices[a][off], matrices[b][off])[0, 1])
        for a, b in combinations(matrices, 2)
    }


def within(probs: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """p_T cut above, and the floor, where 1 in 1000 of the other entries off the diagonal lie.

    The diagonal would else take all of the colours.
    """
    off = ~np.eye(len(probs), dtype=bool)
    low, high = np.quantile(probs[off], [0.001, 0.999])
    return np.minimum(probs, high), float(low)


def draw(
    found: dict[str, Relations], order: NDArray[np.int32], names: Sequence[str], path: Path
) -> None:
    """Every head's log p_T on one figure, three panels a row."""
    rows = -(-len(found) // 3)
    figure = Figure(figsize=(14.5, 4.4 * rows))
    figure.set_layout_engine("constrained", wspace=0.09, hspace=0.02)
    axes = figure.subplots(rows, 3, squeeze=False).ravel()
    few = len(names) <= 30
    for ax, (head, relation) in zip(axes, found.items(), strict=False):
        shown, floor = (relation.probs, None) if few else within(relation.probs)
        class_names = names if few else None  # there is no room for a thousand
        pa.plots.plot_class_relations(
            shown, order=order, class_names=class_names, floor=floor, ax=ax
        )
        kappa, cosine = relation.numbers["kappa"], relation.numbers["mean_cosine"]
        title = f"{head}\n$\\kappa$ = {kappa:.4g}, mean cosine {cosine:.3f}"
        ax.set_title(title, fontsize=9)
    for ax in axes[len(found) :]:
        ax.set_axis_off()
    figure.savefig(path, dpi=130)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=4000, help="activations a class")
    args = arguments(__doc__, argv, [pretrained.HEADS, pretrained.IMAGENET_IMAGES], parser)
    weights, names = digits_heads(args.seed) if args.quick else imagenet_heads(args.root)
    directions = {head: normalize(w.double(), dim=1) for head, w in weights.items()}
    order = leaves_list(linkage(list(directions.values())[-1].numpy(), "ward"))
    cosines = {head: (mu @ mu.T).numpy() for head, mu in directions.items()}
    settings = {
        f"kappa = {KAPPA:g}": lambda w: pa.models.VMFClassifier(w, KAPPA),
        f"mean cosine {MEAN_COSINE:g}": lambda w: pa.models.VMFClassifier.from_mean_cosine(
            w, MEAN_COSINE
        ),
    }
    agreement = {"class cosines": correlations(cosines)}
    readings: dict[str, dict[str, Any]] = {}
    for index, (setting, law) in enumerate(settings.items()):
        found = {h: relations(law(w), args.draws, args.seed) for h, w in weights.items()}
        readings[setting] = {head: r.numbers for head, r in found.items()}
        agreement[setting] = correlations({head: np.log(r.probs) for head, r in found.items()})
        path = args.out / ("relations_same_kappa.png", "relations_same_cosine.png")[index]
        draw(found, order, names, path)
        header = ["head", "D", *next(iter(readings[setting].values()))]
        rows = [
            [head, str(weights[head].shape[1]), *(f"{v:.4g}" for v in r.values())]
            for head, r in readings[setting].items()
        ]
        print(f"\n{setting}\n{markdown(header, rows)}")
    pairs = [[p, *(f"{a[p]:.3f}" for a in agreement.values())] for p in agreement["class cosines"]]
    print(f"\ncorrelations off the diagonal\n{markdown(['heads', *agreement], pairs)}")
    numbers = {"seed": args.seed, "draws": args.draws, "readings": readings}
    save_numbers(args.out / "numbers.json", {**numbers, "correlations": agreement})


if __name__ == "__main__":
    main()
