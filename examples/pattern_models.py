"""
Models of activation patterns
=============================

Which law do the 0/1 patterns of a trained layer follow? Patterns of the last hidden layer are
modelled as independent units (Beta-Bernoulli, and probit-normal, whose v reads as c / (1 - c) with
c the correlation of a unit's pre-activation between two inputs), as latent classes of several
numbers (by Gibbs sampling), as signs of a normal vector and as an Ising model. Then:

**Predictive checks.** Each model draws data sets as large as the one it was fitted to, and their
statistics are laid beside the data's.

**Held-out patterns.** Log probability of test patterns. That of all units has no closed form for
the signs of a normal vector and the Ising model, so that all models are compared on the first
units, fitted to those alone where a model's margin is out of reach (Ising); for all units, the
Ising model has a pseudo-likelihood, which for independent units is the likelihood.

**Images.** Patterns drawn from two models, and inputs found for them by gradient search: how many
bits are missed tells how far a model's patterns are from any the network has.

Files of the output folder: `table.md`, `numbers.json`, `counts.png`, `checks.png`, `images.png`.
Digits take two minutes on one core; ``--root DIR --data mnist`` reads MNIST; ``--quick``: seconds.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pattern_fits import LAYER, Patterns, Size, draw, fit_models, patterns
from pattern_tables import checks_table, classes_table, held_out_table, images_table
from runs import arguments, save_numbers
from torch import Tensor

import probact as pa
from probact import plots
from probact.analysis.midpoints import realise
from probact.analysis.patterns import PackedPatterns, PredictiveCheck, collect, predictive_check
from probact.analysis.patterns.pattern_neighbours import neighbour_agreement
from probact.analysis.patterns.predictive_checks import STATISTICS
from probact.models import (
    DichotomisedGaussian,
    IsingPatterns,
    PatternMixture,
    ProbitPatterns,
)

CHECKED = {
    **{name: STATISTICS[name] for name in list(STATISTICS)[:-1]},
    "constellation_score": lambda bits: STATISTICS["constellation_score"](bits[:200]),
}
SIZES = {
    "quick": Size(200, 16, (1, 4), 30, 20, 3, 6, 40),
    "digits": Size(800, 64, (1, 5, 10, 20, 40), 300, 100, 15, 14, 800),
    "mnist": Size(2000, 128, (1, 5, 10, 20, 40, 80), 200, 60, 3, 14, 800),
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", choices=["digits", "mnist"], default="digits")
    args = arguments(__doc__, argv, needs=None, parser=parser)
    if args.data == "mnist" and args.root is None and not args.quick:
        parser.exit(2, "pattern_models: pass --root DIR, the folder of MNIST, or --data digits\n")
    size = SIZES["quick" if args.quick else args.data]
    data = patterns(args, size)
    models = fit_models(data.fit, size, args.seed)
    replicates = draw(models, data, size, args.seed)
    checks = {name: predictive_check(data.fit, r, CHECKED) for name, r in
              replicates.items()}  # fmt: skip
    numbers = {
        "units": [int(data.kept.sum()), len(data.kept)],
        "independent": independent(data.fit, models),
        "held_out": held_out(data, models, size, args.seed),
        "classes": classes(data, models),
        "checks": {name: readings(check) for name, check in checks.items()},
        "neighbours": neighbours(data),
    }
    numbers["images"], shown = inputs(data, replicates, models, size)
    text = "\n\n".join([
        f"{numbers['units'][0]} of {numbers['units'][1]} units vary; {len(data.fit)} patterns "
        f"fitted, {len(data.test)} held out.", held_out_table(numbers), classes_table(numbers),
        checks_table(numbers), images_table(numbers),
    ]) + "\n"  # fmt: skip
    print(text)
    (args.out / "table.md").write_text(text, "utf-8")
    save_numbers(args.out / "numbers.json", numbers)
    figures(data, replicates, checks, shown, args.out)


def log_predictive(model: PatternMixture, post: Any, a: Tensor, units: int, most: int) -> Tensor:
    """log mean p(a | draw) (N,) of the first units, over draws."""
    draws = pa.models.posterior_draws.posterior_draws(
        post,
        {"weights": (model.num_components,), "probs": (model.num_components, model.num_units)},
        max_draws=most,
    )
    small = PatternMixture(model.num_components, units)
    pairs = zip(draws["weights"], draws["probs"], strict=True)
    table = torch.stack([
        small.log_prob(a[:, :units], w / w.sum(), p[:, :units].clamp(1e-300, 1 - 1e-16))
        for w, p in pairs
    ])  # fmt: skip
    return table.logsumexp(0) - np.log(len(table))


def independent(a: Tensor, models: dict[str, Any]) -> dict[str, float]:
    """The two laws of independent units: parameters, and log evidence a pattern."""
    beta, probit = models["independent"], ProbitPatterns(a.shape[1])
    v = probit.fit_variance(a)
    return {
        "mean": beta.mean,
        "precision": beta.precision,
        "beta_evidence": float(beta.log_evidence(a)) / len(a),
        "variance": v,
        "correlation": v / (1.0 + v),
        "probit_evidence": float(probit.log_evidence(a, v)) / len(a),
    }


def held_out(data: Patterns, models: dict[str, Any], size: Size, seed: int) -> dict[str, Any]:
    """Mean log probability of a held-out pattern (nats), with its standard error."""
    few, a, n = min(size.few, data.fit.shape[1]), data.test, data.fit.shape[1]
    share = models["independent"].posterior(data.fit).mean
    own = share.log() * a + torch.log1p(-share) * ~a
    rows: dict[str, Any] = {"independent": [spread(own.sum(1)), spread(own[:, :few].sum(1))]}
    for name, fitted in models.items():
        if name.endswith("classes"):
            parts = [log_predictive(*fitted, a, units, 50) for units in (n, few)]
            rows[name] = [spread(part) for part in parts]
    signs = models["normal signs"]
    small = DichotomisedGaussian(signs.loc[:few], signs.correlation[:few, :few])
    estimate = small.log_prob(a[:, :few], num_samples=1000, seed=seed)
    rows["normal signs"] = [None, spread(estimate.value)]
    ising = IsingPatterns.fit(data.fit[:, :few]).model
    rows["Ising"] = [None, spread(ising.log_prob(a[:, :few]))]
    pseudo = models["Ising"].log_pseudo_likelihood(a)
    return {
        "few": few,
        "rows": rows,
        "largest_error": float(estimate.standard_error.max()),
        "ising_pseudo": spread(pseudo),
    }


def spread(values: Tensor) -> list[float]:
    """Mean and standard error."""
    return [float(values.mean()), float(values.std() / len(values) ** 0.5)]


def classes(data: Patterns, models: dict[str, Any]) -> dict[str, Any]:
    """What latent classes have to do with labels, and how the chains went."""
    found = {}
    for name, fitted in models.items():
        if not name.endswith("classes"):
            continue
        _, post = fitted
        z = torch.from_numpy(post.posterior["z"].values[0, -1].astype(np.int64))
        counts = torch.zeros(int(z.max()) + 1, 10).index_put_(
            (z, data.labels), torch.ones(len(z)), accumulate=True
        )
        packed = {"a": PackedPatterns.from_bits(data.fit)}
        alike = neighbour_agreement(packed, z, ks=[1])[0].mean
        lp = post.sample_stats["lp"].values
        found[name] = {
            "purity": float(counts.max(1).values.sum() / len(z)),
            "neighbours": alike,
            "occupied": float(post.sample_stats["num_occupied"].values.mean()),
            "lp_gap": float(abs(lp[0].mean() - lp[1].mean()) / lp.std()),
        }
    return found


def neighbours(data: Patterns) -> float:
    """Share of patterns whose nearest other pattern has their label."""
    packed = {"a": PackedPatterns.from_bits(data.fit)}
    return neighbour_agreement(packed, data.labels, ks=[1])[0].mean


def readings(check: PredictiveCheck) -> dict[str, dict[str, float]]:
    frame = check.to_frame()
    return {
        str(name): {str(k): float(v) for k, v in row.items()} for name, row in frame.iterrows()
    }


def inputs(
    data: Patterns, replicates: dict[str, Tensor], models: dict[str, Any], size: Size
) -> tuple[dict[str, list[float]], dict[str, Tensor]]:
    """Bits missed by inputs found for patterns of images and of models, and these inputs.

    Every search starts from the training image whose pattern is nearest to the wanted one. Units
    that never vary are wanted as they are there.
    """
    richest = f"{size.classes[-1]} classes"
    count = 8 if size.rows <= 200 else 32
    wanted = {"held-out images": data.test[:count]}
    for name in ("independent", "normal signs", "Ising", richest):
        wanted[name] = replicates[name][0, :count].bool()
    low, high = float(data.images.min()), float(data.images.max())
    missed, shown = {}, {}
    for name, bits in wanted.items():
        near = (bits.unsqueeze(1) != data.fit).sum(-1).argmin(1)
        whole = torch.zeros(len(bits), len(data.kept), dtype=torch.bool)
        whole[:, data.kept] = bits
        stuck = collect(data.net, data.images[near], [LAYER]).bits()[:, ~data.kept]
        whole[:, ~data.kept] = stuck
        found = realise(
            data.net, whole, data.images[near], layer=LAYER, steps=size.steps, margin=0.02,
            learning_rate=0.01, limits=(low, high),
        )  # fmt: skip
        distance = (bits != data.fit[near]).sum(1).double()
        missed[name] = [float(distance.mean()), *spread(found.missed.double()),
                        float((found.missed == 0).double().mean())]  # fmt: skip
        shown[name] = found.x[:8]
    return missed, shown


def figures(
    data: Patterns,
    replicates: dict[str, Tensor],
    checks: dict[str, PredictiveCheck],
    shown: dict[str, Tensor],
    out: Any,
) -> None:
    n = data.fit.shape[1]

    def law(bits: Tensor) -> list[float]:
        counts = torch.bincount(bits.reshape(-1, n).long().sum(1), minlength=n + 1).double()
        return (counts / counts.sum()).tolist()

    kept = [name for name in replicates if not name.endswith("classes")] + [list(replicates)[-1]]
    ax = plots.plot_count_law(law(data.fit), {name: law(replicates[name]) for name in kept})
    ax.figure.savefig(out / "counts.png", dpi=130, bbox_inches="tight")
    frames = {name: checks[name].to_frame() for name in kept}
    spans = {name: frame[["low", "mean", "high"]].to_numpy() for name, frame in frames.items()}
    first = frames[kept[0]]
    ax = plots.plot_predictive_checks(list(first.index), first["observed"].to_numpy(), spans)
    ax.figure.savefig(out / "checks.png", dpi=130, bbox_inches="tight")
    images = torch.stack(list(shown.values())).clamp(0.0, 1.0)
    ax = plots.image_grid(images.numpy(), row_names=list(shown), xlabel="pattern", ylabel="")
    ax.figure.set_size_inches(8, 5)
    ax.figure.savefig(out / "images.png", dpi=130, bbox_inches="tight")


if __name__ == "__main__":
    main()
