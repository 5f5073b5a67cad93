"""Laws of unit activations compared by their posteriors: PSIS-LOO through ArviZ.

Symbols: a (N, D) unit activations; y (N,) labels; W (C, D) weight of the head; kappa
concentrations, all under one prior LogNormal(log D, 1.5): 0.05 D to 19 D with probability 95 %.
Laws whose posterior is drawn from exactly take part (`models.DirectionalModel`); the others of
`models.activation_laws` are compared by held-out density alone.
"""

import math
from typing import Any, NamedTuple

import pandas as pd
import pyro.distributions as dist
import torch
from torch import Tensor

from probact.arrays import check_count
from probact.distributions import PowerSpherical, VonMisesFisher
from probact.inference import compare, from_draws, log_likelihood
from probact.models import DirectionalModel, VMFClassifier
from probact.models.unit_data import check_labelled

__all__ = ["PosteriorComparison", "compare_by_posterior", "concentration_prior"]


class PosteriorComparison(NamedTuple):
    """Posteriors with pointwise log likelihoods, and ArviZ's table of them."""

    posteriors: dict[str, Any]  # name of the law: InferenceData or DataTree
    table: pd.DataFrame  # of inference.compare, best first


def concentration_prior(dim: int) -> dist.LogNormal:
    """Weak prior of a concentration in R^dim: LogNormal(log dim, 1.5), in float64.

    >>> concentration_prior(16).icdf(torch.tensor(0.5)).round()
    tensor(16., dtype=torch.float64)
    """
    return dist.LogNormal(
        torch.tensor(math.log(dim), dtype=torch.float64), torch.tensor(1.5, dtype=torch.float64)
    )


def compare_by_posterior(
    activations: Tensor, labels: Tensor, weight: Tensor, *, draws: int = 1000, seed: int = 0
) -> PosteriorComparison:
    """Rank uniform, pooled, tied and untied laws by expected log density (LOO, nats over all N).

    Every class needs an activation. ArviZ warns where single activations weigh too much for the
    importance sampling (Pareto k); the table's column `warning` keeps it.

    Raises:
        ValueError: activations that are not unit vectors, labels out of range, an empty class.
    """
    mu = VMFClassifier(weight, 0.0).directions
    num_classes, dim = mu.shape
    prior = concentration_prior(dim)
    check_labelled(activations, labels, dim, num_classes)
    check_count(draws, "draws")
    per_class = prior.expand([num_classes])
    one_class = torch.zeros_like(labels)

    def model(family: Any, law_prior: Any, directions: Tensor | None) -> DirectionalModel:
        return DirectionalModel(
            family, law_prior, num_classes=num_classes, dim=dim, directions=directions
        )

    pooled = DirectionalModel(VonMisesFisher, prior.expand([1]), num_classes=1, dim=dim)
    laws = {
        "pooled vMF": (pooled, one_class),
        "tied vMF": (model(VonMisesFisher, prior, mu), labels),
        "tied vMF, kappa_i": (model(VonMisesFisher, per_class, mu), labels),
        "tied power spherical": (model(PowerSpherical, prior, mu), labels),
        "untied vMF": (model(VonMisesFisher, per_class, None), labels),
    }
    # importance sampling needs weights that vary: kappa of 1e-6 moves a density by 1e-6 nats
    generator = torch.Generator().manual_seed(seed)
    almost_zero = 1e-6 * torch.rand(draws, dtype=torch.float64, generator=generator)
    uniform = model(VonMisesFisher, dist.Uniform(0.0, 1e-6), mu)
    flat = from_draws({"concentration": almost_zero})
    posteriors = {"uniform": log_likelihood(uniform, flat, (activations, labels))}
    for name, (law, classes) in laws.items():
        sites = law.exact_posterior(activations, classes, draws=draws, seed=seed)
        posterior = from_draws(sites, dims=law.site_dims)
        posteriors[name] = log_likelihood(law, posterior, (activations, classes))
    return PosteriorComparison(posteriors, compare(posteriors, var_name="activation"))
