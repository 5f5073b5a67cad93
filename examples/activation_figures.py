"""
Figures of the statistics of activation patterns
================================================

Drawn by `activation_statistics.py` from its numbers.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from probact import plots
from probact.analysis import fit_hurdle_truncated, fit_rectified
from probact.analysis.patterns import ProbabilityLaw
from probact.distributions import HurdleTruncatedNormal, RectifiedNormal
from probact.plots.style import new_row

__all__ = ["draw"]


def draw(numbers: dict[str, Any], out: Path) -> None:
    """One file a subject, for each network."""
    for name, found in numbers.items():
        if name == "normalisation":
            _normalisation(found, out / "normalisation.png")
            continue
        arrays = found["arrays"]
        _probabilities(arrays, found["layers"], out / f"probabilities_{name}.png")
        _distances(arrays, found["constellations"], out / f"distances_{name}.png")
        _values(arrays, out / f"values_{name}.png")
        _attack(found["attack"], out / f"attack_{name}.png")


def _save(ax: Any, path: Path) -> None:
    ax.figure.savefig(path, dpi=110)


def _probabilities(arrays: dict[str, Any], layers: list[dict[str, Any]], path: Path) -> None:
    names = list(arrays["p"])
    shown = [0, len(names) // 2, len(names) - 1]
    axes = new_row(4, 13.0, 3.0)
    grid = np.linspace(0.005, 0.995, 199)
    for ax, i in zip(axes, shown, strict=False):
        law: ProbabilityLaw = arrays["laws"][names[i]]
        drawable = 0.0 < law.correlation < 1.0
        curve = law.density(grid).numpy() if drawable else None
        plots.plot_probabilities(
            arrays["p"][names[i]].numpy(), grid if drawable else None, curve,
            title=f"layer {i + 1}", label=f"law of c = {law.correlation:.2f}", ax=ax,
        )  # fmt: skip
    plots.plot_probability_variances(
        {"measured": [r["variance"] for r in layers]},
        {"measured": [r["predicted_variance"] for r in layers]},
        title="rings: asin(c) / (2 pi)", ax=axes[3],
    )  # fmt: skip
    _save(axes[0], path)


def _distances(arrays: dict[str, Any], scores: dict[str, float], path: Path) -> None:
    axes = new_row(3, 12.0, 3.0)
    titles = (("counts", "all layers"), ("last_counts", "last layer"))
    for ax, (key, title) in zip(axes, titles, strict=False):
        counts = arrays[key].numpy()
        coins = stats.binom(len(counts) - 1, 0.5).pmf(np.arange(len(counts)))
        plots.plot_distance_counts(counts, coins, title=title, ax=ax)
    title = f"last layer, score {scores['score']:.3f}; same p {scores['matched']:.3f}"
    plots.plot_constellations({"groups": arrays["curve"].numpy()}, title=title, ax=axes[2])
    _save(axes[0], path)


def _values(arrays: dict[str, Any], path: Path) -> None:
    """The first unit's values, and the two fits."""
    sums = arrays["sums"]
    one = sums._replace(active=sums.active[:1], first=sums.first[:1], second=sums.second[:1])
    values = arrays["values"].numpy()
    grid = np.linspace(1e-3, float(values.max()), 200)
    at = torch.from_numpy(grid)
    densities = {}
    tobit, hurdle = fit_rectified(one), fit_hurdle_truncated(one)
    if bool(tobit.exists):
        law = RectifiedNormal(tobit.loc, tobit.scale)
        densities["rectified normal"] = (law.log_prob(at).exp() / law.prob).numpy()
    if bool(hurdle.exists & ~hurdle.exponential):
        free = HurdleTruncatedNormal(1.0, hurdle.loc, hurdle.scale)
        densities["truncated normal"] = free.log_prob(at).exp().numpy()
    ax = plots.plot_active_values(values, grid, densities, title="first unit of the first layer")
    _save(ax, path)


def _attack(found: dict[str, Any], path: Path) -> None:
    kinds = ("adversarial", "random", "other")
    rows = found["layers"]
    means = {k: np.array([r[k][0] / r["num_bits"] for r in rows]) for k in kinds}
    errors = {k: np.array([r[k][1] / r["num_bits"] for r in rows]) for k in kinds}
    shown = ["adversarial", "random signs", "other image"]
    means, errors = (dict(zip(shown, part.values(), strict=True)) for part in (means, errors))
    ax = plots.plot_layer_distances([r["name"] for r in rows], means, errors)
    _save(ax, path)


def _normalisation(rows: list[dict[str, Any]], path: Path) -> None:
    names = dict.fromkeys(r["normalisation"] for r in rows)
    groups = {n: [r for r in rows if r["normalisation"] == n] for n in names}
    ax = plots.plot_probability_variances(
        {n: [r["variance"] for r in g] for n, g in groups.items()},
        {"none": [r["predicted_variance"] for r in groups["none"]]},
        title="new networks, 10 layers of 256",
    )
    ax.figure.set_size_inches(5.4, 3.6)
    _save(ax, path)
