"""
The order of classes around the circle, distilled
=================================================

Figure 2 of Seo, Lee & Han (2021): teacher and student have a penultimate layer of two units, so
that the classes lie in a cyclic order around the circle. Networks trained alone choose different
orders. Is the teacher's order taken over by a student that learns from labels, from the teacher's
output for each image (KD), or from the class relations of its final layer alone (CKD)?

Two readings for each student: the share of neighbours around the circle that are neighbours in the
teacher too (2 / 9 by chance for ten classes), and the correlation, over pairs of classes, of the
cosines between class weights. KD is 0.1 of the label's loss and 0.9 of the teacher's at
temperature 4; CKD takes kappa = 85, as printed or with logits scaled until the own class has a
mean probability of 0.91 (sharpened). Means and standard errors are over seeds, each with a teacher
of its own.

The figure shows the networks of the first seed: test activations, the rays of the class weights,
and the density of each class's direction at the maximum-likelihood kappa.

Full size (``--root``): 5000 MNIST images, 15 epochs, three seeds, eight minutes on a CPU core.
``--quick``: the digits of scikit-learn, half a minute.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from distil import sharpened
from penultimate_mnist import MNIST_FILES, circle
from runs import arguments, held_out_digits, markdown, save_numbers
from torch import Tensor, nn
from torch.nn.functional import normalize

import probact as pa
from probact.datasets import ImageData
from probact.models.distillation import teacher_loss
from probact.nn import ConvNet, accuracy, train_classifier
from probact.plots import CircleStage

KAPPA = 85.0
OWN_PROB = 0.91  # of sharpened relations


def neighbours(weight: Tensor) -> set[frozenset[int]]:
    """Pairs of classes that are next to each other around the circle."""
    order = torch.atan2(weight[:, 1], weight[:, 0]).argsort().tolist()
    return {frozenset(pair) for pair in zip(order, order[1:] + order[:1], strict=True)}


def cosine_correlation(first: Tensor, second: Tensor) -> float:
    """Pearson's, over pairs of classes, of the cosines between class weights."""
    pairs = torch.ones(len(first), len(first)).triu(1).bool()
    cosines = [(normalize(w) @ normalize(w).T)[pairs] for w in (first, second)]
    return float(torch.corrcoef(torch.stack(cosines))[0, 1])


def trained(
    data: ImageData, args: argparse.Namespace, seed: int, loss: Callable[..., Tensor] | None = None
) -> nn.Module:
    torch.manual_seed(seed)
    shape = tuple(data.images.shape[1:])
    net = ConvNet(shape, len(data.class_names), 2, width=8)
    x, y = data.floats(slice(0, args.images)), data.labels[: args.images]
    for _ in train_classifier(net, x, y, epochs=args.epochs, seed=seed, loss=loss):
        pass
    return net.eval()


def relations_at(scale: float, weight: Tensor, seed: int) -> Tensor:
    """p_T (10, 10) of a head whose logits are multiplied by `scale`."""
    return pa.models.VMFClassifier(scale * weight, KAPPA).class_relations(seed=seed)


def stage(title: str, net: nn.Module, unseen: ImageData) -> CircleStage:
    """What the panel of a network shows."""
    weight = net.head.weight.detach()
    data = unseen.floats(slice(0, 2000)), unseen.labels[:2000]
    features = pa.capture(net, data, layer="penultimate")
    law = pa.models.VMFClassifier.mle(weight, features.unit().x, features.labels)
    return circle(title, features, weight, float(law.fixed_concentration))


def networks(
    train: ImageData, args: argparse.Namespace, seed: int
) -> tuple[dict[str, nn.Module], float]:
    """A teacher and its students, and the mean probability of the own class in p_T."""
    teacher = trained(train, args, 1000 + seed)
    weight = teacher.head.weight.detach()
    relations = relations_at(1.0, weight, seed)
    sharp = sharpened(partial(relations_at, weight=weight, seed=seed), OWN_PROB)
    labels, nets = torch.eye(len(weight)), {"teacher": teacher}
    losses = {
        "label": teacher_loss(labels),
        "KD": teacher_loss(labels, teacher=teacher),
        "CKD": teacher_loss(relations),
        "sharpened CKD": teacher_loss(sharp),
    }
    nets |= {method: trained(train, args, seed, loss) for method, loss in losses.items()}
    return nets, float(relations.diagonal().mean())


def readings(net: nn.Module, teacher: nn.Module, unseen: ImageData) -> dict[str, float]:
    own, other = (n.head.weight.detach() for n in (net, teacher))
    return {
        "accuracy": accuracy(net, unseen.floats(), unseen.labels, batch_size=250),
        "shared_neighbours": len(neighbours(own) & neighbours(other)) / len(own),
        "cosine_correlation": cosine_correlation(own, other),
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Mean, and its standard error over seeds."""
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return {"mean": float(np.mean(values)), "error": float(error)}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3, help="how many, at least 1")
    parser.add_argument("--images", type=int, default=5000, help="to train on")
    parser.add_argument("--epochs", type=int, help="default 15; 24 with --quick")
    args = arguments(__doc__, argv, MNIST_FILES, parser)
    if args.seeds < 1:
        parser.exit(2, f"{parser.prog}: --seeds must be at least 1\n")
    args.epochs = args.epochs or (24 if args.quick else 15)
    if args.quick:
        train, unseen = held_out_digits()
    else:
        train, unseen = (pa.datasets.mnist(args.root, train=t) for t in (True, False))
    panels, seeds, own_probs = [], [], []
    for seed in range(args.seed, args.seed + args.seeds):
        nets, own_prob = networks(train, args, seed)
        seeds.append({name: readings(net, nets["teacher"], unseen) for name, net in nets.items()})
        own_probs.append(own_prob)
        print(f"seed {seed}: {seeds[-1]}", flush=True)
        panels = panels or [stage(name, net, unseen) for name, net in nets.items()]
    table = {
        method: {key: spread([s[method][key] for s in seeds]) for key in seeds[0][method]}
        for method in seeds[0]
    }
    rows = [
        [m, *(f"{s['mean']:.3f} ± {s['error']:.3f}" for s in r.values())] for m, r in table.items()
    ]
    print(markdown(["network", "accuracy", "shared neighbours", "cosine correlation"], rows))
    axes = pa.plots.plot_training_stages(panels, class_names=train.class_names)
    for ax in axes:
        ax.locator_params(nbins=5)
    axes[0].figure.savefig(args.out / "circles.png", dpi=150)
    setting = {"seed": args.seed, "images": args.images, "epochs": args.epochs, "kappa": KAPPA}
    numbers = {**setting, "own_prob": own_probs, "seeds": seeds, "table": table}
    save_numbers(args.out / "numbers.json", numbers)


if __name__ == "__main__":
    main()
