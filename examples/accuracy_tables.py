"""
Tables of accuracies over seeds
===============================

What distil.py prints and draws: means with standard errors over seeds, differences paired by seed,
and the numbers that Seo, Lee & Han (2021) print.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from runs import markdown

__all__ = ["draw", "show", "show_printed", "show_teachers", "summary"]

# CIFAR-100, teacher WRN-40-2, per cent: table 2 for two students, table 3 for WRN-16-2
PRINTED_FOR = ["WRN-16-2", "WRN-40-2", *(f"photometric:{s}" for s in (0.2, 0.4, 0.6, 0.8))]
PRINTED_FOR += [f"downsample:{f}" for f in (0.75, 0.5, 0.25)]
PRINTED = {
    "label": [73.3, 76.2, 73.53, 73.37, 72.01, 71.24, 69.46, 63.29, 49.69],
    "KD": [74.1, 77.7, 74.05, 73.05, 69.96, 66.14, 65.63, 57.53, 44.96],
    "CKD": [73.7, 76.6, 73.86, 73.92, 73.55, 71.86, 70.32, 63.53, 50.02],
    "CKD+KD": [74.0, 77.7],
}


def spread(values: Sequence[float]) -> dict[str, float]:
    """Mean and its standard error over seeds, in per cent; nan of one seed."""
    x = 100.0 * np.asarray(values)
    error = x.std(ddof=1) / np.sqrt(len(x)) if len(x) > 1 else np.nan
    return {"mean": float(x.mean()), "error": float(error)}


def summary(
    seeds: Sequence[dict[str, Any]], reading: str, against: str | None = None
) -> dict[str, dict[str, dict[str, float]]]:
    """Of each method and shift, the spread of a reading, or of its difference from a method's."""
    table: dict[str, dict[str, dict[str, float]]] = {}
    for change, methods in seeds[0]["students"].items():
        for method in methods:
            if against is not None and (method == against or against not in methods):
                continue
            rows = [seed["students"][change] for seed in seeds]
            base = [0.0 if against is None else row[against][reading] for row in rows]
            values = [row[method][reading] - b for row, b in zip(rows, base, strict=True)]
            table.setdefault(method, {})[change] = spread(values)
    return table


def show(title: str, table: dict[str, dict[str, dict[str, float]]], sign: str = "") -> None:
    if not table:
        return
    header = ["method", *next(iter(table.values()))]
    rows = [
        [name, *(f"{s['mean']:{sign}.2f} ± {s['error']:.2f}" for s in row.values())]
        for name, row in table.items()
    ]
    print(f"\n{title}\n{markdown(header, rows)}")


def show_teachers(seeds: Sequence[dict[str, Any]], first: int) -> None:
    """One row for each seed: the law of its relations, and its accuracy on shifted images."""
    changes = list(seeds[0]["students"])
    header = ["seed", "kappa", "mean cosine", "mean own p_T", "mean norm of w_i", *changes]
    rows = []
    for number, seed in enumerate(seeds, first):
        law = [seed["teacher"][k] for k in ("kappa", "mean_cosine", "own_prob", "weight_norm")]
        scores = [100.0 * seed["teacher"]["accuracy"][change] for change in changes]
        rows.append([str(number), *(f"{v:.3g}" for v in law), *(f"{v:.2f}" for v in scores)])
    print(f"\nTeachers, accuracy in per cent\n{markdown(header, rows)}")


def draw(seeds: Sequence[dict[str, Any]], path: Path) -> None:
    """Accuracy of every seed, with mean and standard error, a panel for each shift."""
    accuracies = summary(seeds, "accuracy")
    changes, methods = list(seeds[0]["students"]), list(accuracies)
    figure = Figure(figsize=(1.5 + 3.2 * len(changes), 3.2), layout="constrained")
    for ax, change in zip(
        figure.subplots(1, len(changes), squeeze=False)[0], changes, strict=True
    ):
        for row, method in enumerate(methods):
            values = [100.0 * seed["students"][change][method]["accuracy"] for seed in seeds]
            ax.plot(values, [row] * len(values), "o", color="0.6", ms=4)
            found = accuracies[method][change]
            ax.errorbar(found["mean"], row, xerr=found["error"], fmt="D", color="C0", ms=4)
        ax.set(title=change, xlabel="accuracy, per cent", ylim=(len(methods) - 0.5, -0.5))
        ax.set_yticks(range(len(methods)), methods if ax.get_subplotspec().is_first_col() else [])
    figure.savefig(path, dpi=150)


def show_printed() -> None:
    """Tables 2 and 3 of the paper."""
    rows = []
    for name, values in PRINTED.items():
        missing = ["not printed"] * (len(PRINTED_FOR) - len(values))
        rows.append([name, *map(str, values), *missing])
    print(f"\nPrinted in the paper\n{markdown(['CIFAR-100', *PRINTED_FOR], rows)}")
