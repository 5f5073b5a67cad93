"""
Tables of the orthogonal filters
================================

Test accuracies beside the printed ones, and differences within seeds.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from runs import markdown

__all__ = ["ACTIVATIONS", "METHODS", "RATES", "tables"]

METHODS = ("baseline", "penalty", "mean penalty", "qr", "qr lengths")
ACTIVATIONS = ("relu", "swish", "learned swish")
RATES = (1e-3, 5e-4, 1e-4)
NAMES = {
    **{name: name for name in METHODS},
    **{"qr": "exact QR", "qr lengths": "exact QR, free lengths"},
}
# CIFAR-10 of the paper's Table 2; the order of its outer columns is not certain
PRINTED = {
    "baseline": {1e-3: "80.3 ± 0.4", 5e-4: "80.2 ± 0.2", 1e-4: "76.2 ± 0.3"},
    "penalty": {1e-3: "84.0 ± 0.3", 5e-4: "82.3 ± 0.1", 1e-4: "79.1 ± 0.2"},
}
Record = dict[str, Any]


def tables(records: Sequence[Record], dataset: str) -> str:
    """Accuracies by rate, accuracies by activation and normalisation, and paired differences."""
    parts = [
        f"Test accuracy in per cent, mean ± standard error over seeds, {len(records)} runs. "
        "ReLU, no batch-norm:",
        by_rate(records, dataset),
        "By activation and batch-norm:",
        by_layer(records),
        "Differences within seeds, in points:",
        differences(records),
    ]
    diverged = [r for r in records if r["diverged"]]
    if diverged:
        parts.append(f"{len(diverged)} runs ended in a loss that is not finite, and count.")
    return "\n\n".join(parts)


def by_rate(records: Sequence[Record], dataset: str) -> str:
    """The paper's table: a row for each method, the printed numbers beside on CIFAR-10."""
    plain = [r for r in records if (r["activation"], r["batch_norm"]) == ("relu", False)]
    rates = sorted({r["rate"] for r in plain}, reverse=True)
    header = ["filters", "mean squared cosine"]
    for rate in rates:
        header += [f"rate {rate:g}", *(["printed"] if dataset == "cifar10" else [])]
    rows = []
    for method in used(plain):
        own = [r for r in plain if r["method"] == method]
        row = [NAMES[method], cosine(own)]
        for rate in rates:
            row.append(summary([100 * r["score"] for r in own if r["rate"] == rate]))
            if dataset == "cifar10":
                row.append(PRINTED.get(method, {}).get(rate, ""))
        rows.append(row)
    return markdown(header, rows)


def by_layer(records: Sequence[Record]) -> str:
    """A row for each activation with and without batch-norm, a column for each method."""
    rows, methods = [], used(records)
    for condition in conditions(records):
        own = [r for r in records if where(r) == condition]
        cells = [summary([100 * r["score"] for r in own if r["method"] == m]) for m in methods]
        rows.append([*named(condition), *cells])
    return markdown(["activation", "batch-norm", "rate", *(NAMES[m] for m in methods)], rows)


def differences(records: Sequence[Record]) -> str:
    """Of each kind of orthogonality to the baseline, and of exact filters to the penalty."""
    methods = used(records)
    pairs = [(m, "baseline") for m in methods if m != "baseline"]
    pairs += [("qr", "penalty")] if {"qr", "penalty"} <= set(methods) else []
    rows = []
    for condition in conditions(records):
        own = {(r["method"], r["seed"]): r["score"] for r in records if where(r) == condition}
        seeds = sorted({seed for _, seed in own})
        cells = []
        for first, second in pairs:
            gaps = [
                100 * (own[first, s] - own[second, s])
                for s in seeds
                if (first, s) in own and (second, s) in own
            ]
            cells.append(summary(gaps, signed=True))
        rows.append([*named(condition), *cells])
    header = [f"{NAMES[first]} - {NAMES[second]}" for first, second in pairs]
    return markdown(["activation", "batch-norm", "rate", *header], rows)


def used(records: Sequence[Record]) -> list[str]:
    """Methods that were run."""
    return [m for m in METHODS if any(r["method"] == m for r in records)]


def where(record: Record) -> tuple[str, bool, float]:
    """What a comparison of methods holds fixed, apart from the seed."""
    return record["activation"], record["batch_norm"], record["rate"]


def conditions(records: Sequence[Record]) -> list[tuple[str, bool, float]]:
    """Those that were run: ReLU first, no batch-norm first, the largest rate first."""

    def order(condition: tuple[str, bool, float]) -> tuple[int, bool, float]:
        return ACTIVATIONS.index(condition[0]), condition[1], -condition[2]

    return sorted({where(r) for r in records}, key=order)


def named(condition: tuple[str, bool, float]) -> list[str]:
    """Cells of a condition."""
    activation, batch_norm, rate = condition
    return [activation, "yes" if batch_norm else "no", f"{rate:g}"]


def cosine(records: Sequence[Record]) -> str:
    """Mean squared cosine of two filters at the end."""
    return f"{np.mean([r['mean_squared_cosine'] for r in records]):.2g}" if records else ""


def summary(values: Sequence[float], *, signed: bool = False) -> str:
    """Mean ± standard error over seeds, and how many there are where it is not three or more."""
    if not values:
        return ""
    mean = f"{np.mean(values):{'+' if signed else ''}.2f}"
    if len(values) == 1:
        return f"{mean} (1 run)"
    error = f"{mean} ± {np.std(values, ddof=1) / len(values) ** 0.5:.2f}"
    return error if len(values) > 2 else f"{error} ({len(values)} runs)"
