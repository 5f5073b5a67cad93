"""
Do the weights of a final layer follow an asymmetric Laplace law?
=================================================================

"An interpretation of the final fully connected layer" says that the weights of each class do, with
rates read off a regression of sorted log weights. Put to the test on the heads of ImageNet
networks:

* Which of seven families fits each class best, by BIC, with and without a second skewed law, the
  skew logistic: tails as the asymmetric Laplace law has, but a smooth mode.
* Whether it fits at all: Anderson-Darling with a null for estimated parameters, false discoveries
  controlled over the classes at 5 %. For the skew logistic law the same by parametric bootstrap on
  some classes drawn at random. Heads stored in 8 bits once more with their rounding undone.
* kappa and lambda across classes, with standard errors.
* What the paper's Algorithm 1 returns: its slope tends to 6 log 2 = 4.159 for exponential weights
  of any rate, and its R^2 is no test. Beside it, the same for draws from each class's own fits.
* For three classes (tricycle 870, web site 916, whiptail 41): all families by leave-one-out, and
  the paper's figures: density, density on a log scale, quantiles; values of the distribution
  function, log survival, log against rank.
* Heads trained here on digits, from three initialisations and with two weight decays.

Full size (``--root DIR`` with weights/imagenet_heads.safetensors): six minutes on one CPU core.
``--heads FILE`` and ``--model NAME`` look at other heads instead, as files or as networks of
torchvision or timm whose weights are on this machine. ``--quick``: a head trained on digits.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ald_figures import draw_across_classes, draw_classes
from ald_tables import report
from head_sources import (
    INITS,
    NamedHead,
    digits_head,
    heads_of_file,
    imagenet_heads,
    local_model,
)
from pretrained import HEADS, IMAGENET_IMAGES
from runs import arguments, save_numbers
from scipy import stats
from torch import Generator, Tensor

from probact.analysis import laplace_fits
from probact.weight_comparison import compare_families_by_posterior

PAPER_CLASSES = (870, 916, 41)
RIVALS = tuple(f for f in laplace_fits.FAMILIES if f != "skew_logistic")
LEVEL = 0.05


def measure_head(head: NamedHead, args: argparse.Namespace) -> dict[str, Any]:
    """Everything about all classes of a head."""
    weight, replicates = head.weight, 99 if args.quick else 999
    fit = laplace_fits.fit_asymmetric_laplace(weight)
    fit.require_laws(head.name)
    both = laplace_fits.compare_families(weight)
    test = laplace_fits.goodness_of_fit(weight, replicates=replicates, seed=args.seed)
    errors = fit.cov().diagonal(dim1=1, dim2=2).sqrt()  # (K, 3): m, log lambda, log kappa
    return {
        "name": head.name,
        "classes": len(weight),
        "features": weight.shape[1],
        "dead": int(laplace_fits.dead_features(weight).sum()),
        "repeated": float(laplace_fits.most_repeated_value(weight).share.median()),
        "wins": both.wins(),
        "wins_without_skew_logistic": laplace_fits.compare_families(weight, RIVALS).wins(),
        "nats_behind": behind(both),
        "kappa": across(fit.asymmetry.log(), errors[:, 2]),
        "lambda": across(-fit.scale.log(), errors[:, 1]),
        "asymmetric": int((fit.asymmetry.log().abs() > 1.96 * errors[:, 2]).sum()),
        "rejected": {
            name: int(test.rejected(LEVEL, name).sum())
            for name in ("ks", "ad", "ad_right", "ad_left")
        },
        "skew_logistic": smooth_test(weight, args),
        "algorithm1": ranks(weight, fit, args.seed),
        "unrounded": unrounded_row(unrounded(weight, args.seed), args.seed),
    }


def unrounded(weight: Tensor, seed: int) -> Tensor:
    """Uniform noise of one step added to weights that were stored in few bits.

    The step is the median gap between the head's values; without rounding it is next to nothing.
    """
    step = weight.double().unique().diff().median()
    noise = torch.rand(weight.shape, dtype=torch.float64, generator=Generator().manual_seed(seed))
    return weight + step * (noise - 0.5)


def unrounded_row(weight: Tensor, seed: int) -> dict[str, Any]:
    """What the rounding could have changed."""
    test = laplace_fits.goodness_of_fit(weight, replicates=499, seed=seed)
    return {
        "wins": laplace_fits.compare_families(weight).wins(),
        "rejected": int(test.rejected(LEVEL).sum()),
    }


def behind(found: laplace_fits.FamilyComparison) -> dict[str, list[float]]:
    """BIC / 2 of a family less that of the best one, nats a class: median, quartiles."""
    gap = 0.5 * (found.bic - found.bic.amin(-1, keepdim=True))
    quantiles = gap.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=gap.dtype), dim=0)
    return {name: quantiles[:, f].tolist() for f, name in enumerate(found.families)}


def across(log_value: Tensor, error: Tensor) -> dict[str, float]:
    """Classes of a head: geometric mean and its error, spread, and spread beyond the fits' errors.

    Spreads are standard deviations of the logarithm.
    """
    variance = float(log_value.var())
    beyond = max(variance - float(error.square().mean()), 0.0) ** 0.5
    mean = float(log_value.mean().exp())
    return {
        "mean": mean,
        "standard_error": mean * (variance / len(log_value)) ** 0.5,
        "spread": variance**0.5,
        "error_of_a_class": float(error.median()),
        "spread_beyond_errors": beyond,
        "low": float(log_value.quantile(0.05).exp()),
        "high": float(log_value.quantile(0.95).exp()),
    }


def ranks(weight: Tensor, fit: laplace_fits.ALDFit, seed: int) -> dict[str, Any]:
    """Algorithm 1 on the weights, and on draws from each class's asymmetric Laplace and normal."""
    n = (weight.shape[1],)
    normal = laplace_fits.fit_family(weight, "normal").parameters
    noise = torch.randn(weight.shape, dtype=torch.float64, generator=Generator().manual_seed(seed))
    sources = {
        "weights": weight,
        "weights, rounding undone": unrounded(weight, seed),
        "asymmetric Laplace draws": fit.dist().sample(n, seed=seed).T,
        "normal draws": normal[:, :1] + normal[:, 1:] * noise,
    }
    found = {name: line(rows, threshold=0.0) for name, rows in sources.items()}
    for name in ("weights", "asymmetric Laplace draws"):
        found[f"{name}, log survival"] = survival(sources[name])
    return found


def survival(rows: Tensor) -> dict[str, list[float]]:
    """The same of log survival against the distance from the mode: slope over minus the rate."""
    rates = laplace_fits.fit_asymmetric_laplace(rows).rates
    return line(rows, [-rate for rate in rates], threshold="mode", method="log_survival")


def line(
    rows: Tensor, units: Sequence[Any] = (1.0, 1.0), **options: Any
) -> dict[str, list[float]]:
    """Mean and standard deviation over classes of slope and R^2, right and left side.

    Slopes are in the units given for either side.
    """
    out = {}
    for side, name, unit in zip("+-", ("right", "left"), units, strict=True):
        found = laplace_fits.rank_log_regression(rows, side=side, **options)
        for what, value in (("slope", found.slope / unit), ("r2", found.r2)):
            value = value[~value.isnan()]
            out[f"{what}_{name}"] = [float(value.mean()), float(value.std())]
    return out


def smooth_test(weight: Tensor, args: argparse.Namespace) -> dict[str, Any]:
    """Rejections of the skew logistic law among some classes, by parametric bootstrap of AD."""
    tested, replicates = (3, 39) if args.quick else (50, 199)
    generator = Generator().manual_seed(args.seed)
    chosen = torch.randperm(len(weight), generator=generator)[:tested]
    pvalues = []
    for row in weight[chosen].double():
        law = laplace_fits.fit_family(row[None], "skew_logistic").dist()
        u = torch.rand(replicates, len(row), dtype=torch.float64, generator=generator)
        null = anderson_darling(law.icdf(u))
        pvalues.append(
            (1.0 + float((null >= anderson_darling(row[None])).sum())) / (replicates + 1)
        )
    adjusted = stats.false_discovery_control(pvalues)
    return {
        "tested": len(chosen),
        "rejected": int((adjusted <= LEVEL).sum()),
        "below": int((np.array(pvalues) < LEVEL).sum()),  # one by one, without the control
    }


def anderson_darling(rows: Tensor) -> Tensor:
    """AD (K,) of rows (K, n) to the skew logistic law fitted to each."""
    law = laplace_fits.fit_family(rows, "skew_logistic").dist()
    u = law.cdf(rows.sort(-1).values.T).T.clamp(1e-15, 1.0 - 1e-15)
    n = rows.shape[1]
    i = torch.arange(1, n + 1, dtype=u.dtype)
    return -n - ((2.0 * i - 1.0) * u.log() + (2.0 * (n - i) + 1.0) * torch.log1p(-u)).mean(-1)


def leave_one_out(head: NamedHead, chosen: Sequence[int], args: argparse.Namespace) -> list[Any]:
    """PSIS-LOO of all families for the named classes; nats over all weights of the class."""
    draws = 100 if args.quick else 500
    found = compare_families_by_posterior(head.weight, chosen, draws=draws, seed=args.seed)
    rows = []
    for k, comparison in found.items():
        table = comparison.table
        families = {
            name: {what: float(table[what][name]) for what in ("elpd", "behind", "dse", "p")}
            for name in table.index
        }
        rows.append({"head": head.name, "class": k, "name": class_name(head, k),
                     "families": families, "warning": bool(table["warning"].any())})  # fmt: skip
    return rows


def class_name(head: NamedHead, k: int) -> str:
    return f"class {k}" if head.class_names is None else head.class_names[k]


def digits_rows(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Heads of 1024 features trained here, all features and those that are ever above zero."""
    rows = []
    for init in INITS:
        for decay in (5e-4, 1e-2):
            heads = [
                digits_head(1024, decay, init=init, seed=s)
                for s in range(args.seed, args.seed + 3)
            ]
            for which in ("all", "active"):
                rows.append({"init": init, "decay": decay, "features": which}
                            | digits_row(heads, which == "active", args))  # fmt: skip
    return rows


def digits_row(
    heads: Sequence[NamedHead], active: bool, args: argparse.Namespace
) -> dict[str, Any]:
    """Sums over the classes of all seeds."""
    kept = [head.weight[:, head.active] if active else head.weight for head in heads]
    fits = [laplace_fits.fit_asymmetric_laplace(weight) for weight in kept]
    wins = [laplace_fits.compare_families(weight).wins() for weight in kept]
    tests = [laplace_fits.goodness_of_fit(weight, seed=args.seed) for weight in kept]
    log_kappa = torch.cat([fit.asymmetry.log() for fit in fits])
    return {
        "num_features": float(np.mean([weight.shape[1] for weight in kept])),
        "accuracy": float(np.mean([head.accuracy for head in heads])),
        "wins": {name: sum(win[name] for win in wins) for name in wins[0]},
        "kappa": [float(log_kappa.mean().exp()), float(log_kappa.std())],
        "rejected": sum(int(test.rejected(LEVEL).sum()) for test in tests),
        "tested": len(log_kappa),
        "ks": float(torch.cat([test.distance.ks for test in tests]).mean()),
    }


def heads_asked_for(args: argparse.Namespace, parser: argparse.ArgumentParser) -> list[NamedHead]:
    """The heads of the command line; a wrong one ends the run with one line."""
    try:
        if args.heads is not None:
            return heads_of_file(args.heads)
        if args.model is not None:
            return [local_model(args.model)]
    except (ValueError, LookupError, OSError) as error:
        parser.exit(2, f"{parser.prog}: {str(error).splitlines()[0]}\n")
    if args.quick:
        return [digits_head(128, 5e-4, epochs=3, seed=args.seed)]
    return imagenet_heads(args.root)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--heads", type=Path, help="a weight file to look at instead")
    parser.add_argument("--model", help="a torchvision or timm network to look at instead")
    parser.add_argument(
        "--classes", type=int, nargs="+", help="named classes, default the paper's"
    )
    given = parser.parse_known_args(argv)[0]
    other = given.heads is not None or given.model is not None
    args = arguments(__doc__, argv, None if other else (HEADS, IMAGENET_IMAGES), parser)
    heads = heads_asked_for(args, parser)
    measured, compared = [], []
    for head in heads:
        last = len(head.weight) - 1
        few = range(min(1 if args.quick else 3, last + 1))
        chosen = args.classes or (PAPER_CLASSES if last == 999 else few)
        if not all(0 <= k <= last for k in chosen):
            parser.exit(2, f"{parser.prog}: --classes must be in 0 .. {last} for {head.name}\n")
        measured.append(measure_head(head, args))
        compared += leave_one_out(head, chosen, args)
        draw_classes(head, chosen, args.out)
    draw_across_classes(heads, args.out / "across_classes.png")
    numbers = {"seed": args.seed, "heads": measured, "leave_one_out": compared}
    if not args.quick and not other:
        numbers["digits"] = digits_rows(args)
    print(report(numbers))
    save_numbers(args.out / "numbers.json", numbers)


if __name__ == "__main__":
    main()
