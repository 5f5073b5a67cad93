r"""Rival laws of unit penultimate activations, fitted by maximum likelihood.

Symbols: a (N, D) unit activations; y (N,) labels in 0..C-1; mu_i the direction of class i's row of
the final layer's weight W (C, D); kappa concentrations. The claim under test is that activations
of class i follow vMF(mu_i, kappa) (Seo, Lee & Han 2021). Each rival changes one part of it:

    uniform                       no structure at all
    pooled vMF                    one direction for all classes: what the label adds
    tied vMF                      the claim: direction mu_i, one kappa
    tied vMF, kappa_i             a spread per class
    tied vMF, kappa = |w|         the literal tie, nothing fitted
    tied power spherical          another profile around the same directions
    untied vMF                    a free direction and kappa per class
    untied power spherical        both
    angular Gaussian              direction of N(m_i, I): free direction and spread
    angular Gaussian, axis scales direction of N(m_i, diag(s^2)): anisotropic
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from probact.distributions import AngularGaussian, PowerSpherical, VonMisesFisher
from probact.models.unit_data import check_labelled
from probact.models.vmf_classifier import VMFClassifier

__all__ = ["ActivationLaw", "HeldOut", "fit_activation_laws", "held_out_log_density"]

_MAX_STEPS = 200  # of L-BFGS; the fits here stop after 10 to 60


class ActivationLaw(NamedTuple):
    """A fitted law: the family's parameters, each with the classes first."""

    family: Callable[..., TorchDistribution]
    parameters: tuple[Tensor, ...]
    num_parameters: int

    def at(self, labels: Tensor) -> TorchDistribution:
        """The law of each label, batch shape (N,)."""
        return self.family(*(p[labels] for p in self.parameters))


class HeldOut(NamedTuple):
    """Mean held-out log density in nats per activation, and its gain over a reference law."""

    mean: float
    standard_error: float
    gain: float  # over the reference, paired by activation
    gain_error: float


def fit_activation_laws(
    activations: Tensor, labels: Tensor, weight: Tensor
) -> dict[str, ActivationLaw]:
    """The laws of the table above, fitted to a (N, D), y (N,) and the head's W (C, D).

    Left out, since their likelihood has no maximum: laws that need a spread per class, where some
    class has fewer than two distinct activations; axis scales, where a coordinate never varies
    within any class (a unit that is always off). Power spherical laws, which have no density
    opposite to their direction, are left out where an activation lies exactly there.

    Raises:
        ValueError: activations that are not unit vectors, or are all equal; labels out of range.

    >>> vmf = VMFClassifier(torch.eye(3), 30.0)
    >>> a = vmf.sample_activations(torch.arange(3), 200, seed=0).reshape(-1, 3)
    >>> laws = fit_activation_laws(a, torch.arange(3).repeat(200), torch.eye(3))
    >>> laws["tied vMF"].parameters[1]  # one kappa, for every class
    tensor([29.1922, 29.1922, 29.1922], dtype=torch.float64)
    """
    literal = VMFClassifier(weight, "norm")
    check_labelled(activations, labels, literal.dim, literal.num_classes)
    x, mu = activations.double(), literal.directions
    one = mu.new_ones(len(mu))
    kappa = VMFClassifier.mle(weight, x, labels).fixed_concentration
    pooled = VonMisesFisher.mle(x)
    loc = pooled.loc.expand_as(mu)
    laws = {
        "uniform": ActivationLaw(VonMisesFisher, (mu, 0.0 * one), 0),
        "pooled vMF": ActivationLaw(
            VonMisesFisher, (loc, pooled.concentration * one), literal.dim
        ),
        "tied vMF, kappa = |w|": ActivationLaw(
            VonMisesFisher, (mu, literal.fixed_concentration), 0
        ),
        "tied vMF": ActivationLaw(VonMisesFisher, (mu, kappa * one), 1),
    }
    searches = {
        "tied power spherical": _Search(
            PowerSpherical, lambda k: (mu, k.exp() * one), (_log_start(kappa),), 1
        )
    }
    if _spread_everywhere(x, labels, len(mu)):
        tied = VMFClassifier.mle(weight, x, labels, shared=False).fixed_concentration
        laws["tied vMF, kappa_i"] = ActivationLaw(VonMisesFisher, (mu, tied), len(mu))
        fits = [VonMisesFisher.mle(x[labels == i]) for i in range(len(mu))]
        laws["untied vMF"] = _untied(fits)
        searches |= _class_wise_searches(x, labels, fits)
    found = {name: _maximise(search, x, labels) for name, search in searches.items()}
    return laws | {name: law for name, law in found.items() if law is not None}


def _spread_everywhere(x: Tensor, labels: Tensor, num_classes: int) -> bool:
    """Whether every class has at least two distinct directions, told apart as the fits do."""
    counts = torch.bincount(labels, minlength=num_classes)
    sums = x.new_zeros(num_classes, x.shape[1])
    sums.index_add_(0, labels, torch.nn.functional.normalize(x, dim=1))
    length = torch.linalg.vector_norm(sums, dim=1) / counts  # nan for an empty class
    return bool((length <= 1.0 - 1e-12).all())


def _untied(fits: list[VonMisesFisher]) -> ActivationLaw:
    """One law of the fits of all classes."""
    loc = torch.stack([fit.loc for fit in fits])
    kappa = torch.stack([fit.concentration for fit in fits])
    return ActivationLaw(VonMisesFisher, (loc, kappa), loc.numel())


class _Search(NamedTuple):
    """A family whose likelihood is climbed: its parameters as functions of free variables."""

    family: Callable[..., TorchDistribution]
    parameters: Callable[..., tuple[Tensor, ...]]
    start: tuple[Tensor, ...]
    num_parameters: int


def _class_wise_searches(
    x: Tensor, labels: Tensor, fits: list[VonMisesFisher]
) -> dict[str, _Search]:
    """Laws with a spread per class, from the vMF fits of the classes."""
    (loc, kappa), free = _untied(fits).parameters, _untied(fits).num_parameters
    mean = _gaussian_start(fits)
    searches = {
        "untied power spherical": _Search(
            PowerSpherical,
            lambda u, k: (torch.nn.functional.normalize(u, dim=1), k.exp()),
            (loc, _log_start(kappa)),
            free,
        ),
        "angular Gaussian": _Search(
            AngularGaussian, lambda m: (m, torch.ones_like(m)), (mean,), free
        ),
    }
    first = torch.stack([x[labels == i][0] for i in range(len(fits))])
    if (x != first[labels]).any(0).all():
        searches["angular Gaussian, axis scales"] = _Search(
            AngularGaussian,
            lambda m, s: (m, (s - s.mean()).exp().expand_as(m)),  # the overall scale is m's
            (mean, torch.zeros_like(mean[0])),
            free + mean.shape[1] - 1,
        )
    return searches


def _log_start(kappa: Tensor) -> Tensor:
    """Where the search for log kappa begins: from zero it could not move."""
    return kappa.clamp_min(0.1).log()


def _gaussian_start(fits: list[VonMisesFisher]) -> Tensor:
    """Means m (C, D) of N(m, I) whose directions have about the mean cosines of the vMF fits."""
    mean = torch.stack([fit.mean for fit in fits])
    squared = mean.square().sum(1, keepdim=True)
    return mean * torch.sqrt((mean.shape[1] - 1.0) / (1.0 - squared))


def _maximise(search: _Search, x: Tensor, labels: Tensor) -> ActivationLaw | None:
    """The most likely law, by L-BFGS; None where an activation has no density at the start."""
    variables = [s.detach().clone().requires_grad_() for s in search.start]
    optimiser = torch.optim.LBFGS(
        variables, max_iter=_MAX_STEPS, tolerance_change=1e-10, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        law = search.family(*(p[labels] for p in search.parameters(*variables)))
        mean: Tensor = -law.log_prob(x).mean()
        return mean

    def closure() -> float:
        optimiser.zero_grad()
        value = loss()
        value.backward()
        return float(value.detach())

    if not torch.isfinite(loss()):
        return None
    optimiser.step(closure)
    parameters = tuple(p.detach() for p in search.parameters(*variables))
    return ActivationLaw(search.family, parameters, search.num_parameters)


def held_out_log_density(
    laws: dict[str, ActivationLaw],
    activations: Tensor,
    labels: Tensor,
    *,
    reference: str = "tied vMF",
) -> dict[str, HeldOut]:
    """Score each law on activations (N, D) that it was not fitted to, best first.

    Raises:
        ValueError: fewer than two activations, a reference that is not among the laws, activations
            that are not unit vectors, labels out of range.
    """
    if reference not in laws:
        raise ValueError(f"reference must be one of {', '.join(laws)}, got {reference!r}")
    num_classes, dim = laws[reference].parameters[0].shape
    check_labelled(activations, labels, dim, num_classes)
    if len(labels) < 2:
        raise ValueError(f"a standard error takes two activations, got {len(labels)}")
    values = {name: law.at(labels).log_prob(activations.double()) for name, law in laws.items()}
    root = len(labels) ** 0.5
    table = {}
    for name, value in values.items():
        gain = value - values[reference]
        errors = float(value.std() / root), float(gain.std() / root)
        table[name] = HeldOut(float(value.mean()), errors[0], float(gain.mean()), errors[1])
    return dict(sorted(table.items(), key=lambda row: -row[1].mean))
