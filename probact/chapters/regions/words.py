"""The chapter's paragraphs and tables."""

import math

from probact.chapters.regions.measures import (
    BETA,
    BETAS,
    SHARP,
    SURE,
    LayerReading,
    Measures,
    SoftNet,
)
from probact.study import Table

__all__ = ["layers_table", "prior_words", "softened_words", "what_was_done"]


def what_was_done(m: Measures) -> str:
    """The reading, in plain words."""
    patches = max(layer.num_patches for layer in m.layers)
    return (
        "A ReLU unit splits its inputs in two regions: in one it is off, in the other it hands on "
        "its affine map. Balestriero & Baraniuk (2019) read each unit as a mixture of two "
        "Gaussians, one a region, with the unit's slopes as means. The posterior of the active "
        "region is then the sigmoid of beta / (1 - beta) times the unit's value, and its mode the "
        "ReLU's own choice. The entropy of that posterior says how sure a unit is. The units of "
        f"the wide network's {len(m.layers)} convolutions, BatchNorm folded in, were read on up "
        f"to {patches} patches a layer of held-out images."
    )


def prior_words(m: Measures) -> str:
    """What the mixtures say before any image, and whether images agree."""
    priors = [_prior(layer) for layer in m.layers]
    shares = [_active(layer) for layer in m.layers]
    least = max(m.layers, key=lambda layer: layer.unsure)
    return (
        f"Weights and biases fix a prior of the regions too. At beta = {BETA} its mean over the "
        f"units of a layer puts {min(priors):.0%} to {max(priors):.0%} on the active region; the "
        f"patches are there {min(shares):.0%} to {max(shares):.0%} of the time. A long slope "
        "raises the active region's prior, whatever the images do: a layer is trained for its "
        f"regions, not for its densities, and these are rough. {_dead(m)} Units "
        f"are least sure in {least.name}: at beta = {SHARP}, {least.unsure:.0%} of its choices "
        f"have a probability below {SURE}."
    )


def _dead(m: Measures) -> str:
    """How many units never switch on."""
    dead = sum(int(layer.dead.sum()) for layer in m.layers)
    units = sum(len(layer.dead) for layer in m.layers)
    if dead == 0:
        return f"None of the {units} units is off on all of the patches."
    return f"{dead} of the {units} units {'is' if dead == 1 else 'are'} off on all of the patches."


def layers_table(m: Measures) -> Table:
    """A row a layer."""
    header = ("", "units", "D", "prior", "active", f"nats at {BETA}", f"at {SHARP}", "unsure",
              "dead")  # fmt: skip
    rows = tuple(
        (
            layer.name,
            str(len(layer.entropy)),
            str(layer.input_dim),
            f"{_prior(layer):.2f}",
            f"{_active(layer):.2f}",
            f"{float(layer.entropy.mean()):.3f}",
            f"{float(layer.sharp_entropy.mean()):.3f}",
            f"{layer.unsure:.0%}",
            str(int(layer.dead.sum())),
        )
        for layer in m.layers
    )
    caption = (
        "Means over units and patches of D inputs. Prior: of the active region, at beta = "
        f"{BETA}; active: share of the patches in it; nats: entropy of the regions at two beta, "
        f"at most log 2 = {math.log(2.0):.3f}; unsure: choices of probability below {SURE} at "
        f"beta = {SHARP}."
    )
    return Table(caption, header, rows)


def softened_words(m: Measures) -> str:
    """How much softness the trained weights bear."""
    parts = "; ".join(f"with {name}, {_course(net)}" for name, net in m.nets.items())
    return (
        "With the posterior mean in place of each ReLU and each max-pooling, the same weights "
        "give a smooth network: at beta = 0.5 every ReLU is a SiLU, near beta = 1 the network is "
        "the trained one, near beta = 0 every ReLU is half its input. Accuracy on "
        f"{m.num_scored} held-out images, nothing trained again: {parts}."
    )


def _course(net: SoftNet) -> str:
    """The hard accuracy, that at 1/2, and from where on it is within a point of the hard one."""
    half = net.accuracy[BETAS.index(BETA)]
    words = f"{net.hard:.1%} hard and {half:.1%} at beta = {BETA}"
    near = [i for i in range(len(BETAS)) if min(net.accuracy[i:]) > net.hard - 0.01]
    if not near:
        return f"{words}, at none of these beta within a point of the hard one"
    return f"{words}, within a point of the hard one from beta = {BETAS[near[0]]:g} on"


def _prior(layer: LayerReading) -> float:
    return float(layer.prior.probs[:, 1].mean())


def _active(layer: LayerReading) -> float:
    assert layer.prior.frequency is not None
    return float(layer.prior.frequency[:, 1].mean())
