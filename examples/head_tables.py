"""
Tables of last layers
=====================

Means over networks and images of what `bayesian_head.py` measured, with their errors, as tables.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from runs import markdown

from probact import analysis

__all__ = ["summary", "tables"]

Networks = Sequence[dict[str, Any]]  # what was measured of a layer, one entry a network

SCORES = ("accuracy", "nll", "brier", "ece")
TRAINED, GAUSSIAN = "trained head", "Gaussian, Gibbs"  # what the others are compared with


def summary(each: Networks) -> dict[str, Any]:
    """[value, standard error] of the scores of each layer, and of their paired differences.

    Keys "nll - trained" and the like: to the trained head; "nll - Gaussian": to the Gaussian prior
    sampled in the same way, which leaves the prior as the only difference.
    """
    out = {}
    for name in each[0]:
        own = [e[name] for e in each]
        others = {"trained": [e[TRAINED] for e in each], "Gaussian": [e[GAUSSIAN] for e in each]}
        entry: dict[str, Any] = {}
        for score in ("accuracy", "nll", "brier"):
            entry[score] = list(analysis.crossed_mean(by_row(own, score)))
            for other, rival in others.items():
                gap = by_row(own, score) - by_row(rival, score)
                entry[f"{score} - {other}"] = list(analysis.crossed_mean(gap))
        entry["ece"] = over_networks([e["ece"] for e in own])
        entry["ece - trained"] = over_networks([e["ece_gap"] for e in own])
        entry["floor"] = float(np.mean([e["ece"]["floor"] for e in own]))
        entry["debiased"] = float(np.mean([e["ece"]["debiased"] for e in own]))
        hats = [e["rhat"] for e in own if e["rhat"] is not None]
        entry["rhat"] = max(hats) if hats else None
        entry["auroc"] = {kind: finding(own, kind) for kind in own[0]["auroc"]}
        entry["curve"] = pooled([e["curve"] for e in own])
        out[name] = entry
    return out


def by_row(own: Networks, score: str) -> torch.Tensor:
    """Scores (networks, images)."""
    return torch.tensor([e[score] for e in own], dtype=torch.float64)


def finding(own: Networks, kind: str) -> dict[str, list[float]]:
    """AUROC, its standard error and the false positives at 95 per cent, of each score."""
    found = {}
    for score in ("entropy", "own"):
        each = [e["auroc"][kind][score] for e in own]
        found[score] = [*over_networks(each), float(np.mean([e["fpr"] for e in each]))]
    return found


def over_networks(each: Sequence[dict[str, float]]) -> list[float]:
    """Mean, and the root of the mean variance within networks plus that of the mean over them."""
    values = np.array([e["value"] for e in each])
    within = np.mean([e["standard_error"] ** 2 for e in each])
    between = values.var(ddof=1) / len(values) if len(values) > 1 else 0.0
    return [float(values.mean()), float(np.sqrt(within + between))]


def pooled(curves: Sequence[Sequence[Sequence[float]]]) -> list[list[float]]:
    """Means over networks of confidence, share right and its standard error, bin by bin.

    Networks whose ties leave them fewer bins are left out.
    """
    most = max(len(curve[0]) for curve in curves)
    kept = np.array([np.array(curve)[:3] for curve in curves if len(curve[0]) == most])
    return kept.mean(0).tolist()


def tables(found: dict[str, Any]) -> str:
    """Scores of the layers; differences; how well foreign images are found."""
    scores = [
        [name, *(pm(entry[score]) for score in SCORES), f"{entry['floor']:.3f}",
         f"{entry['rhat']:.2f}" if entry["rhat"] else ""]
        for name, entry in found.items()
    ]  # fmt: skip
    differences = [f"{score} - trained" for score in SCORES] + ["nll - Gaussian"]
    gaps = [
        [name, *(pm(entry[d]) if entry[d][1] else "" for d in differences)]
        for name, entry in found.items()
        if name != TRAINED
    ]
    kinds = list(found[TRAINED]["auroc"])
    columns = [(kind, score) for kind in kinds for score in ("entropy", "own")]
    foreign = [
        [name, *(pm(entry["auroc"][k][s][:2]) if entry["auroc"][k][s][1] else ""
                 for k, s in columns)]
        for name, entry in found.items()
    ]  # fmt: skip
    parts = [
        markdown(["layer", *SCORES, "floor", "R-hat"], scores),
        markdown(["difference", *differences], gaps),
        markdown(["AUROC", *(f"{kind}: {score}" for kind, score in columns)], foreign),
    ]
    return "\n\n".join(parts)


def pm(pair: Sequence[float]) -> str:
    """Value and standard error, without a minus before zero."""
    return f"{round(pair[0], 3) + 0.0:.3f} ± {pair[1]:.3f}"
