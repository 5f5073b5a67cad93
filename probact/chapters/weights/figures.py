"""The chapter's pictures."""

import torch
from matplotlib.axes import Axes

from probact import plots
from probact.analysis.laplace_fits import fit_family
from probact.analysis.laplace_fits.weight_rows import standardised_rows
from probact.chapters.weights.measures import Measures
from probact.plots.style import figure_of, new_row
from probact.study import Picture

__all__ = ["cam_picture", "density_picture", "rates_picture"]

_SHOWN_LAWS = {
    "asymmetric Laplace": "asymmetric_laplace",
    "skew logistic": "skew_logistic",
    "normal": "normal",
}


def density_picture(m: Measures) -> Picture:
    """All weights together, each class in units of its own spread, and laws fitted to them."""
    x = standardised_rows(m.weight)[0].flatten()
    span = x.max() - x.min()
    grid = torch.linspace(float(x.min() - 0.05 * span), float(x.max() + 0.05 * span), 300).double()
    share = (torch.arange(len(x), dtype=torch.float64) + 0.5) / len(x)
    densities, quantiles = {}, {}
    for name, family in _SHOWN_LAWS.items():
        law = fit_family(x[None], family).dist()
        densities[name] = law.log_prob(grid[:, None]).exp()[:, 0].numpy()
        quantiles[name] = law.icdf(share[:, None])[:, 0].numpy()
    left, middle, right = new_row(3, 11.5, 3.4)
    for ax, log in ((left, False), (middle, True)):
        plots.plot_weight_density(x.numpy(), grid.numpy(), densities, log=log, bins=40, ax=ax)
        ax.set_xlabel("weight less median, over its class's spread")
        ax.set_ylabel("density")
    plots.plot_weight_qq(x.numpy(), quantiles, ax=right)
    for ax in (middle, right):
        _without_legend(ax)
    caption = (
        "The weights of all classes together, each class less its median and over its mean "
        "absolute deviation: density, the same on a log scale where an asymmetric Laplace law is "
        "two straight lines, and sorted weights against the quantiles of each law."
    )
    return Picture("head_weights", caption, figure_of(left))


def rates_picture(m: Measures) -> Picture:
    """Posterior of lambda and kappa of every class."""
    left, right = new_row(2, 9.0, 3.2)
    scale, scale_error = m.rates["scale"]
    kappa, kappa_error = m.rates["asymmetry"]
    for ax, name, value, error, reference in (
        (left, "rate lambda (per unit of weight)", 1.0 / scale, scale_error, None),
        (right, "asymmetry kappa", kappa, kappa_error, 1.0),
    ):
        plots.plot_rates_across_classes(
            {"classes": value.numpy()},
            {"classes": error.numpy()},
            ylabel=name,
            reference=reference,
            ax=ax,
        )
        _without_legend(ax)
    caption = (
        "Posterior medians of each class, sorted, with two posterior standard deviations of the "
        "logarithm to either side. Dotted: the mean over classes. Dashed: the symmetric law."
    )
    return Picture("head_rates", caption, figure_of(left))


def cam_picture(m: Measures) -> Picture:
    """What groups of neurons of an image's own class respond to."""
    ax = plots.cam_grid(
        m.images.numpy(),
        m.maps.numpy(),
        row_names=[m.class_names[k] for k in m.labels],
        column_names=[name or "all" for name in m.nodes],
    )
    caption = (
        "Smooth Grad-CAM++ of the part of an image's own class score that a group of neurons "
        "carries, each map over its own largest value. For groups of negative weights the sign is "
        "turned: they show what lowers the score. A map without colour is zero."
    )
    return Picture("node_maps", caption, figure_of(ax))


def _without_legend(ax: Axes) -> None:
    legend = ax.get_legend()
    assert legend is not None
    legend.remove()
