"""The chapter's paragraphs and tables."""

import math
from collections.abc import Sequence

import torch

from probact.analysis import Reading
from probact.chapters.mixture.measures import Measures
from probact.study import Study, Table

__all__ = [
    "clusters_table",
    "complexity_words",
    "density_table",
    "density_words",
    "partition_words",
    "what_was_done",
]


def what_was_done(m: Measures, study: Study) -> str:
    """The set-up."""
    return (
        f"The activations of {len(m.x)} held-out images in the wide network, projected on the "
        f"{m.x.shape[1]} principal axes that hold {m.variance_kept:.0%} of their variance, were "
        "given to a Dirichlet-process Gaussian mixture, without their classes: how many clusters "
        "there are is part of what is inferred. Two chains of collapsed Gibbs sweeps with "
        "split-merge moves drew partitions from the exact posterior."
    )


def partition_words(m: Measures) -> str:
    """K, alpha, and clusters against classes."""
    k, counts = m.num_components.unique(return_counts=True)
    common = int(k[counts.argmax()])
    found = int(m.partition.max()) + 1
    between = float(m.agreement.rand_index[0, 1])
    return (
        f"The draws have {int(k.min())} to {int(k.max())} clusters, most often {common} "
        f"({float(counts.max()) / len(m.num_components):.0%} of draws); alpha is "
        f"{float(m.alpha.mean()):.2f} ± {float(m.alpha.std()):.2f}. The partition with the least "
        f"expected variation of information has {found}; its adjusted Rand index with the "
        f"{int(m.labels.max()) + 1} classes is {m.rand_index:.2f}. The chains' point estimates "
        f"agree with index {between:.2f}. {_mixing(m)}"
    )


def _mixing(m: Measures) -> str:
    """How far the draws of K may be trusted."""
    if not math.isfinite(m.rhat):
        return "The number of clusters never changed within a chain."
    words = f"The draws of their number are worth {m.effective_draws:.0f} independent ones"
    if m.rhat > 1.05:
        return f"{words}, and its R-hat is {m.rhat:.2f}: run longer before its law is quoted."
    return f"{words} (R-hat {m.rhat:.2f})."


def clusters_table(m: Measures, class_names: Sequence[str]) -> Table:
    """Clusters of the point estimate against classes."""
    clusters, classes = int(m.partition.max()) + 1, len(class_names)
    counts = torch.zeros(clusters, classes, dtype=torch.int64)
    counts.index_put_((m.partition, m.labels), torch.ones_like(m.labels), accumulate=True)
    order = counts.sum(1).argsort(descending=True, stable=True)
    rows = [
        (f"cluster {rank + 1}", *(str(int(n)) if n else "" for n in row), str(int(row.sum())))
        for rank, row in enumerate(counts[order])
    ]
    caption = "Images of each class in each cluster of the point estimate."
    return Table(caption, ("", *class_names, "all"), tuple(rows))


def density_words(m: Measures) -> str:
    """Which density is best held out."""
    best = max(m.scores, key=lambda name: m.scores[name].mean)
    mixture = m.scores["Dirichlet-process mixture"].mean
    gain = mixture - m.scores["one Gaussian"].mean
    per_class = m.scores["one Gaussian per class"].mean - mixture
    than_classes = "less" if per_class > 0 else "more"
    return (
        f"On the {len(m.scored)} images of the other half the mixture's predictive density gains "
        f"{gain:.2f} nats per activation over one Gaussian, and has {abs(per_class):.2f} "
        f"{than_classes} than a mixture that is told the classes. Best held out: {best}."
    )


def density_table(m: Measures) -> Table:
    """Held-out log densities."""
    rows = [
        (name, f"{score.mean:.2f}", f"{score.standard_error:.2f}")
        for name, score in m.scores.items()
    ]
    caption = "Mean log density of the other half's activations, in nats."
    return Table(caption, ("model", "mean", "standard error"), tuple(rows))


def complexity_words(m: Measures) -> str:
    """Relative entropy and total correlation, as in the paper."""
    kl, tc, new = *m.complexity, m.with_new_component
    return (
        "Complexity of the representation, of the clusters found: its relative entropy to the "
        f"Gaussian with independent coordinates is {_range(kl)} nats, the total correlation of "
        f"its axes {_range(tc)}; brackets: least and greatest draw. Principal axes are "
        "uncorrelated, so that one Gaussian cluster would have a total correlation near zero. "
        "The law of a next activation may also open a cluster, as wide as the prior: with that "
        f"its relative entropy is {_range(new)}."
    )


def _range(reading: Reading) -> str:
    return f"{reading.mean:.2f} ({reading.minimum:.2f} to {reading.maximum:.2f})"
