"""
Tables of the statistics of activation patterns
===============================================

Written by `activation_statistics.py` from its numbers.
"""

from collections.abc import Iterator
from typing import Any

from runs import markdown

from probact.analysis.patterns import expected_sign_agreement

__all__ = ["tables"]

COLUMNS = ("mean", "variance", "predicted_variance", "correlation", "distance_to_law",
           "distance_to_uniform", "saturated", "dead", "variance_ratio", "rejected")  # fmt: skip
KINDS = "adversarial", "random", "other"


def tables(numbers: dict[str, Any]) -> Iterator[str]:
    """Markdown, network by network."""
    for name, found in numbers.items():
        if name == "normalisation":
            yield _normalisation(found)
            continue
        yield f"## {name}, accuracy {found['accuracy']:.3f}"
        yield f"{found['unique']} different patterns of {found['rows']} images."
        yield _layers(found["layers"])
        yield _neighbours(found["neighbours"])
        yield _attack(found["attack"])
        yield _rest(found)


def _layers(rows: list[dict[str, Any]]) -> str:
    cells = [
        [r["name"], str(r["bits"]), _number(r["mean_distance"] / r["bits"])]
        + [_number(r[k]) for k in COLUMNS]
        for r in rows
    ]
    header = ["layer", "bits", "distance / bits", *(k.replace("_", " ") for k in COLUMNS)]
    return markdown(header, cells)


def _neighbours(rows: list[dict[str, Any]]) -> str:
    cells = [
        [r["name"], str(r["k"]), f"{r['mean']:.3f} ± {r['standard_error']:.3f}",
         f"{r['difference']:+.3f} ± {r['difference_error']:.3f}"]
        for r in rows
    ]  # fmt: skip
    return markdown(["neighbours", "k", "agreement", "less pixels"], cells)


def _attack(found: dict[str, Any]) -> str:
    cells = [
        [r["name"], str(r["num_bits"]), *(f"{r[k][0]:.1f} ± {r[k][1]:.1f}" for k in KINDS)]
        for r in found["layers"]
    ]
    table = markdown(["layer", "bits", "adversarial", "random signs", "other image"], cells)
    return (
        f"{table}\n\nAccuracy {found['accuracy']:.3f}, attacked {found['attacked']:.3f}, random "
        f"signs {found['random']:.3f}."
    )


def _rest(found: dict[str, Any]) -> str:
    group, plane = found["constellations"], found["hyperplanes"]
    mean, error = found["sign_agreement"]
    return (
        f"Constellation score {group['score']:.3f} (fair coins {group['fair']:.3f}, same p "
        f"{group['matched']:.3f}). Hyperplanes: KS distance {plane['ks_distance']:.3f}, p "
        f"{plane['p_value']:.2g}, mean squared norm {plane['square_norm']:.4f}. Sign agreement "
        f"{mean:.4f} ± {error:.4f}, expected {expected_sign_agreement():.4f} of wide layers."
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _normalisation(rows: list[dict[str, Any]]) -> str:
    names = dict.fromkeys(r["normalisation"] for r in rows)
    cells = [
        [name, *(f"{r['variance']:.3f}" for r in rows if r["normalisation"] == name)]
        for name in names
    ]
    return markdown(["variance of p", *map(str, range(1, len(cells[0])))], cells)
