"""
What the examples share
=======================

The command line of a run, the small network that several examples train, and the numbers saved.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from probact import datasets
from probact.datasets import ImageData, stratified_split
from probact.nn import ConvNet, train_classifier
from probact.nn.convnet import Epoch

__all__ = ["arguments", "halves", "held_out_digits", "kept_numbers", "markdown",
           "save_numbers", "train_convnet"]  # fmt: skip


def arguments(
    doc: str | None,
    argv: Sequence[str] | None,
    needs: Sequence[str] | None,
    parser: argparse.ArgumentParser | None = None,
) -> argparse.Namespace:
    """Options of an example, its output folder made; `needs` are files of the root in full size.

    None for `needs`: the example reads nothing from the root.

    Options of the example's own come in through `parser`. A missing root or file ends the run with
    one line and exit code 2.
    """
    parser = parser or argparse.ArgumentParser()
    parser.description = (doc or "").strip().splitlines()[0]
    parser.add_argument("--quick", action="store_true", help="small data that need no files")
    parser.add_argument("--root", type=Path, help="folder of data sets and weights")
    parser.add_argument("--out", type=Path, default=Path("runs") / Path(parser.prog).stem)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    if not args.quick and needs is not None:
        if args.root is None:
            parser.exit(2, f"{parser.prog}: pass --root DIR, the folder of the data, or --quick\n")
        missing = [name for name in needs if not (args.root / name).is_file()]
        if missing:
            parser.exit(2, f"{parser.prog}: {args.root} lacks {', '.join(missing)}\n")
    args.out.mkdir(parents=True, exist_ok=True)
    return args


def held_out_digits() -> tuple[ImageData, ImageData]:
    """Digits to train on and digits held out: half each, since laws are fitted on the latter."""
    train, test = (datasets.digits(train=t, test_fraction=0.5) for t in (True, False))
    return train, test


def halves(labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Indices of two halves of labels (N,): by class, or at random where classes have one row."""
    if int(torch.bincount(labels).max()) > 1:
        return stratified_split(labels, test_fraction=0.5, seed=seed)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    middle = len(labels) // 2
    return order[:middle].sort().values, order[middle:].sort().values


def train_convnet(
    data: ImageData,
    dim: int,
    *,
    epochs: int,
    seed: int,
    width: int = 16,
    num_images: int | None = None,
    bias: bool = False,
) -> Iterator[Epoch]:
    """Epochs of a ConvNet with D = dim on the first `num_images` images; the last one is done."""
    images, labels = data.floats(slice(0, num_images)), data.labels[:num_images]
    torch.manual_seed(seed)
    shape = (int(images.shape[1]), int(images.shape[2]), int(images.shape[3]))
    net = ConvNet(shape, len(data.class_names), dim, width=width)
    if bias:
        net.head = torch.nn.Linear(dim, len(data.class_names))
    return train_classifier(net, images, labels, epochs=epochs, seed=seed)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table whose columns line up; bars within a cell are escaped."""
    table = [[cell.replace("|", r"\|") for cell in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(header))]
    table.insert(1, ["-" * width for width in widths])
    lines = (
        " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in table
    )
    return "\n".join(f"| {line} |" for line in lines)


def kept_numbers(path: Path, read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The numbers of a file, made first where it is missing."""
    if not path.is_file():
        save_numbers(path, read())
    numbers: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return numbers


def save_numbers(path: Path, numbers: dict[str, Any]) -> None:
    """Write JSON, rounded to six digits: the rest would differ from machine to machine."""
    path.write_text(json.dumps(_rounded(numbers), indent=1) + "\n", encoding="utf-8")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
