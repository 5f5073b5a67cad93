"""
Do the weights of a class know its frequency?
=============================================

The rates of a class's asymmetric Laplace law have been read as its frequency in training. Here
networks are trained on long-tailed data, 20 examples of the most frequent class for one of the
rarest, which class is which drawn anew for each network, with two weight decays. Then the right
and the left rate r and l of the weights of each class, their geometric mean lambda, the asymmetry
kappa and, as the baseline, the norm of the weights are regressed on the number n_k of examples,
all in logarithms, in two ways:

* in two stages: the exact fits, then a meta-regression with their sampling variances, a variance
  between classes, and an intercept for each network; permutation p-values;
* by Gibbs sampling of the hierarchical model of each network, in which n_k is a covariate of the
  rates: the mean over networks of the posterior means, with the standard error over networks.

If rates were frequencies, slopes of log r and log l would be one. If the law told more than the
norm does, kappa would move, or lambda would follow n_k more closely than the norm.

No files are needed for ``--dataset digits`` (the default, two minutes on one CPU core); MNIST and
CIFAR-10 (halved to 16x16, lossy JPEG copies) come from ``--root``. ``--quick``: seconds.
"""

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from runs import arguments, markdown, save_numbers
from torch import Generator, Tensor, nn

import probact as pa
from probact import datasets
from probact.analysis import FrequencyRegression, frequency_regression
from probact.analysis.laplace_fits import dead_features
from probact.inference import SamplingWarning
from probact.models import LaplaceWeights
from probact.nn import ConvNet, train_classifier
from probact.plots.style import DASHES, INK, LINES, TICK_SIZE, new_row, tidy

NEEDS = {
    "digits": None,
    "mnist": [f"MNIST/raw/{name}" for name in datasets.IDX_FILES],
    "cifar10": ["CIFAR10/cifar10_train_jpeg.npz", "CIFAR10/cifar10_test_jpeg.npz"],
}
NAMES = {
    "log_rate_right": "log r",
    "log_rate_left": "log l",
    "log_lambda": "log lambda",
    "log_kappa": "log kappa",
    "log_norm": "log norm",
}
FEATURES = 512


class Size(NamedTuple):
    """What a run costs."""

    largest: int  # examples of the most frequent class
    steps: int
    networks: int
    draws: int  # of each of four chains


SIZES = {
    "digits": Size(100, 500, 6, 1000),
    "mnist": Size(4000, 2000, 6, 1000),
    "cifar10": Size(1500, 1000, 3, 500),
    "quick": Size(60, 60, 2, 100),
}


class Images(NamedTuple):
    """Training and test images (N, C, H, W) in [0, 1] with their labels."""

    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor


def load(args: argparse.Namespace) -> Images:
    """All images of the chosen data set."""
    if args.dataset == "digits":
        parts = [datasets.digits(train=train) for train in (True, False)]
    elif args.dataset == "mnist":
        parts = [datasets.mnist(args.root, train=train) for train in (True, False)]
    else:
        parts = [datasets.jpeg_archive(args.root / name) for name in NEEDS["cifar10"]]
    images = [part.floats() for part in parts]
    if args.dataset == "cifar10":
        images = [nn.functional.avg_pool2d(x, 2) for x in images]
    return Images(images[0], parts[0].labels, images[1], parts[1].labels)


def long_tailed(labels: Tensor, largest: int, ratio: float, seed: int) -> tuple[Tensor, Tensor]:
    """Rows of a long-tailed part of the data, and the number of examples n_k (K,)."""
    stream = Generator().manual_seed(seed)
    classes = int(labels.max()) + 1
    place = torch.randperm(classes, generator=stream)  # 0 is the most frequent
    counts = (largest * ratio ** (-place / (classes - 1))).long().clamp_min(5)
    rows = []
    for k, count in enumerate(counts.tolist()):
        members = (labels == k).nonzero()[:, 0]
        rows.append(members[torch.randperm(len(members), generator=stream)[:count]])
    return torch.cat(rows), torch.tensor([len(r) for r in rows])


def network(shape: Sequence[int]) -> nn.Module:
    """Two hidden layers on grey images, four convolutions on colours; 512 rectified features."""
    channels, height, width = shape
    if channels == 1:
        return nn.Sequential(
            nn.Flatten(), nn.Linear(height * width, 256), nn.ReLU(),
            nn.Linear(256, FEATURES), nn.ReLU(), nn.Linear(FEATURES, 10),
        )  # fmt: skip
    net = ConvNet((channels, height, width), 10, FEATURES)
    net.head = nn.Sequential(nn.ReLU(), nn.Linear(FEATURES, 10))
    return net


def train(images: Images, size: Size, decay: float, seed: int) -> dict[str, Any]:
    """One network: weights of its head, n_k, and its accuracy on the test images."""
    rows, counts = long_tailed(images.y, size.largest, 20.0, seed)
    torch.manual_seed(seed)
    net = network(images.x.shape[1:])
    epochs = max(1, round(size.steps / max(1, len(rows) // 64)))

    def optimiser(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=decay)

    def schedule(steps: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        return torch.optim.lr_scheduler.CosineAnnealingLR(steps, epochs)

    options = {"optimiser": optimiser, "schedule": schedule}
    *_, last = train_classifier(
        net, images.x[rows], images.y[rows], epochs=epochs, seed=seed, **options
    )
    last.net.eval()
    with torch.no_grad():
        guess = torch.cat([last.net(x).argmax(1) for x in images.test_x.split(1000)])
    weight = pa.find_head(last.net, example=images.x[:2]).weight.detach()
    accuracy = float((guess == images.test_y).double().mean())
    return {"weights": weight, "counts": counts, "accuracy": accuracy}


def by_gibbs(nets: list[dict[str, Any]], size: Size, seed: int) -> dict[str, Any]:
    """Slopes of each network by the hierarchical model; mean and standard error over networks."""
    means, spreads, rhat = [], [], 1.0
    for net in nets:
        model = LaplaceWeights(net["weights"], hierarchical=True, counts=net["counts"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SamplingWarning)  # reported as the largest R-hat
            draws = pa.sample(
                model, draws=size.draws, tune=size.draws // 2, seed=seed, progress=False
            )
        effects = model.frequency_effects(draws).drop(index="log_norm")  # two-stage has it
        means.append(effects["mean"])
        spreads.append(effects["sd"])
        slopes = [draws.posterior[f"slope_{side}"].values for side in ("right", "left")]
        rhat = max(rhat, *(split_rhat(s) for s in slopes))
    table = np.array(means)
    errors = table.std(0, ddof=1) / len(table) ** 0.5
    return {
        name: {"slope": float(m), "se": float(e), "posterior_sd": float(s), "largest_rhat": rhat}
        for name, m, e, s in zip(means[0].index, table.mean(0), errors,
                                 np.mean(spreads, 0), strict=True)
    }  # fmt: skip


def split_rhat(draws: np.ndarray) -> float:
    """R-hat of draws (chains, S), each chain in halves."""
    half = draws.shape[1] // 2
    parts = np.concatenate([draws[:, :half], draws[:, half : 2 * half]])
    within, between = parts.var(1, ddof=1).mean(), parts.mean(1).var(ddof=1)
    return float(np.sqrt((half - 1) / half + between / within))


def measure(
    images: Images, size: Size, decay: float, seed: int
) -> tuple[dict[str, Any], FrequencyRegression]:
    """All numbers of one weight decay, and the regression that they are of."""
    nets = [train(images, size, decay, seed + i) for i in range(size.networks)]
    weights, counts = [net["weights"] for net in nets], [net["counts"] for net in nets]
    found = frequency_regression(weights, counts, seed=seed)
    dead = [dead_features(w) for w in weights]
    alive = [w[:, ~d] for w, d in zip(weights, dead, strict=True)]
    without = frequency_regression(alive, counts, seed=seed).to_frame()
    numbers = {
        "weight_decay": decay,
        "networks": size.networks,
        "accuracy": [net["accuracy"] for net in nets],
        "dead_features": [int(d.sum()) for d in dead],
        "two_stage": found.to_frame().T.to_dict(),
        "without_dead_features": {name: float(s) for name, s in without["slope"].items()},
        "gibbs": by_gibbs(nets, size, seed),
        "points": {name: found.estimates[name].tolist() for name in ("count", *NAMES)},
    }
    return numbers, found


def report(numbers: dict[str, Any]) -> str:
    """The table of one weight decay."""
    header = ["response", "slope", "R2", "p", "class sd", "without dead features", "Gibbs"]
    rows = []
    for name, shown in NAMES.items():
        two, gibbs = numbers["two_stage"][name], numbers["gibbs"].get(name)
        spread = (two["sd_between"] ** 2 + two["sd_class"] ** 2) ** 0.5
        other = "" if gibbs is None else f"{gibbs['slope']:.3f} ± {gibbs['se']:.3f}"
        rows.append([
            shown, f"{two['slope']:.3f} ± {two['se']:.3f}", f"{two['r_squared']:.2f}",
            f"{two['p_value']:.4f}", f"{spread:.3f}",
            f"{numbers['without_dead_features'][name]:.3f}", other,
        ])  # fmt: skip
    rhat = numbers["gibbs"]["log_lambda"]["largest_rhat"]
    words = (
        f"weight decay {numbers['weight_decay']:g}: {numbers['networks']} networks, accuracy "
        f"{np.mean(numbers['accuracy']):.3f}, dead features "
        f"{np.mean(numbers['dead_features']):.0f} of {FEATURES}, largest R-hat {rhat:.3f}"
    )
    return f"\n{words}\n\n{markdown(header, rows)}"


def draw(table: list[dict[str, Any]], path: Path) -> None:
    """log lambda and log norm of every class about its network's mean; all slopes."""
    left, middle, right = new_row(3, 9.6, 3.0)
    for i, numbers in enumerate(table):
        color, label = LINES[i], f"weight decay {numbers['weight_decay']:g}"
        points, shift = numbers["points"], 0.16 * (i - 0.5 * (len(table) - 1))
        x = within(np.log(points["count"]), numbers["networks"])
        for ax, name in ((left, "log_lambda"), (middle, "log_norm")):
            y = within(np.array(points[name]), numbers["networks"])
            ax.plot(x, y, "o", ms=3, color=color, alpha=0.6, label=label)
            ends = np.array([x.min(), x.max()])
            slope = numbers["two_stage"][name]["slope"]
            ax.plot(ends, slope * ends, color=color, ls=DASHES[i], lw=1.2)
            tidy(ax, xlabel="log n, about the network's mean", ylabel=NAMES[name])
        fits = [numbers["two_stage"][name] for name in NAMES]
        slopes = np.array([fit["slope"] for fit in fits])
        ends = np.array([[fit["low"], fit["high"]] for fit in fits]).T
        places = np.arange(len(NAMES)) + shift
        right.errorbar(slopes, places, xerr=np.abs(ends - slopes), fmt="o", ms=3, color=color)
    right.axvline(0.0, color=INK, lw=0.6)
    right.set_yticks(range(len(NAMES)), list(NAMES.values()))
    right.invert_yaxis()
    tidy(right, xlabel="slope on log n, 95 % interval", ylabel="")
    left.legend(fontsize=TICK_SIZE, frameon=False)
    left.figure.savefig(path, dpi=150)


def within(values: np.ndarray, networks: int) -> np.ndarray:
    """Values (J K,) less the mean of their network."""
    rows = values.reshape(networks, -1)
    return (rows - rows.mean(1, keepdims=True)).ravel()


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset", choices=list(NEEDS), default="digits")
    parser.add_argument("--networks", type=int, help="trained for each weight decay")
    parser.add_argument("--decays", type=float, nargs="+", default=[5e-4, 5e-3])
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    parser = options()
    dataset = parser.parse_known_args(argv)[0].dataset
    args = arguments(__doc__, argv, NEEDS[dataset], parser)
    if args.quick:
        args.dataset = "digits"
    size = SIZES["quick" if args.quick else args.dataset]
    if args.networks is not None:
        size = size._replace(networks=args.networks)
    images, table = load(args), []
    for decay in args.decays:
        numbers, found = measure(images, size, decay, args.seed)
        found.estimates.to_csv(args.out / f"classes_{decay:g}.csv")
        table.append(numbers)
        print(report(numbers), flush=True)
        save_numbers(args.out / "numbers.json", {"dataset": args.dataset, "settings": table})
    draw(table, args.out / "class_frequency.png")


if __name__ == "__main__":
    main()
