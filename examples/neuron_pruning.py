"""
Which neurons does a class need?
================================

"An interpretation of the final fully connected layer" splits the neurons of a class by their
weights, over and over, and proposes to prune the weights that deviate most from the law fitted to
them. This example measures both on networks of several seeds.

**Nodes.** The head keeps, for each class, only the neurons of a node of its split tree (cut at the
anchor plus the mean excess): '+++' are its largest weights, '---' its smallest, or both. A node is
nothing but a number of neurons for each class, so the rivals get the same numbers: the smallest
weights for '+' nodes and the largest for '-' nodes, the largest absolute values, the largest mean
contributions to the score, and neurons at random. Once with the biases as they are, once with the
mean contribution of the dropped neurons added to them.

**Pruning.** A share of the head's weights is set to zero (or, in one row, to the mode of the law),
by the lowest score, without and with recentring. The last row is the proposal as it is worded,
largest deviation first.

Mean contributions are taken over images trained on; accuracies are of test images, means over the
networks with standard errors. The default is CIFAR-10 and three convolutional networks with 512
last neurons, which take half an hour on one core; ``--data digits``: a minute; ``--quick``:
digits, seconds. Files of the output folder: the networks, `table.md`, `numbers.json`,
`pruning.png`, `split_tree.png`.
"""

import argparse
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from neuron_networks import Features, Size, penultimate, train_networks
from neuron_tables import Measured, tables
from runs import arguments, save_numbers
from torch import Tensor

import probact as pa
from probact.models.neuron_split import (
    NeuronTree,
    keep_only,
    prune_head,
    pruning_scores,
    split_tree,
)
from probact.plots import plot_pruning, plot_split_tree

SIZES = {
    "cifar10": Size("cifar10", 512, 7, 128, 4e-3, 0.05, bfloat16=True),
    "digits": Size("digits", 512, 25, 64, 0.05, 5e-4),
    "quick": Size("digits", 128, 6, 64, 0.05, 5e-4),
}
SHARES = (0.5, 0.8, 0.9, 0.95, 0.98)
DEPTHS = range(1, 6)
MIN_SIZE = 6  # so that trees of 512 neurons have five levels
DRAWN = {
    "magnitude": "small magnitude, whole head",
    "magnitude_per_class": "small magnitude, per class",
    "ald": "small deviation from the fitted law",
    "contribution": "small mean contribution",
    "random": "random",
    "literal": "large deviation: the proposal as worded",
}


def right(head: pa.Head, features: Features) -> float:
    """Share of test images whose largest score is their label's."""
    scores = features.test @ head.weight.T
    if head.bias is not None:
        scores = scores + head.bias
    return float((scores.argmax(1) == features.test_labels).double().mean())


def top(scores: Tensor, counts: Tensor) -> Tensor:
    """(K, n) bool: in each class the `counts` (K,) neurons of the largest scores (K, n)."""
    ranks = scores.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return ranks < counts[:, None]


def kept_nodes(tree: NeuronTree) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The rows of the table, as far as every class has such a node."""
    for signs in ("+", "-", "+-"):
        for depth in DEPTHS:
            names = tuple(sign * depth for sign in signs)
            if all(bool((tree.sizes(name) > 0).all()) for name in names):
                yield " and ".join(names), names


def keep(head: pa.Head, features: Features, seed: int) -> Iterator[Measured]:
    """Accuracies with the neurons of one node in each class, and of its rivals."""
    theta = head.weight.double()
    tree = split_tree(head, min_size=MIN_SIZE)
    contribution = theta * features.train.double().mean(0)
    draws = torch.rand(theta.shape, generator=torch.Generator().manual_seed(seed))
    for row, names in kept_nodes(tree):
        nodes = tree.masks(*names)
        counts = nodes.sum(1)
        rivals = {"node": nodes}
        if len(names) == 1:
            opposite = -theta if names[0][0] == "+" else theta
            rivals["other tail"] = top(opposite, counts)
        rivals["largest magnitude"] = top(theta.abs(), counts)
        rivals["largest contribution"] = top(contribution, counts)
        rivals["random"] = top(draws, counts)
        yield Measured("neurons", row, "", float(counts.double().mean()))
        for name, mask in rivals.items():
            plain = keep_only(head, mask, recentre=False)
            yield Measured("keep", row, name, right(plain, features))
            centred = keep_only(head, mask, features=features.train)
            yield Measured("keep, recentred", row, name, right(centred, features))


def pruned(head: pa.Head, features: Features, seed: int) -> Iterator[Measured]:
    """Accuracies with a share of the head's weights set to zero, or to the mode."""
    theta = head.weight
    fit = pa.analysis.laplace_fits.fit_asymmetric_laplace(theta)
    mode = fit.loc[:, None].to(theta.dtype).expand_as(theta)
    distance = pruning_scores(head, "ald")
    density = distance + (fit.scale_right + fit.scale_left).log()[:, None]  # -log f
    others = {
        "deviation, set to the mode": (distance, mode),
        "density": (density, torch.zeros_like(theta)),
        "literal": (-distance, torch.zeros_like(theta)),
    }
    for share in SHARES:
        for method in ("magnitude", "magnitude_per_class", "ald", "contribution", "random"):
            needed = features.train if method == "contribution" else None
            left = prune_head(head, share, method=method, features=needed, seed=seed)
            yield from twice(head, left, features, method, share)
        for row, (scores, value) in others.items():
            lowest = scores.flatten().argsort(stable=True)[: int(share * scores.numel() + 1e-9)]
            removed = torch.zeros(scores.numel(), dtype=torch.bool)
            removed[lowest] = True
            left = head._replace(weight=torch.where(removed.reshape(theta.shape), value, theta))
            yield from twice(head, left, features, row, share)


def twice(
    head: pa.Head, left: pa.Head, features: Features, row: str, share: float
) -> Iterator[Measured]:
    """Accuracies of a pruned head as it is, and with the bias that keeps the mean scores."""
    yield Measured("prune", row, f"{share:g}", right(left, features))
    assert head.bias is not None
    bias = head.bias + (head.weight - left.weight) @ features.train.mean(0)
    centred = right(left._replace(bias=bias), features)
    yield Measured("prune, recentred", row, f"{share:g}", centred)


def figures(args: argparse.Namespace, runs: list[list[Measured]], tree: NeuronTree) -> None:
    """Accuracy against the share kept, and the tree of one class."""
    lines = {}
    for method, label in DRAWN.items():
        values = np.array(
            [[m.value for m in run if m[:2] == ("prune", method)] for run in runs]
        )  # (networks, shares)
        spread = values.std(0, ddof=1) if len(runs) > 1 else np.zeros(len(SHARES))
        lines[label] = np.stack([values.mean(0), spread / np.sqrt(len(runs))])
    full = float(np.mean([m.value for run in runs for m in run if m.part == "full"]))
    ax = plot_pruning([1.0 - share for share in SHARES], lines, full=full)
    ax.figure.savefig(args.out / "pruning.png", dpi=150)
    nodes = tree.nodes(0)
    ax = plot_split_tree(
        [node.name for node in nodes],
        [node.interval for node in nodes],
        [node.num for node in nodes],
        weights=tree.weights[0].numpy(),
    )
    ax.figure.savefig(args.out / "split_tree.png", dpi=150)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", choices=("cifar10", "digits"), default="cifar10")
    parser.add_argument("--seeds", type=int, default=3)
    args = arguments(__doc__, argv, None, parser)
    size = SIZES["quick" if args.quick else args.data]
    if size.data == "cifar10" and args.root is None:
        parser.exit(2, f"{parser.prog}: pass --root DIR, the folder of the data, or --quick\n")
    seeds = range(args.seed, args.seed + (min(args.seeds, 2) if args.quick else args.seeds))
    try:
        for line in train_networks(size, args.root, args.out, seeds):
            print(line, flush=True)
        runs, heads = [], []
        for seed in seeds:
            net, features = penultimate(size, args.root, args.out, seed)
            head = pa.find_head(net, name="head")
            heads.append(head)
            full = [Measured("full", "", "", right(head, features))]
            runs.append([*full, *keep(head, features, seed), *pruned(head, features, seed)])
    except FileNotFoundError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    figures(args, runs, split_tree(heads[0], min_size=MIN_SIZE))
    text = tables(runs)
    (args.out / "table.md").write_text(text + "\n", encoding="utf-8")
    save_numbers(args.out / "numbers.json", {"runs": runs})
    print(text)


if __name__ == "__main__":
    main()
