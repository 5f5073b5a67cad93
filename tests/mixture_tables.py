"""Reference tables of the Student t and normal-inverse-Wishart laws, from 80-digit arithmetic.

All inputs are dyadic rationals, exact in float64; they are built here from the rows' parameters.
"""

import csv
import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np

__all__ = ["NiwRow", "StudentTRow", "niw_rows", "student_t_rows"]

_FOLDER = Path(__file__).parent / "data"


class StudentTRow(NamedTuple):
    df: float
    loc: np.ndarray  # (d,)
    scale: np.ndarray  # (d, d)
    x: np.ndarray  # (d,)
    log_prob: float


class NiwRow(NamedTuple):
    kind: str
    loc: np.ndarray  # (d,)
    kappa: float
    scale: np.ndarray  # (d, d)
    df: float
    x: np.ndarray  # (n, d)
    new: np.ndarray  # (d,)
    log_marginal: float
    log_predictive: float
    log_marginal_diagonal: float


@functools.cache
def student_t_rows() -> list[StudentTRow]:
    with (_FOLDER / "student_t_reference.csv").open() as file:
        return [_student_t(row) for row in csv.DictReader(file)]


def _student_t(row: dict[str, str]) -> StudentTRow:
    d, i = int(row["d"]), np.arange(int(row["d"]))
    rho, s, r = (float(row[c]) for c in ("rho", "s", "r"))
    loc = ((i % 3) - 1) / 4
    x = loc + r * s * (((7 * i) % 11) - 5) / 8
    scale = s * s * rho ** np.abs(i[:, None] - i[None, :])
    assert scale.shape == (d, d)
    return StudentTRow(float(row["df"]), loc, scale, x, float(row["logpdf"]))


@functools.cache
def niw_rows() -> list[NiwRow]:
    with (_FOLDER / "niw_reference.csv").open() as file:
        return [_niw(row) for row in csv.DictReader(file)]


def _niw(row: dict[str, str]) -> NiwRow:
    n, d, kind = int(row["n"]), int(row["d"]), row["data"]
    kappa, df, width, rho = (float(row[c]) for c in ("kappa0", "nu0", "psi_scale", "psi_rho"))
    a, i = np.arange(n + 1)[:, None], np.arange(d)[None, :]
    x = ((5 * a * a + 3 * i * i + 7 * a * (i + 1) + 2 * i) % 17 - 8) / 8.0
    if kind == "duplicates":
        x = np.repeat(x[:1], n + 1, 0)
    elif kind == "constant_columns":
        x[:, 1:] = 0.5
    x = x + 2.0**20 if kind == "offset" else x / 2.0**20 if kind == "tiny" else x
    scale = width * np.where(i == i.T, 1.0, rho ** np.abs(i.T - i))
    values = [
        float(row[f"log_{c}"]) for c in ("marginal_full", "predictive_full", "marginal_diagonal")
    ]
    return NiwRow(kind, np.full(d, 0.25), kappa, scale, df, x[:n], x[n], *values)
