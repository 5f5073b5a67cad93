"""
Tables of the hyperspherical VAEs
=================================

Log-likelihoods beside the printed ones, and paired differences between the models.
"""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from runs import markdown

__all__ = ["MODELS", "differences", "table"]

MODELS = ("HVAE", "HVAE-C", "HVAE-L")
PRINTED = {  # log-likelihood and ELBO of the paper's Table 4
    "HVAE": {3: (-135.0, -138.3), 5: (-115.3, -120.3), 10: (-97.7, -105.5), 20: (-95.0, -106.3)},
    "HVAE-C": {3: (-139.4, -141.7), 5: (-119.6, -123.5), 10: (-98.4, -105.5), 20: (-94.7, -105.5)},
    "HVAE-L": {3: (-133.0, -136.2), 5: (-114.3, -119.1), 10: (-95.6, -103.6), 20: (-92.8, -104.0)},
}


def table(records: Sequence[dict[str, Any]]) -> str:
    """Means over seeds beside the printed numbers."""
    header = (
        "model", "dim", "sphere", "runs", "LL", "s.d. of runs", "printed LL", "ELBO",
        "printed ELBO", "RE", "KL", "log p(x)", "Bayes accuracy",
    )  # fmt: skip
    rows = []
    keys = sorted({(r["dim"], MODELS.index(r["model"])) for r in records})
    for dim, index in keys:
        own = [r for r in records if (r["dim"], r["model"]) == (dim, MODELS[index])]
        ll = np.array([r["log_likelihood"] for r in own])
        known = PRINTED[MODELS[index]].get(dim) if own[0]["setting"] != "quick" else None
        printed = ("", "") if known is None else tuple(f"{value:.1f}" for value in known)
        marginal = np.mean([r["log_likelihood"] - r.get("label_worth", 0.0) for r in own])
        rows.append(
            (
                MODELS[index], str(dim), f"S^{dim - 1}", str(len(own)), f"{ll.mean():.2f}",
                f"{ll.std(ddof=1):.2f}" if len(ll) > 1 else "", printed[0],
                f"{mean(own, 'elbo'):.2f}", printed[1],
                f"{mean(own, 'reconstruction'):.2f}", f"{mean(own, 'kl'):.2f}", f"{marginal:.2f}",
                f"{mean(own, 'bayes_accuracy'):.3f}" if "bayes_accuracy" in own[0] else "",
            )
        )  # fmt: skip
    return markdown(header, rows)


def differences(records: Sequence[dict[str, Any]], folder: Path) -> str:
    """HVAE-L against the others on the same images: nats, and how many standard errors.

    The standard error is over the test images; with several runs also over them, and the larger is
    shown. Of three runs it is itself uncertain: 4.3 of them make a difference at the 5 % level.
    """
    header = (
        "dim",
        "against",
        "runs",
        "log p(x | y)",
        "s.e.",
        "ratio",
        "log p(x)",
        "s.e.",
        "ratio",
    )
    rows = []
    for dim, other in product(sorted({r["dim"] for r in records}), MODELS[:2]):
        pairs = [
            (a, b)
            for a, b in product(records, repeat=2)
            if (a["model"], b["model"]) == ("HVAE-L", other)
            and a["dim"] == b["dim"] == dim
            and a["seed"] == b["seed"]
        ]
        if pairs:
            cells = [*gap(pairs, "given", folder), *gap(pairs, "marginal", folder)]
            rows.append((str(dim), other, str(len(pairs)), *cells))
    return markdown(header, rows)


def gap(
    pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]], which: str, folder: Path
) -> tuple[str, str, str]:
    """Mean difference of paired images, its standard error and their ratio."""
    first, second = ([scores(folder, pair[i], which) for pair in pairs] for i in (0, 1))
    count = min(len(first[0]), len(second[0]))
    gaps = np.stack([a[:count] - b[:count] for a, b in zip(first, second, strict=True)])
    error = float(gaps.mean(0).std(ddof=1)) / count**0.5
    if len(pairs) > 1:
        error = max(error, float(gaps.mean(1).std(ddof=1)) / len(pairs) ** 0.5)
    value = float(gaps.mean())
    return f"{value:+.2f}", f"{error:.2f}", f"{value / error:+.1f}"


def scores(folder: Path, record: dict[str, Any], which: str) -> np.ndarray:
    """Log-likelihoods of a run's test images, "given" the label or "marginal"."""
    name = f"{record['model']}-{record['dim']}-{record['seed']}-{record['setting']}.npz"
    stored: np.ndarray = np.load(folder / name, allow_pickle=False)[which]
    return stored.astype(np.float64)


def mean(records: Sequence[dict[str, Any]], key: str) -> float:
    """Mean over runs."""
    return float(np.mean([r[key] for r in records]))
