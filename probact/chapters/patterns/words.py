"""The chapter's paragraphs and tables."""

from probact.chapters.patterns.measures import Measures
from probact.study import Table

__all__ = ["checks_table", "groups_words", "layers_table", "models_words", "radius_words"]
__all__ += ["what_was_done"]


def what_was_done(m: Measures) -> str:
    """What a pattern is, and what is asked of it."""
    units = sum(len(layer.probability) for layer in m.layers)
    return (
        "Each unit of a ReLU network is on or off for an image; the bits of all units together "
        "are the image's activation pattern, and where it does not change the network is an "
        f"affine map. The patterns of {units} units of the wide network were recorded on "
        f"{m.num_images} held-out images, max-pooling left out."
    )


def layers_table(m: Measures) -> Table:
    """A row a gate."""
    rows = tuple(
        (
            layer.name,
            str(len(layer.probability)),
            f"{float(layer.probability.mean()):.2f}",
            f"{layer.dead:.1%}",
            f"{layer.always_on:.1%}",
            f"{float(layer.probability.var(correction=0)):.3f}",
            f"{layer.law.variance:.3f}",
            f"{layer.law.distance(layer.probability):.2f}",
            f"{layer.variance_ratio:.1f}",
        )
        for layer in m.layers
    )
    caption = (
        "p: share of images that switch a unit on. Law: p = Phi(sqrt(c / (1 - c)) Z) for a random "
        "layer, c the measured correlation of a unit's pre-activation between two images; its "
        "variance asin(c) / (2 pi) stands beside the measured one, and the largest gap of the two "
        "distribution functions. VR: variance of Hamming distances over that of independent bits."
    )
    header = (
        "gate", "units", "mean p", "dead", "always on", "Var p", "Var p, law", "gap", "VR",
    )  # fmt: skip
    return Table(caption, header, rows)


def groups_words(m: Measures) -> str:
    """Random bits or not, and whether patterns gather in groups."""
    low = min(layer.test.p_value for layer in m.layers)
    high = max(layer.variance_ratio for layer in m.layers)
    groups = m.groups
    order = "more" if groups.score < groups.matched else "no more"
    return (
        "Patterns are not fair coins: the exact test of the mean Hamming distance gives p "
        f"{_small(low)} at its smallest. Nor are units independent: distances vary up to "
        f"{high:.0f} times as much as independent bits of the same p would. The score of the "
        f"complete-linkage tree is {groups.score:.3f}, against {groups.matched:.3f} for "
        "independent bits with the same p and"
        f" {groups.fair:.3f} for fair coins (small means few tight groups): patterns "
        f"are {order} gathered than their p alone make them."
    )


def _small(p: float) -> str:
    return f"= {p:.1g}" if p > 1e-300 else "below 1e-300"


def radius_words(m: Measures) -> str:
    """How far noise may go."""
    if not m.radii:
        return (
            "The regions of images this large have too many faces for a short chapter; see "
            "analysis.regions."
        )
    l2 = sorted(radius.l2 for radius in m.radii)
    linf = sorted(radius.linf for radius in m.radii)
    flipped = sum(radius.flipped for radius in m.radii) / len(m.radii)
    touched = ": the ball touches one of many faces, and most directions go further."
    further = touched if flipped < 0.5 else "."
    return (
        f"Inside its region an image may be moved without any unit switching. For {len(m.radii)} "
        f"held-out images the largest such ball, by a closed form, has a radius of {l2[0]:.2g} to "
        f"{l2[-1]:.2g} in Euclidean norm, and {linf[0]:.2g} to {linf[-1]:.2g} a pixel (pixels "
        f"span {m.pixel_range:.3g}). Random noise of twice the Euclidean radius switches a unit "
        f"in {flipped:.0%} of cases{further}"
    )


def models_words(m: Measures) -> str:
    """What a generative model of patterns must have."""
    first, second = m.check.values()
    names = list(m.check)
    p = {name: check.p_values["variance_ratio"] for name, check in m.check.items()}
    return (
        f"Two programs were fitted to {m.probs.shape[1]} units of the last gate that vary: "
        "independent units with a Beta prior, and a mixture of Bernoulli products sampled by "
        "Gibbs. Data sets drawn from each are compared with the patterns below. With "
        f"{names[0]} VR is {first.replicated['variance_ratio'].mean():.1f} on average, with "
        f"{names[1]} {second.replicated['variance_ratio'].mean():.1f}; the patterns have "
        f"{first.observed['variance_ratio']:.1f} (p = {p[names[0]]:.2g} and {p[names[1]]:.2g}). "
        f"The mixture keeps {m.num_occupied:.1f} of its components; matched to classes one to "
        f"one, they hold {m.purity:.0%} of the images of their class, though labels were not used."
    )


def checks_table(m: Measures) -> Table:
    """Statistics of the patterns and of data drawn from the models."""
    frames = {name: check.to_frame() for name, check in m.check.items()}
    first = next(iter(frames.values()))
    rows = tuple(
        (
            str(statistic).replace("_", " "),
            f"{first.loc[statistic, 'observed']:.3g}",
            *(
                f"{frame.loc[statistic, 'low']:.3g} to {frame.loc[statistic, 'high']:.3g} "
                f"(p = {frame.loc[statistic, 'p_value']:.2g})"
                for frame in frames.values()
            ),
        )
        for statistic in first.index
    )
    caption = (
        "Posterior predictive checks: a statistic of the patterns, and the middle 95 % of it over "
        "data sets drawn from each fitted model, with a two-sided p-value."
    )
    return Table(caption, ("", "patterns", *frames), rows)
