"""
What the estimator does to a complexity
=======================================

Jamroz, Kurdziel & Opala (2020) read the complexity of a representation off a mixture of Student's
t laws: its relative entropy to a Gaussian (eq. 7) and its total correlation (eq. 10). Their code
computes them a little differently from what the equations say. On the digits of scikit-learn, on
16 principal axes, this script shows by how much each difference moves the numbers, in nats::

    exact                what probact.analysis computes
    plain draws          the same mixture; eqs. 7 and 10 as means over draws of the mixture
    weights n + alpha    every component has weight n_k + alpha, none stands for a new one
    Cholesky marginals   the scale of marginal i is L_ii, that given the coordinates before it,
                         in place of sqrt(S_ii), S = L L'
    all three            as in the code that goes with the paper

Each reading is the mean over kept draws of the posterior; "sd" is the spread of that reading over
repeats with other random numbers. Plain draws do not settle a relative entropy in which a
component has four degrees of freedom or fewer: the square in log m then has no variance, and rare
far draws decide.

Full size: 1000 draws of two chains, 25 kept, 100,000 points from each as in the paper, minutes.
``--quick``: a third of the digits, short chains, 2 kept, 2000 points, seconds. It needs no files.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mixtures import Run, fit
from runs import arguments, markdown, save_numbers
from torch import Tensor
from torch.distributions import Normal

import probact as pa
from probact.distributions import PosteriorPredictive, StudentTMixture

AXES = 16
REPEATS = 8
Estimate = tuple[float, float]  # relative entropy, total correlation


def digits() -> Tensor:
    """Digits on their principal axes, (1797, 16)."""
    images = torch.cat([pa.datasets.digits(train=t).floats() for t in (True, False)])
    x = images.flatten(1).double()
    x = x - x.mean(0)
    return x @ torch.linalg.svd(x, full_matrices=False).Vh[:AXES].T


def same_extra_weight(mixture: StudentTMixture) -> StudentTMixture:
    """Weights n_k + alpha on the occupied components; the last one stands for a new one."""
    w = mixture.weights[:-1] + mixture.weights[-1]  # both are over alpha + N
    parts = (mixture.df[:-1], mixture.loc[:-1], mixture.scale_tril[:-1])
    return StudentTMixture(w / w.sum(), *parts)


def narrow_marginals(mixture: StudentTMixture) -> StudentTMixture:
    """A mixture whose marginals have the scales L_ii."""
    narrow = torch.diag_embed(mixture.scale_tril.diagonal(dim1=1, dim2=2))
    return StudentTMixture(mixture.weights, mixture.df, mixture.loc, narrow)


def plain(mixture: StudentTMixture, x: Tensor, size: int, seed: int) -> tuple[Estimate, float]:
    """Both readings as means over draws, and the total correlation with narrow marginals."""
    drawn = mixture.sample((size,), seed=seed)
    log_p = mixture.log_prob(drawn)
    log_m = Normal(x.mean(0), x.std(0, correction=0)).log_prob(drawn).sum(1)
    apart = [m.marginal_log_prob(drawn).sum(1) for m in (mixture, narrow_marginals(mixture))]
    right, narrow = (float((log_p - each).mean()) for each in apart)
    return (float((log_p - log_m).mean()), right), narrow


def one_repeat(predictive: PosteriorPredictive, x: Tensor, size: int, seed: int) -> dict[str, Any]:
    """Every variant's mean over the kept draws."""
    counted = PosteriorPredictive([same_extra_weight(m) for m in predictive.mixtures])
    found: dict[str, Any] = {}
    for name, law in (("exact", predictive), ("weights n + alpha", counted)):
        both = pa.analysis.complexity(law, x, num_samples=size, seed=seed)
        found[name] = (both.relative_entropy.mean, both.total_correlation.mean)
    for name, law in (("plain draws", predictive), ("all three", counted)):
        rows = [plain(m, x, size, seed + 1000 * i) for i, m in enumerate(law.mixtures)]
        found[name] = tuple(np.mean([row[0] for row in rows], axis=0))
        narrow = float(np.mean([row[1] for row in rows]))
        if law is predictive:
            found["Cholesky marginals"] = (found["exact"][0], narrow)
        else:
            found[name] = (found[name][0], narrow)
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Fit once, read often; write the table and the numbers."""
    args = arguments(__doc__, argv, None)
    run, size, x = Run(draws=500, tune=500, kept=25, seed=args.seed), 100_000, digits()
    if args.quick:
        run, size = run._replace(draws=5, tune=10, chains=1, kept=2, moves=1), 2000
        x = x[::3]
    predictive = fit(x, run, progress=False).predictive
    repeats = [one_repeat(predictive, x, size, args.seed + seed) for seed in range(REPEATS)]
    numbers = {}
    for name in ("exact", "plain draws", "weights n + alpha", "Cholesky marginals", "all three"):
        values = np.array([repeat[name] for repeat in repeats])  # (repeats, 2)
        mean, sd = values.mean(0), values.std(0, ddof=1)
        numbers[name] = {
            reading: {"mean": float(mean[i]), "sd": float(sd[i])}
            for i, reading in enumerate(("relative_entropy", "total_correlation"))
        }
    rows = [
        [name, *(f"{each[key]:.4f}" for each in row.values() for key in ("mean", "sd"))]
        for name, row in numbers.items()
    ]
    table = markdown(["variant", "relative entropy", "sd", "total correlation", "sd"], rows)
    (args.out / "table.md").write_text(table + "\n", encoding="utf-8")
    save_numbers(args.out / "numbers.json", {"num_samples": size, "variants": numbers})
    print(table)


if __name__ == "__main__":
    main()
