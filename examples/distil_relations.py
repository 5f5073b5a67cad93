"""
Relations of teachers of different architectures
================================================

Figure 3 of Seo, Lee & Han (2021), on networks trained here: are the class relations p_T(j | i)
(eq. 7) a property of the data, so that any teacher's would do, or of the network? ConvNets of
three widths, a multilayer perceptron and a small wide ResNet are trained on the same images, one
of the ConvNets twice with different seeds, and the entries of log p_T off the diagonal are
correlated between each two of them.

All have 128 penultimate units, except for the wide ResNet with 64. One setting is the paper's
kappa = 85; the other fixes the mean cosine of an activation to its class weight at 0.5, which is
kappa = 85 at 128 units. For scale stand beside each correlation: the share of 1000 random
permutations of one network's classes that correlate as much (a Mantel test), and the correlation
of the mean log outputs of the two networks for test images of each class, which takes no law.

Full size (``--root``): 3000 images of MNIST or Fashion-MNIST (``--data``), one minute on one CPU
core. ``--quick``: three networks on digits, seconds.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import torch
from class_relations import KAPPA, MEAN_COSINE, draw, relations
from numpy.typing import NDArray
from runs import arguments, held_out_digits, markdown, save_numbers
from scipy.cluster.hierarchy import leaves_list, linkage
from torch import Tensor, nn
from torch.nn.functional import normalize

import probact as pa
from probact.datasets import ImageData
from probact.nn import ConvNet, WideResNet, accuracy, train_classifier

PERMUTATIONS = 1000
Matrix = NDArray[np.float64]


def networks(
    shape: tuple[int, ...], count: int, *, quick: bool
) -> dict[str, Callable[[], nn.Module]]:
    """Makers of the teachers."""
    convnet = partial(ConvNet, shape, count, 16 if quick else 128)
    made: dict[str, Callable[[], nn.Module]] = {
        "ConvNet 8": partial(convnet, width=8),
        "ConvNet 8, again": partial(convnet, width=8),
        "perceptron": partial(perceptron, int(np.prod(shape)), count, 16 if quick else 128),
    }
    if not quick:
        made |= {f"ConvNet {w}": partial(convnet, width=w) for w in (4, 16)}
        made["WRN-10-1"] = partial(WideResNet, shape, count, depth=10, widening=1)
    return made


def perceptron(pixels: int, count: int, dim: int) -> nn.Module:
    """Two hidden layers of ReLUs, then `dim` units without."""
    layers = [nn.Linear(pixels, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(256, dim), nn.Linear(dim, count))


def mean_outputs(net: nn.Module, data: ImageData) -> Matrix:
    """Mean log softmax (C, C) over the test images of each class."""
    rows = []
    with torch.no_grad():
        for label in range(len(data.class_names)):
            images = data.floats((data.labels == label).nonzero().flatten())
            parts = [torch.log_softmax(net(x), 1) for x in images.split(250)]
            rows.append(torch.cat(parts).double().mean(0))
    return torch.stack(rows).numpy()


def off_diagonal(matrix: Matrix) -> Matrix:
    return matrix[~np.eye(len(matrix), dtype=bool)]


def correlation(first: Matrix, second: Matrix) -> float:
    """Pearson's, of the entries off the diagonal."""
    return float(np.corrcoef(off_diagonal(first), off_diagonal(second))[0, 1])


def permutation_pvalue(first: Matrix, second: Matrix, seed: int) -> float:
    """Share of permutations of the second's classes, itself among them, that correlate as much."""
    rng, found = np.random.default_rng(seed), correlation(first, second)
    orders = (rng.permutation(len(second)) for _ in range(PERMUTATIONS))
    above = sum(correlation(first, second[np.ix_(order, order)]) >= found for order in orders)
    return (1 + above) / (1 + PERMUTATIONS)


def trained(make: Callable[[], nn.Module], data: ImageData, args: Any, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    net, x, y = make(), data.floats(slice(0, args.images)), data.labels[: args.images]
    for _ in train_classifier(net, x, y, epochs=args.epochs, seed=seed):
        pass
    return net.eval()


def compare(found: dict[str, Matrix], outputs: dict[str, Matrix], seed: int) -> dict[str, Any]:
    """Correlations of log p_T for each pair of networks."""
    pairs = {}
    for a, b in combinations(found, 2):
        logs = np.log(found[a]), np.log(found[b])
        pairs[f"{a} / {b}"] = {
            "correlation": correlation(*logs),
            "pvalue": permutation_pvalue(*logs, seed),
            "outputs": correlation(outputs[a], outputs[b]),
        }
    return pairs


def heads(args: argparse.Namespace, train: ImageData, test: ImageData) -> tuple[Any, Any, Any]:
    """Weights, accuracies and outputs of the trained networks."""
    shape, weights, scores, outputs = tuple(train.images.shape[1:]), {}, {}, {}
    makers = networks(shape, len(train.class_names), quick=args.quick)
    for index, (name, make) in enumerate(makers.items()):
        net = trained(make, train, args, args.seed + index)
        scores[name] = accuracy(net, test.floats(), test.labels, batch_size=250)
        outputs[name] = mean_outputs(net, test)
        head: Tensor = pa.find_head(net, num_classes=len(train.class_names)).weight
        weights[name] = head.detach().float()
        print(f"{name}: accuracy {scores[name]:.4f}", flush=True)
    return weights, scores, outputs


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", choices=("mnist", "fashion_mnist"), default="mnist")
    parser.add_argument("--images", type=int, default=3000, help="to train on")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--draws", type=int, default=20_000, help="activations a class")
    args = arguments(__doc__, argv, [], parser)
    try:
        load = partial(pa.datasets.load, args.data, args.root)
        data = held_out_digits() if args.quick else [load(train=t) for t in (True, False)]
    except (FileNotFoundError, ValueError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    weights, scores, outputs = heads(args, *data)
    last = normalize(list(weights.values())[-1].double(), dim=1).numpy()
    order = leaves_list(linkage(last, "ward"))
    laws = {
        f"kappa = {KAPPA:g}": partial(pa.models.VMFClassifier, concentration=KAPPA),
        f"mean cosine {MEAN_COSINE:g}": partial(
            pa.models.VMFClassifier.from_mean_cosine, cosine=MEAN_COSINE
        ),
    }
    results: dict[str, Any] = {}
    for index, (setting, law) in enumerate(laws.items()):
        found = {name: relations(law(w), args.draws, args.seed) for name, w in weights.items()}
        probs = {name: relation.probs for name, relation in found.items()}
        pairs = compare(probs, outputs, args.seed)
        readings = {name: relation.numbers for name, relation in found.items()}
        values = [pair["correlation"] for pair in pairs.values()]
        results[setting] = {"pairs": pairs, "readings": readings}
        results[setting] |= {"smallest": min(values), "mean": float(np.mean(values))}
        results[setting] |= {"largest": max(values)}
        cells = [[p, *(f"{v:.3f}" for v in row.values())] for p, row in pairs.items()]
        print(f"\n{setting}\n{markdown(['networks', 'r', 'p', 'r of outputs'], cells)}")
        path = args.out / ("relations_same_kappa.png", "relations_same_cosine.png")[index]
        draw(found, order, data[0].class_names, path)
    numbers = {"seed": args.seed, "images": args.images, "epochs": args.epochs}
    save_numbers(args.out / "numbers.json", {**numbers, "accuracy": scores, "settings": results})


if __name__ == "__main__":
    main()
