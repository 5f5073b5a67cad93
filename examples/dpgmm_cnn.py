"""
How complex are the representations of a convolutional network?
===============================================================

Section 4 of Jamroz, Kurdziel & Opala (2020), "A Bayesian Nonparametrics View into Deep
Representations". Networks that differ only in their seed are trained on CIFAR-10 with the true
labels, with permuted labels (nothing to learn, all to memorise), with dropout and with
augmentation. The kernels of a layer, each described by its mean response to images not trained
on, are points; a Dirichlet-process Gaussian mixture is fitted to them, and the complexity of the
layer is the relative entropy of that mixture to the diagonal Gaussian of the same means and
variances. Bars are the smallest and the largest over posterior draws; the same is done for either
half of the networks alone, which tells how much hangs on the seeds. `cnn_responses.py` holds the
networks and the responses.

The paper's size (``--full``) is eight architectures of 50 networks a regime, images of 32x32,
30 epochs in batches of 512: days on a GPU, less with ``--networks``. The default size is for one
CPU core and half an hour, and departs from the paper: a network of 8 layers with an eighth of its
width (8x32), 8x16 and 5x16 beside it; the first 3000 training images, reduced to 16x16, in
batches of 64; 10 networks a regime instead of 50; 1000 unseen images instead of 10 000; fewer
singular vectors; two chains of 250 sweeps with two split-merge moves each. ``--quick``: digits
and very small networks, a minute.

CIFAR-10 comes from lossy JPEG copies (``--root``, ``CIFAR10/``), or from the original files where
the root holds ``cifar-10-batches-py``. Networks, projected responses and numbers are kept in
``--out``: start the same command again to go on.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from cnn_responses import Experiment, Regime, scores, train_networks
from mixtures import Run, complexity, fit, rhat_in_words
from runs import arguments, held_out_digits, kept_numbers, markdown, save_numbers
from torch import Tensor

import probact as pa
from probact.analysis.projection import singular_projection
from probact.datasets import ImageData
from probact.plots.style import LABEL_SIZE, new_row

JPEGS = ["CIFAR10/cifar10_train_jpeg.npz", "CIFAR10/cifar10_test_jpeg.npz"]
PAPER_DIMS = {
    11: (10, 20, 30, 40, 45, 60, 75, 81, 75, 72, 70),
    8: (10, 30, 40, 60, 75, 81, 72, 70),
}
PAPER_WIDTHS = {11: (512, 384, 256, 192, 128), 8: (256, 192, 128)}


def regimes(depth: int, widest: int, *, padding: int, only: Sequence[str] = ()) -> list[Regime]:
    """The treatments of one architecture, all of them unless some are named."""
    every = [
        Regime("true labels", depth, widest),
        Regime("dropout", depth, widest, dropout=0.2),
        Regime("permuted labels", depth, widest, permuted=True),
        Regime("augmentation", depth, widest, padding=padding),
    ]
    return [regime for regime in every if not only or regime.treatment in only]


def cifar10(root: Path, *, train: int, unseen: int, size: int) -> list[ImageData]:
    """The first training and the first test images, from the JPEG copies."""
    return [
        pa.datasets.jpeg_archive(root / path, size=size, indices=range(count))
        for path, count in zip(JPEGS, (train, unseen), strict=True)
    ]


def full_cifar10(root: Path) -> list[ImageData]:
    """All images: the original files where the root holds them, else the JPEG copies."""
    if (root / "cifar-10-batches-py").is_dir():
        return [pa.datasets.cifar10(root, train=is_train) for is_train in (True, False)]
    return [pa.datasets.jpeg_archive(root / path) for path in JPEGS]


def experiment(args: argparse.Namespace) -> tuple[Experiment, Run]:
    """What to train, and how long to sample."""
    given = {"seed": args.seed, "device": torch.device(args.device)}
    if args.quick:
        data, every = held_out_digits(), regimes(5, 8, padding=1)
        run = Run(draws=20, tune=20, chains=1, kept=5, num_samples=1000, moves=1, seed=args.seed)
        count, epochs, batch, dims = 6, 6, 32, {5: (2, 2, 3, 3, 3)}
    elif args.full:
        data = full_cifar10(args.root)
        every = [r for d, ws in PAPER_WIDTHS.items() for w in ws for r in regimes(d, w, padding=4)]
        run = Run(draws=1000, tune=1000, kept=50, num_samples=100_000, seed=args.seed)
        count, epochs, batch, dims = 50, 30, 512, PAPER_DIMS
    else:
        data = cifar10(args.root, train=3000, unseen=1000, size=16)
        every = regimes(8, 32, padding=2)
        every += regimes(8, 16, padding=2, only=["true labels", "dropout"])
        every += regimes(5, 16, padding=2, only=["true labels"])
        run = Run(draws=150, tune=100, kept=25, num_samples=5000, moves=2, seed=args.seed)
        count, epochs, batch = 10, 30, 64
        dims = {8: (5, 5, 8, 8, 8, 10, 10, 10), 5: (5, 5, 8, 8, 8)}
    return (
        Experiment(*data, tuple(every), dims, args.networks or count, epochs, batch, **given),
        run,
    )


def measure(args: argparse.Namespace, plan: Experiment, run: Run) -> dict[str, Any]:
    """Readings of every regime and layer; what an earlier run wrote is not done again."""
    folder = args.out / "readings"
    folder.mkdir(exist_ok=True)
    table: dict[str, Any] = {}
    for regime in plan.regimes:
        row = []
        for entry in scores(plan, regime, args.out / "networks", args.out / "responses"):
            x = entry.pop("x")
            path = folder / f"{regime.slug}_layer{entry['layer']:02d}_{plan.networks}.json"
            found = kept_numbers(path, lambda x=x: complexity(fit(x, run, progress=False), x, run))
            parts = halves(regime, x, plan.networks, run, path)
            row.append(
                {**entry, "num_kernels": len(x), "dim": x.shape[1], **found, "halves": parts}
            )
        table.setdefault(regime.architecture, {})[regime.treatment] = row
        print(report(f"{regime.architecture}, {regime.treatment}", row), flush=True)
    return table


def halves(
    regime: Regime, x: Tensor, networks: int, run: Run, path: Path
) -> list[dict[str, float]]:
    """Relative entropy of the first and of the last half of four networks or more.

    For the two treatments that the paper is about. A half gets singular vectors of its own, within
    those of all: on the common ones its coordinates would be correlated, which is complexity too.
    With so few kernels chains get stuck, so the likelier one of two is read.
    """
    if networks < 4 or regime.treatment not in ("true labels", "permuted labels"):
        return []
    count = (networks // 2) * (len(x) // networks)
    short = run._replace(chains=2, kept=min(run.kept, 10), likeliest=True)
    readings = []
    for number, rows in enumerate((x[:count], x[-count:])):
        part = singular_projection(rows, rows.shape[1]).scores
        numbers = kept_numbers(
            path.with_name(f"{path.stem}_half{number}.json"),
            lambda part=part: complexity(fit(part, short, progress=False), part, short),
        )
        readings.append(numbers["relative_entropy"])
    return readings


def report(title: str, row: list[dict[str, Any]]) -> str:
    """One table: a line a layer."""
    first = row[0]
    shares = f"{first['trained']:.3f} of the labels trained on, {first['unseen']:.3f} unseen"
    header = ["layer", "kernels", "d", "relative entropy, nats", "total correlation",
              "components", "R-hat"]  # fmt: skip
    readings = ("relative_entropy", "total_correlation", "num_components")
    lines = [
        [str(n["layer"]), str(n["num_kernels"]), str(n["dim"]),
         *(in_words(n[name]) for name in readings), rhat_in_words(n["rhat"])]
        for n in row
    ]  # fmt: skip
    if first["halves"]:
        header += ["first half", "last half"]
        lines = [[*line, *map(in_words, n["halves"])] for line, n in zip(lines, row, strict=True)]
    return f"\n{title}: accuracy {shares}\n\n{markdown(header, lines)}"


def in_words(numbers: dict[str, float]) -> str:
    """Mean, and the smallest and largest draw."""
    return f"{numbers['mean']:.2f} ({numbers['min']:.2f} to {numbers['max']:.2f})"


def draw(table: dict[str, Any], reading: str, label: str, path: Path) -> None:
    """A panel an architecture, a line a treatment."""
    panels = new_row(len(table), 1.6 + 3.2 * len(table), 3.4)
    for ax, (architecture, rows) in zip(panels, table.items(), strict=True):
        series = {
            treatment: [[n[reading][part] for n in row] for part in ("mean", "min", "max")]
            for treatment, row in rows.items()
        }
        layers = [n["layer"] for n in next(iter(rows.values()))]
        pa.plots.plot_complexity(layers, series, ylabel=label, ax=ax)
        ax.set_title(architecture, fontsize=LABEL_SIZE)
    top = max(n[reading]["max"] for rows in table.values() for row in rows.values() for n in row)
    for ax in panels:
        ax.set_ylim(-0.04 * top, 1.5 * top)  # room for the legend
    panels[0].figure.savefig(path, dpi=150)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true", help="the paper's size, for a GPU")
    parser.add_argument("--networks", type=int, help="networks a regime")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--train-only", action="store_true", help="stop before the mixtures")
    args = arguments(__doc__, argv, (), parser)
    try:
        plan, run = experiment(args)
    except FileNotFoundError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    for line in train_networks(plan, args.out / "networks"):
        print(line, flush=True)
    if args.train_only:
        return
    table = measure(args, plan, run)
    draw(table, "relative_entropy", "relative entropy (nats)", args.out / "relative_entropy.png")
    draw(
        table, "total_correlation", "total correlation (nats)", args.out / "total_correlation.png"
    )
    save_numbers(args.out / "numbers.json", {"seed": args.seed, "architectures": table})


if __name__ == "__main__":
    main()
