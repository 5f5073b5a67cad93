"""
Figures of a head's weights
===========================

The paper's three figures for some classes of a head, beside what would be straight if the law
held, and kappa and lambda of all classes of several heads.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from head_sources import NamedHead
from matplotlib.figure import Figure
from torch import Tensor

from probact import plots
from probact.analysis import laplace_fits
from probact.plots.style import new_row

__all__ = ["draw_across_classes", "draw_classes"]

FAMILIES = {
    "asymmetric Laplace": "asymmetric_laplace",
    "skew logistic": "skew_logistic",
    "normal": "normal",
}


def draw_classes(head: NamedHead, chosen: Sequence[int], out: Path) -> None:
    """`NAME_laws.png` and `NAME_ranks.png`: three panels a class."""
    laws, ranks = (
        Figure(figsize=(11.5, 3.1 * len(chosen)), layout="constrained").subplots(
            len(chosen), 3, squeeze=False
        )
        for _ in range(2)
    )
    for k, law_row, rank_row in zip(chosen, laws, ranks, strict=True):
        title = f"class {k}" if head.class_names is None else head.class_names[k].split(",")[0]
        draw_laws(head.weight[k], title, law_row)
        draw_ranks(head.weight[k], title, rank_row)
    stem = "".join(c if c.isalnum() or c in "._-" else "_" for c in head.name)
    for kind, panels in (("laws", laws), ("ranks", ranks)):
        shared_legend(panels if kind == "laws" else panels[:, :1])
        panels[0, 0].figure.suptitle(f"{head.name}, n = {head.weight.shape[1]}", fontsize=10)
        panels[0, 0].figure.savefig(out / f"{stem}_{kind}.png", dpi=110)


def shared_legend(panels: np.ndarray) -> None:
    """One legend below all panels (rows, columns), that of the first."""
    first = panels.flat[0]
    handles, labels = first.get_legend_handles_labels()
    for panel in panels.flat:
        panel.get_legend().remove()
    first.figure.legend(handles, labels, loc="outside lower left", ncols=4, frameon=False,
                        fontsize=9)  # fmt: skip


def draw_laws(row: Tensor, title: str, panels: Sequence) -> None:
    """Density, the same on a log scale, and quantiles."""
    x = row.double()
    span = float(x.max() - x.min())
    grid = torch.linspace(float(x.min()) - 0.03 * span, float(x.max()) + 0.03 * span, 400).double()
    ranks = (torch.arange(len(x), dtype=torch.float64) + 0.5) / len(x)
    densities, quantiles = {}, {}
    for label, name in FAMILIES.items():
        law = laplace_fits.fit_family(x[None], name).dist()
        densities[label] = law.log_prob(grid[:, None]).exp()[:, 0].numpy()
        quantiles[label] = law.icdf(ranks[:, None])[:, 0].numpy()
    for log, panel in zip((False, True), panels, strict=False):
        plots.plot_weight_density(
            x.numpy(), grid.numpy(), densities, log=log, title=title, ax=panel
        )
    plots.plot_weight_qq(x.numpy(), quantiles, title=title, ax=panels[2])


def draw_ranks(row: Tensor, title: str, panels: Sequence) -> None:
    """Distribution function with the band of its null, log survival, log against rank."""
    x = row.double()[None]
    fit = laplace_fits.fit_asymmetric_laplace(x)
    pits = {
        label: laplace_fits.fit_family(x, name).dist().cdf(x.T)[:, 0].numpy()
        for label, name in FAMILIES.items()
    }
    band = float(laplace_fits.distance_quantile(fit, 0.95).ks)
    label = "95 % of fits to asymmetric Laplace draws"
    plots.plot_pit_ecdf(pits, half_width=band, band_label=label, title=title, ax=panels[0])
    offset = (x - fit.loc)[0].numpy()
    right, left = (float(rate) for rate in fit.rates)
    sides = {"right": offset[offset > 0.0], "left": -offset[offset < 0.0]}
    rates = {"right": right, "left": left}
    plots.plot_log_survival(sides, rates, title=title, ax=panels[1])
    line = laplace_fits.rank_log_regression(x)
    positive = x[x > 0.0].numpy()
    plots.plot_rank_log(
        positive,
        float(line.slope),
        float(line.intercept),
        scale=float(positive.mean()),
        title=f"{title}, R² {float(line.r2):.3f}",
        ax=panels[2],
    )


def draw_across_classes(heads: Sequence[NamedHead], path: Path) -> None:
    """kappa and lambda of every class, sorted, with two standard errors."""
    left, right = new_row(2, 12.0, 3.6)
    kappa, rate, errors = {}, {}, {"kappa": {}, "rate": {}}
    for head in heads:
        fit = laplace_fits.fit_asymmetric_laplace(head.weight)
        error = fit.cov().diagonal(dim1=1, dim2=2).sqrt().numpy()
        kappa[head.name], rate[head.name] = fit.asymmetry.numpy(), (1.0 / fit.scale).numpy()
        errors["rate"][head.name], errors["kappa"][head.name] = error[:, 1], error[:, 2]
    plots.plot_rates_across_classes(
        kappa, errors["kappa"], ylabel="asymmetry kappa", reference=1.0, ax=left
    )
    left.get_legend().remove()
    plots.plot_rates_across_classes(
        rate, errors["rate"], ylabel="rate lambda (per unit of weight)", ax=right
    )
    left.figure.savefig(path, dpi=130)
