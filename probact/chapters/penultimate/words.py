"""The chapter's paragraphs and tables."""

import json
from collections.abc import Callable
from importlib import resources

import pandas as pd

from probact.analysis import DirectionalFit
from probact.chapters.penultimate.measures import Measures, NetMeasures
from probact.models import HeldOut
from probact.study import Study, Table

__all__ = [
    "departures",
    "law_table",
    "loo_table",
    "other_networks_table",
    "readings_table",
    "use_of_samples",
    "verdict",
    "what_was_done",
]


def what_was_done(m: Measures, study: Study) -> str:
    """The set-up and the claim."""
    fitted, scored = len(m.wide.net.fitting.x), len(m.wide.net.scoring.x)
    return (
        f"Two small conv nets were trained on {study.dataset}: one with a 2-d penultimate layer "
        f"(accuracy {m.planar.net.accuracy:.1%} on held-out images) and one with {m.wide.dim} "
        f"units ({m.wide.net.accuracy:.1%}). The claim under test: the direction of an activation "
        "of class i follows a von Mises-Fisher law around the class's weight vector, with one "
        f"concentration kappa. Laws were fitted to the activations of {fitted} held-out images "
        f"and scored on those of {scored} others."
    )


def verdict(m: Measures) -> str:
    """Whether the claim holds, per network."""
    return " ".join(_verdict(net) for net in (m.planar, m.wide))


def _verdict(m: NetMeasures) -> str:
    best, uniform = next(iter(m.scores)), m.scores["uniform"]
    words = (
        f"At D = {m.dim} the tied vMF (kappa = {m.kappa:.3g}) gains {-uniform.gain:.2f} ± "
        f"{uniform.gain_error:.2f} nats per activation over the uniform law"
    )
    gain = m.scores[best]
    if gain.gain <= 2.0 * gain.gain_error:
        words += ", and no rival beats it by two standard errors."
    else:
        words += (
            f", but the best rival, {best}, beats it by {gain.gain:.2f} ± {gain.gain_error:.2f}: "
            "the tied law is not the whole story here."
        )
    fit = m.readings
    test = f"{fit.ks_distance:.3f} (p = {fit.ks_pvalue:.1g})"
    return f"{words} The cosines' Kolmogorov-Smirnov distance to it is {test}."


def departures(m: Measures) -> str:
    """Where the tied law fails, in words, with the numbers of the table below it."""
    return " ".join(
        [
            *(_departures(net) for net in (m.planar, m.wide)),
            "Networks that end in a ReLU depart further: all their activations have no negative "
            "coordinate, none of the tied law's draws are so, and one direction for all classes "
            "(pooled vMF) describes them better than the tied law; see the last table.",
        ]
    )


def _departures(m: NetMeasures) -> str:
    fit = m.readings
    related = abs(fit.norm_correlation) > 2.0 / len(m.net.scoring.x) ** 0.5
    norms = "goes with" if related else "tells nothing of"
    return (
        f"At D = {m.dim} class means lie up to {max(fit.mean_angle):.0f} degrees off the weight; "
        f"classes differ in spread (mean cosines {min(fit.class_cosine):.2f} to "
        f"{max(fit.class_cosine):.2f}); the norm |x| {norms} the cosine (rank correlation "
        f"{fit.norm_correlation:+.2f})."
    )


def law_table(m: Measures) -> Table:
    """Both networks' held-out densities."""
    names = list(dict.fromkeys([*m.wide.scores, *m.planar.scores]))
    rows = tuple((n, *_cells(m.planar.scores, n), *_cells(m.wide.scores, n)) for n in names)
    dims = f"D = {m.planar.dim}", f"D = {m.wide.dim}"
    header = ("law", dims[0], "over tied vMF", dims[1], "over tied vMF")
    return Table(
        "Held-out mean log density in nats per activation ± standard error.", header, rows
    )


def _cells(scores: dict[str, HeldOut], name: str) -> tuple[str, str]:
    if name not in scores:
        return "left out", ""
    s = scores[name]
    return f"{s.mean:.3f} ± {s.standard_error:.3f}", f"{s.gain:+.3f} ± {s.gain_error:.3f}"


def loo_table(table: pd.DataFrame) -> Table:
    """Expected log densities by leave-one-out, best first."""
    rows = tuple(
        (
            str(law),
            f"{row['elpd']:.1f}",
            f"{row['behind']:.1f} ± {row['dse']:.1f}",
            f"{row['p']:.1f}",
            _pareto(row["warning"], row["p"]),
        )
        for law, row in table.iterrows()
    )
    header = ("law", "elpd (nats)", "behind the best", "effective parameters", "Pareto k warning")
    caption = "Leave-one-out cross-validation of posteriors on the wide layer's fitting half."
    return Table(caption, header, rows)


def _pareto(warning: bool, effective_parameters: float) -> str:
    if effective_parameters < 1e-3:  # the uniform law: no parameter, so k has no meaning
        return ""
    return "yes" if warning else "no"


def readings_table(m: Measures) -> Table:
    """Where the tied law departs from the data."""

    def row(name: str, cell: Callable[[DirectionalFit], str]) -> tuple[str, ...]:
        return (name, cell(m.planar.readings), cell(m.wide.readings))

    rows = (
        row("mean cosine to the own weight", lambda f: f"{f.mean_cosine:.3f}"),
        row(
            "lowest and highest class mean of it",
            lambda f: f"{min(f.class_cosine):.3f}, {max(f.class_cosine):.3f}",
        ),
        row(
            "largest angle of a class mean to its weight",
            lambda f: f"{max(f.mean_angle):.1f} degrees",
        ),
        row("rank correlation of |x| and cosine", lambda f: f"{f.norm_correlation:+.2f}"),
        row(
            "no negative coordinate: data, law",
            lambda f: f"{f.non_negative:.1%}, {f.model_non_negative:.1%}",
        ),
    )
    header = ("reading", f"D = {m.planar.dim}", f"D = {m.wide.dim}")
    return Table("Where the tied law departs from the data (scoring half).", header, rows)


def use_of_samples(m: Measures) -> str:
    """What the fitted law is good for."""
    count = m.samples.shape[0] * m.samples.shape[1]
    return (
        f"Bayes' rule through the fitted law classifies the scoring half with accuracy "
        f"{m.bayes_accuracy:.1%}. Of {count} activations drawn from its posterior predictive law "
        f"(samples.npz), the head assigns {m.own_class_share:.1%} to the class they were drawn "
        f"for. Entries of p_T carry a standard error of {m.relations.standard_error.max():.1g} "
        "at most."
    )


def other_networks_table() -> tuple[Table, ...]:
    """The same comparison on other networks, as examples/law_table.py measured it."""
    stored = resources.files("probact.chapters").joinpath("law_table.json")
    measured = json.loads(stored.read_text(encoding="utf-8"))
    sources = {k: v for k, v in measured.items() if not k.startswith("digits")}
    if not sources:
        return ()
    names = list(dict.fromkeys(name for s in sources.values() for name in s["laws"]))
    rows = tuple(
        (name, *(_stored_cell(source["laws"].get(name)) for source in sources.values()))
        for name in names
    )
    caption = "Other networks, measured beforehand: held-out mean log density in nats ± s.e."
    return (Table(caption, ("law", *sources), rows),)


def _stored_cell(values: list[float] | None) -> str:
    return "left out" if values is None else f"{values[0]:.2f} ± {values[1]:.2f}"
