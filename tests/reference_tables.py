"""The reference table of the von Mises-Fisher law, from 80-digit arithmetic."""

import csv
import functools
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["vmf_dims", "vmf_rows"]


@functools.cache
def _read() -> dict[int, dict[str, list[float]]]:
    table: dict[int, dict[str, list[float]]] = {}
    with (Path(__file__).parent / "data" / "vmf_reference.csv").open() as file:
        for row in csv.DictReader(file):
            columns = table.setdefault(int(row.pop("d")), {name: [] for name in row})
            for name, digits in row.items():
                columns[name].append(float(digits))
    return table


def vmf_dims() -> list[int]:
    return list(_read())


def vmf_rows(dim: int) -> dict[str, Tensor]:
    """Columns of one dimension, each (11,) in float64, by name."""
    return {name: torch.tensor(c, dtype=torch.float64) for name, c in _read()[dim].items()}
