"""
Activations around the circle
=============================

Figures 1 and 2 of Seo, Lee & Han (2021): a network of four convolutions with a penultimate layer
of two units is trained, and the activations of images that it has not seen are drawn before,
during and after training. If the directions of class i follow a von Mises-Fisher law around the
class's weight w_i, the dots gather around the rays and the ridges on the circle show their
density.

A table gives, for each stage, the mean cosine to the own weight, the concentration kappa of the
tied law (maximum likelihood, on one half of the unseen images) and the Kolmogorov-Smirnov
distance of the cosines of the other half to that law.

Full size: MNIST from ``--root`` (``MNIST/raw``), all 60 000 images for 8 epochs, about five
minutes on two CPU cores. ``--quick``: the 8x8 digits of scikit-learn, seconds.
"""

from collections.abc import Sequence

import numpy as np
import torch
from runs import arguments, halves, held_out_digits, markdown, save_numbers, train_convnet
from scipy import stats
from torch import Tensor

import probact as pa
from probact.plots import CircleStage

MNIST_FILES = [f"MNIST/raw/{kind}-ubyte" for kind in ("train-images-idx3", "t10k-images-idx3")]
ANGLES = np.linspace(-np.pi, np.pi, 721)
SHOWN = 2000  # activations drawn at most


def measure(fitting: pa.Features, scoring: pa.Features, weight: Tensor) -> dict[str, float]:
    """kappa of the tied law on one half; mean cosine and KS distance of the other."""
    law = pa.models.VMFClassifier.mle(weight, fitting.unit().x, fitting.labels)
    kappa = float(law.fixed_concentration)
    fit = pa.analysis.directional_fit(*scoring, weight, kappa)
    return {"mean_cosine": fit.mean_cosine, "kappa": kappa, "ks_distance": fit.ks_distance}


def circle(title: str, features: pa.Features, weight: Tensor, kappa: float) -> CircleStage:
    """What one panel shows: activations, class densities around the circle, kernel density."""
    law = pa.models.VMFClassifier(weight, kappa)
    around = torch.from_numpy(np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1))  # (A, 2)
    densities = law.class_log_prob(around).exp().T  # (C, A)
    x = features.x[:SHOWN].numpy()
    low, high = x.min(0) - 0.3 * np.ptp(x, 0), x.max(0) + 0.3 * np.ptp(x, 0)  # (2,)
    across, up = np.linspace(low, high, 121).T  # (G,) each
    grid = np.stack(np.meshgrid(across, up))  # (2, G, G)
    kernel = stats.gaussian_kde(x.T)(grid.reshape(2, -1)).reshape(grid.shape[1:])
    labels = features.labels[:SHOWN].numpy()
    return CircleStage(title, x, labels, weight.numpy(), ANGLES, densities, (across, up, kernel))


def main(argv: Sequence[str] | None = None) -> None:
    args = arguments(__doc__, argv, MNIST_FILES)
    if args.quick:
        (train, unseen), epochs = held_out_digits(), 24
    else:
        train, unseen = (pa.datasets.mnist(args.root, train=t) for t in (True, False))
        epochs = 8
    first, second = halves(unseen.labels, args.seed)
    stages, panels, rows = [], [], []
    for epoch in train_convnet(train, 2, epochs=epochs, seed=args.seed):
        if epoch.number not in (0, epochs // 3, epochs):
            continue
        weight = epoch.net.head.weight.detach().clone()
        fitting, scoring = (
            pa.capture(epoch.net, (unseen.floats(half), unseen.labels[half]), layer="penultimate")
            for half in (first, second)
        )
        share = float(((scoring.x @ weight.T).argmax(1) == scoring.labels).double().mean())
        numbers = {"epoch": epoch.number, "accuracy": share, **measure(fitting, scoring, weight)}
        stages.append(numbers)
        title = f"epoch {epoch.number} of {epochs}"
        panels.append(circle(title, scoring, weight, numbers["kappa"]))
        rows.append([title, *(f"{numbers[key]:.4g}" for key in list(numbers)[1:])])
    print(markdown(["stage", "accuracy", "mean cosine", "kappa", "KS distance"], rows))
    last = panels[-1]._asdict()
    del last["title"]
    ax = pa.plots.plot_circle_activations(**last, class_names=train.class_names)
    ax.figure.savefig(args.out / "activations_on_the_circle.png", dpi=150)
    axes = pa.plots.plot_training_stages(panels, class_names=train.class_names)
    for ax in axes:
        ax.locator_params(nbins=5)  # small numbers need room
    axes[0].figure.savefig(args.out / "training_stages.png", dpi=150)
    save_numbers(args.out / "numbers.json", {"seed": args.seed, "stages": stages})


if __name__ == "__main__":
    main()
