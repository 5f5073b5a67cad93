"""
Tables of the neurons kept and removed
======================================

What `neuron_pruning.py` prints: means over networks, with standard errors.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from runs import markdown

__all__ = ["Measured", "tables"]

ROWS = {
    "magnitude": "small magnitude, whole head",
    "magnitude_per_class": "small magnitude, per class",
    "ald": "small deviation `r (theta - m)^+ + l (m - theta)^+`",
    "deviation, set to the mode": "the same, set to the mode instead of zero",
    "density": "small `-log f`",
    "contribution": "small mean contribution",
    "random": "random",
    "literal": "**large deviation, the proposal as worded**",
}
RIVALS = ("node", "other tail", "largest magnitude", "largest contribution", "random")


class Measured(NamedTuple):
    """One number of one network."""

    part: str
    row: str
    column: str
    value: float


def tables(runs: Sequence[Sequence[Measured]]) -> str:
    """Markdown: accuracies of the nodes kept, without and with recentring, and of pruning."""
    by_cell: dict[tuple[str, str, str], list[float]] = {}
    for run in runs:
        for part, row, column, value in run:
            by_cell.setdefault((part, row, column), []).append(value)

    def cell(part: str, row: str, column: str) -> str:
        values = by_cell.get((part, row, column), [])
        return mean_and_error(values) if len(values) == len(runs) else "-"

    kept = [row for part, row, _ in by_cell if part == "neurons"]
    lines = [f"All weights: {cell('full', '', '')}; {len(runs)} networks.", ""]
    for part in ("keep", "keep, recentred"):
        rows = [
            [f"`{row}`", f"{np.mean(by_cell['neurons', row, '']):.0f}"]
            + [cell(part, row, rival) for rival in RIVALS]
            for row in kept
        ]
        lines += [f"{part}:", "", markdown(["kept", "neurons", *RIVALS], rows), ""]
    shares = list(dict.fromkeys(column for part, _, column in by_cell if part == "prune"))
    header = ["removed first", *(f"{100 * float(share):g} %" for share in shares)]
    for part in ("prune", "prune, recentred"):
        rows = [
            [label, *(cell(part, row, share) for share in shares)] for row, label in ROWS.items()
        ]
        lines += [f"{part}:", "", markdown(header, rows), ""]
    return "\n".join(lines[:-1])


def mean_and_error(values: Sequence[float]) -> str:
    """Mean and its standard error."""
    if len(values) < 2:
        return f"{np.mean(values):.3f}"
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1) / np.sqrt(len(values)):.3f}"
