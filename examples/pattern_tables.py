"""
Tables of the models of patterns
================================

What `pattern_models.py` prints, from its numbers.
"""

from typing import Any

from runs import markdown

__all__ = ["checks_table", "classes_table", "held_out_table", "images_table"]


def held_out_table(numbers: dict[str, Any]) -> str:
    """Log probabilities of held-out patterns, and the two laws of independent units."""
    held, one = numbers["held_out"], numbers["independent"]
    header = ["model", "all units (nats)", f"first {held['few']} units (nats)"]
    rows = [[name, *(_mean(v) for v in pair)] for name, pair in held["rows"].items()]
    pseudo, alone = held["ising_pseudo"], held["rows"]["independent"][0]
    return "\n".join([
        markdown(header, rows), "",
        f"Log pseudo-likelihood of the Ising model, all units: {_mean(pseudo)}; of independent "
        f"units: {_mean(alone)}. Largest standard error of an orthant: "
        f"{held['largest_error']:.3f} nats.", "",
        f"Log evidence a fitted pattern: Beta-Bernoulli {one['beta_evidence']:.2f} nats (mean "
        f"{one['mean']:.3f}, precision {one['precision']:.2f}), probit-normal "
        f"{one['probit_evidence']:.2f} (v {one['variance']:.3f}, c {one['correlation']:.3f}).",
    ])  # fmt: skip


def classes_table(numbers: dict[str, Any]) -> str:
    """Latent classes beside labels."""
    header = [
        "model",
        "occupied",
        "purity",
        "1-NN agreement of classes",
        "chains apart (sd of lp)",
    ]
    rows = [
        [name, f"{row['occupied']:.1f}", f"{row['purity']:.3f}", f"{row['neighbours']:.3f}",
         f"{row['lp_gap']:.2f}"]
        for name, row in numbers["classes"].items()
    ]  # fmt: skip
    return f"{markdown(header, rows)}\n\n1-NN agreement of labels: {numbers['neighbours']:.3f}."


def checks_table(numbers: dict[str, Any]) -> str:
    """A row a statistic: the data's value, and each model's mean with its p-value."""
    checks = numbers["checks"]
    first = next(iter(checks.values()))
    rows = [
        [name, f"{row['observed']:.4g}",
         *(f"{c[name]['mean']:.4g} (p {c[name]['p_value']:.2f})" for c in checks.values())]
        for name, row in first.items()
    ]  # fmt: skip
    return markdown(["statistic", "observed", *checks], rows)


def images_table(numbers: dict[str, Any]) -> str:
    """How near inputs come to patterns."""
    rows = [
        [name, f"{start:.1f}", _mean([mean, error]), f"{share:.2f}"]
        for name, (start, mean, error, share) in numbers["images"].items()
    ]
    header = ["patterns of", "bits from the nearest fitted", "bits missed", "share met"]
    return markdown(header, rows)


def _mean(value: list[float] | None) -> str:
    return "-" if value is None else f"{value[0]:.2f} ± {value[1]:.2f}"
