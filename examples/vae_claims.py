"""
Claims on VAEs, against the numbers, and the tables of them
===========================================================

What `vae_latents.py` says of the claims of Jamroz, Kurdziel & Opala (2020), section 5, once its
networks are measured. A claim is confirmed if it holds for every network that it is about; the
share of those for which it does is given in any case. Tables have a line for each regulariser and
beta, and where they do not say otherwise, means over the seeds.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from runs import markdown

__all__ = ["by_beta", "claims", "gain", "tables"]

Numbers = dict[str, Any]
Rows = Sequence[tuple[str, list[Numbers]]]
COLLAPSED = 10.0  # beta, beyond which the paper finds beta-VAEs collapsed
NEAR_ZERO = 0.1  # of the greatest relative entropy along the grid
TITLES = {"kl": "beta-VAE", "mmd": "MMD-VAE"}


def by_beta(table: Sequence[Numbers], kind: str, beta: float) -> list[Numbers]:
    """The networks of a regulariser at a beta, one a seed."""
    return [n for n in table if n["regulariser"] == kind and n["beta"] == beta]


def gain(numbers: Numbers, worse: str, better: str, to: str = "frechet") -> tuple[float, float]:
    """Frechet distance of one sample less that of another, and its standard error.

    What they are compared with is the same for both, so that the error is rather too large.
    """
    (first, e), (second, f) = (numbers["quality"][name][to] for name in (worse, better))
    return first - second, (e**2 + f**2) ** 0.5


def claims(table: Sequence[Numbers], floors: Numbers) -> dict[str, Numbers]:
    """Every claim with whether it holds, the numbers of its networks, and a sentence."""
    kl = [n for n in table if n["regulariser"] == "kl"]
    mmd = [n for n in table if n["regulariser"] == "mmd"]
    open_codes = [n for n in table if n["regulariser"] == "mmd" or n["beta"] <= COLLAPSED]
    found = {"collapse": _collapse(kl, floors), "structure": _structure(mmd, kl)}
    for to, where in (("frechet", ""), ("frechet_to_decoded_codes", ", to decoded codes")):
        found |= {
            f"marginals{where}": _gains(open_codes, "product of marginals", "DP-GMM", to),
            f"mixture{where}": _gains(mmd, "prior", "DP-GMM", to),
            f"mixture over one Gaussian{where}": _gains(mmd, "Gaussian", "DP-GMM", to),
        }
    return found


def _collapse(kl: Sequence[Numbers], floors: Numbers) -> Numbers:
    """Relative entropy beyond beta = 10, above that of a Gaussian sample, is near zero."""
    floor = floors["relative_entropy"]["mean"]
    peak = max(n["relative_entropy"]["mean"] for n in kl)
    beyond = [n for n in kl if n["beta"] > COLLAPSED]
    rows = [
        _row(n, n["relative_entropy"]["mean"], n["relative_entropy"]["max"] - floor
             < NEAR_ZERO * peak)
        for n in beyond
    ]  # fmt: skip
    return _claim(
        rows,
        f"relative entropy beyond beta {COLLAPSED:g} is {_range(rows)} nats, {floor:.2f} for a"
        f" Gaussian sample, {peak:.2f} at its peak",
    )


def _structure(mmd: Sequence[Numbers], kl: Sequence[Numbers]) -> Numbers:
    """At the largest beta, every draw for the MMD is above every draw for the KL."""
    largest = max(n["beta"] for n in mmd)
    last = [n for n in mmd if n["beta"] == largest]
    other = [n["relative_entropy"]["max"] for n in kl if n["beta"] == largest]
    rows = [
        _row(n, n["relative_entropy"]["mean"], n["relative_entropy"]["min"] > max(other))
        for n in last
    ]
    peak = max(n["relative_entropy"]["mean"] for n in mmd)
    return _claim(
        rows,
        f"relative entropy of MMD-VAEs at beta {largest:g} is {_range(rows)} nats, {peak:.2f} at"
        f" its peak, at most {max(other):.2f} for beta-VAEs there",
    )


def _gains(networks: Sequence[Numbers], worse: str, better: str, to: str) -> Numbers:
    """Two standard errors between the Frechet distances, in every network."""
    rows = []
    for n in networks:
        value, error = gain(n, worse, better, to)
        rows.append({**_row(n, value, value > 2.0 * error), "standard_error": error})
    mean = sum(row["value"] for row in rows) / len(rows)
    return _claim(
        rows,
        f"Frechet distance from {worse} less that from {better} is {_range(rows)}, mean"
        f" {mean:.3f}",
    )


def _row(n: Numbers, value: float, holds: bool) -> Numbers:
    return {"regulariser": n["regulariser"], "beta": n["beta"], "seed": n["seed"],
            "value": value, "holds": holds}  # fmt: skip


def _range(rows: Sequence[Numbers]) -> str:
    values = [row["value"] for row in rows]
    return f"{min(values):.3f} to {max(values):.3f}"


def _claim(rows: Sequence[Numbers], words: str) -> Numbers:
    held = sum(row["holds"] for row in rows)
    return {
        "holds": held == len(rows),
        "words": f"{words}; it holds for {held} of {len(rows)} networks",
        "networks": list(rows),
    }


def tables(table: Sequence[Numbers]) -> list[str]:
    """Complexity of the codes, Frechet distances, and the other readings of samples."""
    rows = [
        (f"{title}, {beta:g}", by_beta(table, kind, beta))
        for kind, title in TITLES.items()
        for beta in sorted({n["beta"] for n in table})
    ]
    names = list(table[0]["quality"])
    return [
        _complexity_table(rows),
        *(_distance_table(rows, names, key) for key in ("frechet", "frechet_to_decoded_codes")),
        _sample_table(rows, names),
    ]


def _complexity_table(rows: Rows) -> str:
    header = ["model, beta", "squared error", "divergence", "active", "components",
              "relative entropy", "by correlation", "total correlation"]  # fmt: skip
    return markdown(
        header,
        [
            [
                name,
                f"{_mean(n['squared_error'] for n in nets):.4f}",
                f"{_mean(n['divergence_of_a_code'] for n in nets):.1f}",
                f"{_mean(n['active_coordinates'] for n in nets):g}",
                _spread([n["num_components"] for n in nets], 1),
                _spread([n["relative_entropy"] for n in nets], 2),
                f"{_mean(n['linear_relative_entropy'] for n in nets):.2f}",
                _spread([n["total_correlation"] for n in nets], 2),
            ]
            for name, nets in rows
        ],
    )


def _distance_table(rows: Rows, names: Sequence[str], key: str) -> str:
    """Every seed's distance with the error of its samples."""
    cells = [
        [name, *(", ".join("{:.2f} ± {:.2f}".format(*n["quality"][law][key]) for n in nets)
                 for law in names)]
        for name, nets in rows
    ]  # fmt: skip
    return markdown(["model, beta", *names], cells)


def _sample_table(rows: Rows, names: Sequence[str]) -> str:
    """Precision / recall / z of copies."""

    def cell(nets: list[Numbers], law: str) -> str:
        found = [n["quality"][law] for n in nets]
        shares = [_mean(q[key][0] for q in found) for key in ("precision", "recall")]
        z = _mean(q["copies_z"] for q in found)
        return f"{shares[0]:.2f} / {shares[1]:.2f} / {z:.0f}"

    return markdown(
        ["model, beta", *names],
        [[name, *(cell(nets, law) for law in names)] for name, nets in rows],
    )


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def _spread(readings: Sequence[Numbers], digits: int) -> str:
    """Mean over seeds, and the least and greatest draw of any of them."""
    low, high = min(r["min"] for r in readings), max(r["max"] for r in readings)
    mean = _mean(r["mean"] for r in readings)
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
