"""
Soft activations and the hardness a network learns
==================================================

Figure 1 of Balestriero & Baraniuk, "From Hard to Soft" (ICLR 2019): ReLU, leaky ReLU and the
absolute value as maxima of two lines, selected softly. beta -> 1 is the hard function, beta = 1/2
has the usual soft one (SiLU for ReLU), beta -> 0 the line halfway between the two.

Then each activation and each max-pooling of a small convolutional network gets a beta of its own,
which is trained with the weights from 0.2, 0.5 and 0.9. Where do they end, and is the accuracy
that of the ReLU network, or of the SiLU network (beta fixed at 1/2 everywhere, poolings hard)?

Batch normalisation stands before every activation and scales its input, so that a larger scale can
do in part what a larger beta does; layers after the poolings have no such freedom. Weights are
trained with AdamW at 0.002, log eta at 0.05 without weight decay, which would pull beta to 1/2.

Full size (``--root``): 6000 images of MNIST, 4 epochs, 3 seeds, minutes. ``--quick``: digits.
"""

import math
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from runs import arguments, markdown, save_numbers
from torch import Tensor, nn

import probact as pa
from probact.nn import (
    BetaAbs,
    BetaLayer,
    BetaLeakyReLU,
    BetaReLU,
    ConvNet,
    accuracy,
    soften,
    train_classifier,
)

STARTS = (0.2, 0.5, 0.9)
NEEDS = [f"MNIST/raw/{name}" for name in pa.datasets.IDX_FILES]


class Data(NamedTuple):
    """Images in [0, 1] and labels, to train on and held out."""

    images: Tensor
    labels: Tensor
    test_images: Tensor
    test_labels: Tensor


def load(args: Any) -> Data:
    """6000 images of MNIST and its test set; digits in the quick run."""
    train, test = (
        pa.datasets.digits(train=t) if args.quick else pa.datasets.mnist(args.root, train=t)
        for t in (True, False)
    )
    rows = slice(0, 6000)
    return Data(train.floats(rows), train.labels[rows], test.floats(), test.labels)


def plot_activations(path: Path) -> None:
    """The three functions at several beta (the paper's figure 1)."""
    u = torch.linspace(-4.0, 4.0, 401)
    families = {
        "ReLU": BetaReLU,
        "leaky ReLU, slope 0.1": partial(BetaLeakyReLU, 0.1),
        "absolute value": BetaAbs,
    }
    betas = (0.01, 0.2, 0.5, 0.75, 0.9, 0.999)
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    colours = plt.get_cmap("viridis")(np.linspace(0.0, 0.9, len(betas)))
    for axis, (name, family) in zip(axes, families.items(), strict=True):
        for beta, colour in zip(betas, colours, strict=True):
            z = family(beta=beta, learnable=False)(u)
            axis.plot(u.numpy(), z.numpy(), color=colour, label=f"{beta:g}")
        axis.set(title=name, xlabel="pre-activation u", ylabel="expectation z")
    axes[0].legend(title="beta", fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def build(model: str, data: Data, seed: int) -> nn.Module:
    """ "relu", "silu", or "beta B": the same weights at the start, for the same seed."""
    torch.manual_seed(seed)
    shape = tuple(data.images.shape[1:])
    net = ConvNet(shape, num_classes=10, penultimate_dim=32, width=8)
    if model == "relu":
        return net
    if model == "silu":
        return soften(net, 0.5, learnable=False, keep=[nn.MaxPool2d])
    return soften(net, float(model.split()[1]))


def optimiser(net: nn.Module, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """AdamW, with a rate of its own and no weight decay for log eta."""
    layers = [m for m in net.modules() if isinstance(m, BetaLayer)]
    log_etas = [m.log_eta for m in layers if isinstance(m.log_eta, nn.Parameter)]
    known = {id(p) for p in log_etas}
    weights = [p for p in parameters if id(p) not in known]
    groups = [{"params": weights}, {"params": log_etas, "lr": 0.05, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups[: 1 + bool(log_etas)], lr=2e-3, weight_decay=1e-4)


def trained(model: str, seed: int, data: Data, epochs: int) -> dict[str, Any]:
    """Test accuracy, and beta of each layer before and after training."""
    net = build(model, data, seed)
    cosine = partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=epochs)
    steps = train_classifier(
        net,
        data.images,
        data.labels,
        epochs=epochs,
        seed=seed,
        optimiser=partial(optimiser, net),
        schedule=cosine,
    )
    loss = [epoch.loss for epoch in steps][-1]
    learned = model.startswith("beta")
    betas = {
        f"{index} {type(layer).__name__.removeprefix('Beta')}": float(layer.beta.detach())
        for index, layer in enumerate(m for m in net.modules() if isinstance(m, BetaLayer))
        if learned
    }
    share = accuracy(net, data.test_images, data.test_labels)
    return {"model": model, "seed": seed, "loss": loss, "accuracy": share, "beta": betas}


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and its standard error over seeds."""
    return float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(len(values)))


def table(records: Sequence[dict[str, Any]]) -> str:
    """Accuracy in percent and beta of each layer: mean and standard error over seeds."""
    models = list(dict.fromkeys(r["model"] for r in records))
    layers = list(next(r["beta"] for r in records if r["beta"]))
    rows = []
    for model in models:
        own = [r for r in records if r["model"] == model]
        cells = ["{:.2f} ± {:.2f}".format(*mean_and_error([100 * r["accuracy"] for r in own]))]
        for layer in layers:
            found = [r["beta"][layer] for r in own if r["beta"]]
            cells.append("{:.3f} ± {:.3f}".format(*mean_and_error(found)) if found else "")
        rows.append([model.replace("beta", "from beta"), *cells])
    return markdown(["network", "accuracy, %", *layers], rows)


def plot_learned(records: Sequence[dict[str, Any]], path: Path) -> None:
    """Beta of each layer after training, by its start, with standard errors; and accuracies."""
    models = list(dict.fromkeys(r["model"] for r in records))
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(10, 4), layout="constrained", width_ratios=(2, 1)
    )
    for shift, start in zip((-0.15, 0.0, 0.15), STARTS, strict=True):
        own = [r["beta"] for r in records if r["model"] == f"beta {start:g}"]
        layers = list(own[0])
        found = [mean_and_error([r[layer] for r in own]) for layer in layers]
        means, errors = zip(*found, strict=True)
        at = np.arange(len(layers)) + shift
        bars = left.errorbar(at, means, errors, fmt="o", capsize=3, label=f"from {start:g}")
        left.axhline(start, color=bars[0].get_color(), linestyle=":", linewidth=0.8)
    left.set_xticks(range(len(layers)), [layer.replace(" ", "\n") for layer in layers])
    left.set(xlabel="layer", ylabel="beta after training", ylim=(0, 1))
    left.legend()
    shares = [
        mean_and_error([100 * r["accuracy"] for r in records if r["model"] == m]) for m in models
    ]
    right.errorbar(range(len(models)), *zip(*shares, strict=True), fmt="o", capsize=3)
    right.set_xticks(range(len(models)), models, rotation=30)
    right.set(ylabel="test accuracy, %")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main(argv: Sequence[str] | None = None) -> None:
    args = arguments(__doc__, argv, NEEDS)
    plot_activations(args.out / "activations.png")
    data = load(args)
    seeds, epochs = (2, 2) if args.quick else (3, 4)
    models = ["relu", "silu", *(f"beta {start:g}" for start in STARTS)]
    records = [
        trained(model, args.seed + seed, data, epochs)
        for seed, model in product(range(seeds), models)
    ]
    save_numbers(args.out / "runs.json", {"records": records})
    plot_learned(records, args.out / "learned_beta.png")
    text = table(records) + "\n"
    (args.out / "table.md").write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
