"""The chapter's paragraphs and tables."""

import math

from probact.chapters.weights.measures import MIN_SIZE, Measures
from probact.study import Table

__all__ = [
    "families_table",
    "families_words",
    "maps_words",
    "rates_words",
    "split_table",
    "split_words",
    "what_was_done",
]


def what_was_done(m: Measures) -> str:
    """The claim, and which weights it is put to."""
    n = m.weight.shape[1]
    return (
        "A paper on the final layer says that the weights of a class follow an asymmetric Laplace "
        "law: exponential tails of rates lambda kappa and lambda / kappa to the right and left of "
        "a mode. The two networks above have too few weights a class to tell one law from "
        f"another, so a head of {n} features was trained on the convolutions of the wide one: a "
        "1x1 convolution, ReLU and average pooling make the features, as in large image "
        f"classifiers (accuracy {m.head.accuracy:.1%} on held-out images). With {n} weights the "
        f"standard error of log kappa is {1 / math.sqrt(n):.2f} at least. Heads of ImageNet "
        "networks are in the docs, page final_layer."
    )


def families_table(m: Measures) -> Table:
    """A row a family, the best one first."""
    found = m.families
    behind = 0.5 * (found.bic - found.bic.amin(-1, keepdim=True))
    total = found.bic.sum(0) / 2.0
    order = total.argsort().tolist()
    wins = found.wins()
    rows = tuple(
        (
            _spoken(found.families[f]),
            str(int(found.num_parameters[f])),
            str(wins[found.families[f]]),
            f"{float(behind[:, f].median()):.1f}",
            f"{float(total[f] - total[order[0]]):.1f}",
        )
        for f in order
    )
    caption = (
        "Best in: classes where the family has the smallest BIC. Behind: half the BIC above the "
        "best, in nats, as the median over classes, and for all classes at once with one family "
        "for all."
    )
    return Table(caption, ("", "parameters", "best in", "behind, a class", "behind, all"), rows)


def families_words(m: Measures) -> str:
    """Which family holds, if any does."""
    found, num_classes = m.families, len(m.weight)
    total = found.bic.sum(0) / 2.0
    order = total.argsort().tolist()
    best, second = (found.families[f] for f in order[:2])
    gap = float(total[order[1]] - total[order[0]])
    ald = float(total[found.families.index("asymmetric_laplace")] - total[order[0]])
    words = (
        f"Over all classes the {_spoken(best)} law is best, {gap:.1f} nats before the "
        f"{_spoken(second)}"
    )
    words += (
        "." if best == "asymmetric_laplace" else f"; the asymmetric Laplace is {ald:.1f} behind."
    )
    rejected = int(m.test.rejected(0.05).sum())
    words += (
        " An Anderson-Darling test with estimated parameters rejects the asymmetric Laplace law "
        f"for {rejected} of {num_classes} classes at a false discovery rate of 5 %"
    )
    if rejected == num_classes:
        return f"{words}."
    rest = "" if rejected == 0 else "of the others "
    return f"{words}; {rest}it can only be said that {m.weight.shape[1]} weights do not show it."


def rates_words(m: Measures) -> str:
    """What the posterior says about classes and their asymmetry."""
    kappa, error = m.rates["asymmetry"]
    away = int((kappa.log().abs() > 2.0 * error).sum())
    spread, own = float(kappa.log().std()), float(error.square().mean().sqrt())
    words = (
        "If the law is taken as it is, its posterior can be sampled exactly (Gibbs, weak priors). "
        f"kappa is {float(kappa.min()):.2f} to {float(kappa.max()):.2f} by posterior median, and "
        f"two standard deviations from one in {away} of {len(kappa)} classes. Between classes "
        f"log kappa varies by {spread:.2f}, against a posterior standard deviation of {own:.2f} "
        "in a class: "
    )
    words += "no more than their own uncertainty explains" if spread < 1.3 * own else "they differ"
    if m.r_hat > 1.05:
        return (
            f"{words}. The chains agree badly (R-hat up to {m.r_hat:.2f}): where the law does not "
            "fit, its mode may lie in several places."
        )
    return f"{words}. R-hat is {m.r_hat:.2f} at most."


def split_words(m: Measures) -> str:
    """The tree, and what its nodes are worth."""
    words = (
        "The paper splits the neurons of a class by their weights: here '+' are those of positive "
        "weight, '++' those above the mean of '+', '+++' those above the mean of '++', and so for "
        "'-'. Whatever the cut, '+++' holds the largest weights of a class, as many as the cut "
        f"says; parts of fewer than {MIN_SIZE} neurons were not cut."
    )
    parts = [kept for kept in m.kept if kept.name != "all"]
    if not parts:
        return words
    small = min(parts, key=lambda kept: kept.mean)
    chance, sd = small.by_chance
    return (
        f"{words} The smallest part below, {small.name}, keeps {small.mean:.0f} neurons a class "
        f"and an accuracy of {small.accuracy:.1%}; as many neurons drawn at random give "
        f"{chance:.1%} ± {sd:.1%}."
    )


def split_table(m: Measures) -> Table:
    """A row a node."""
    rows = tuple(
        (
            kept.name,
            str(kept.smallest) if kept.smallest == kept.largest
            else f"{kept.smallest} to {kept.largest}",
            f"{kept.mean:.1f}",
            f"{kept.accuracy:.1%}",
            "" if kept.name == "all" else f"{kept.by_chance[0]:.1%} ± {kept.by_chance[1]:.1%}",
        )
        for kept in m.kept
    )  # fmt: skip
    caption = (
        "Accuracy on half of the held-out images of the head with these neurons alone; what the "
        "others contribute on average to each class, on the other half, is added to the bias. By "
        "chance: as many neurons a class drawn at random, mean and standard deviation of 20."
    )
    return Table(caption, ("neurons", "a class", "mean", "accuracy", "by chance"), rows)


def maps_words(m: Measures) -> str:
    """How far the maps of nodes differ from that of all neurons."""
    if len(m.nodes) < 2:
        return "No class has two groups of neurons to compare."
    flat = m.maps.double().flatten(2)  # (images, nodes, h w)
    flat = flat - flat.mean(-1, keepdim=True)
    norm = flat.norm(dim=-1).clamp_min(1e-12)
    alike = (flat[:, :1] * flat[:, 1:]).sum(-1) / (norm[:, :1] * norm[:, 1:])
    means = "; ".join(
        f"{name} {float(value):.2f}"
        for name, value in zip(m.nodes[1:], alike.mean(0), strict=True)
    )
    side = "x".join(str(size) for size in m.maps.shape[2:])
    return (
        f"Maps of {side} positions, of the layer before the average, on "
        f"{len(m.images)} held-out images. Correlation of a group's map with that of all neurons, "
        f"mean over these images: {means}."
    )


def _spoken(family: str) -> str:
    return family.replace("_", " ").replace("laplace", "Laplace").replace("student", "Student")
