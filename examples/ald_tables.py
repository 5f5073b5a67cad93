"""
Tables of a head's weights
==========================

The numbers of `ald_heads.py` as markdown.
"""

from collections.abc import Sequence
from typing import Any

from runs import markdown

__all__ = ["report"]

SHORT = {
    "asymmetric_laplace": "asym. Laplace",
    "laplace": "Laplace",
    "normal": "normal",
    "logistic": "logistic",
    "skew_logistic": "skew logistic",
    "student_t": "Student t",
    "exponential": "exponential",
}


def report(numbers: dict[str, Any]) -> str:
    """All tables, each under a line that says what it holds."""
    heads = numbers["heads"]
    parts = [
        ("Best family per class by BIC", wins(heads, "wins")),
        ("The same without the skew logistic", wins(heads, "wins_without_skew_logistic")),
        ("BIC / 2 behind the best family, nats a class: median [quartiles]", behind(heads)),
        ("Rejected at 5 % false discoveries", fits(heads)),
        ("kappa and lambda across classes", across(heads)),
        ("Algorithm 1: slope and R^2, mean (standard deviation) over classes", ranks(heads)),
        ("Leave-one-out: nats behind the best family", leave_one_out(numbers["leave_one_out"])),
    ]
    if "digits" in numbers:
        parts.append(("Heads trained on digits, three seeds", digits(numbers["digits"])))
    return "\n\n".join(f"{title}\n\n{table}" for title, table in parts)


def wins(heads: Sequence[dict[str, Any]], what: str) -> str:
    families = list(heads[0][what])
    rows = [
        [head["name"], str(head["features"]), *(str(head[what][name]) for name in families)]
        for head in heads
    ]
    return markdown(["head", "n", *(SHORT[name] for name in families)], rows)


def behind(heads: Sequence[dict[str, Any]]) -> str:
    families = list(heads[0]["nats_behind"])
    rows = []
    for head in heads:
        cells = []
        for name in families:
            low, middle, high = head["nats_behind"][name]
            cells.append(f"{middle:.1f} [{low:.1f}, {high:.1f}]")
        rows.append([head["name"], *cells])
    return markdown(["head", *(SHORT[name] for name in families)], rows)


def fits(heads: Sequence[dict[str, Any]]) -> str:
    header = ["head", "classes", "KS", "AD", "AD, right half", "AD, left half", "repeated value",
              "dead features", "AD, rounding undone", "skew logistic, AD"]  # fmt: skip
    rows = []
    for head in heads:
        smooth = head["skew_logistic"]
        rows.append(
            [
                head["name"],
                str(head["classes"]),
                *(str(count) for count in head["rejected"].values()),
                f"{head['repeated']:.1%}",
                str(head["dead"]),
                str(head["unrounded"]["rejected"]),
                f"{smooth['rejected']} of {smooth['tested']} ({smooth['below']} alone)",
            ]
        )
    return markdown(header, rows)


def across(heads: Sequence[dict[str, Any]]) -> str:
    header = ["head", "kappa", "5 to 95 %", "sd log", "se log of a class", "sd beyond errors",
              "kappa not 1", "lambda", "5 to 95 %", "sd log", "se log of a class"]  # fmt: skip
    rows = []
    for head in heads:
        kappa, rate = head["kappa"], head["lambda"]
        rows.append(
            [
                head["name"],
                f"{kappa['mean']:.3f} ± {kappa['standard_error']:.3f}",
                f"{kappa['low']:.2f} to {kappa['high']:.2f}",
                f"{kappa['spread']:.3f}",
                f"{kappa['error_of_a_class']:.3f}",
                f"{kappa['spread_beyond_errors']:.3f}",
                str(head["asymmetric"]),
                f"{rate['mean']:.2f} ± {rate['standard_error']:.2f}",
                f"{rate['low']:.1f} to {rate['high']:.1f}",
                f"{rate['spread']:.3f}",
                f"{rate['error_of_a_class']:.3f}",
            ]
        )
    return markdown(header, rows)


def ranks(heads: Sequence[dict[str, Any]]) -> str:
    rows = []
    for head in heads:
        for source, found in head["algorithm1"].items():
            pairs = [
                found[f"{what}_{side}"] for side in ("right", "left") for what in ("slope", "r2")
            ]
            cells = [f"{mean:.3f} ({sd:.3f})" for mean, sd in pairs]
            rows.append([head["name"], source, *cells])
    header = ["head", "of", "slope, +", "R^2, +", "slope, -", "R^2, -"]
    return markdown(header, rows)


def leave_one_out(rows: Sequence[dict[str, Any]]) -> str:
    families = sorted(rows[0]["families"], key=list(SHORT).index)
    table = []
    for row in rows:
        cells = []
        for name in families:
            found = row["families"][name]
            best = found["behind"] == 0.0
            cells.append("best" if best else f"{found['behind']:.1f} ± {found['dse']:.1f}")
        table.append([row["head"], f"{row['class']} {row['name'].split(',')[0]}", *cells])
    return markdown(["head", "class", *(SHORT[name] for name in families)], table)


def digits(rows: Sequence[dict[str, Any]]) -> str:
    table = []
    for row in rows:
        won = ", ".join(f"{SHORT[name]} {count}" for name, count in row["wins"].items() if count)
        mean, sd = row["kappa"]
        table.append(
            [
                row["init"],
                f"{row['decay']:g}",
                f"{row['features']}, {row['num_features']:.0f}",
                f"{row['accuracy']:.3f}",
                won,
                f"{mean:.3f} ({sd:.3f})",
                f"{row['ks']:.3f}",
                f"{row['rejected']} of {row['tested']}",
            ]
        )
    header = ["initial head", "weight decay", "features", "accuracy", "best of 30 classes",
              "kappa (sd log)", "KS", "rejected"]  # fmt: skip
    return markdown(header, table)
