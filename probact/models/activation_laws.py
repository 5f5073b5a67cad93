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
from probact.models.unit_data import check_labels, check_unit_rows
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
    within any class (a unit that is always off).

    Raises:
        ValueError: activations that are not unit vectors, labels out of range.

    >>> vmf = VMFClassifier(torch.eye(3), 30.0)
    >>> a = vmf.sample_activations(torch.arange(3), 200, seed=0).reshape(-1, 3)
    >>> laws = fit_activation_laws(a, torch.arange(3).repeat(200), torch.eye(3))
    >>> laws["tied vMF"].parameters[1]  # one kappa, for every class
    tensor([29.1922, 29.1922, 29.1922], dtype=torch.float64)
    """
    literal = VMFClassifier(weight, "norm")
    num_classes, dim = literal.num_classes, literal.dim
    check_unit_rows(activations, "activations", dim)
    check_labels(labels, num_classes, len(activations))
    x, mu = activations.double(), literal.directions
    one = mu.new_ones(num_classes)
    kappa = VMFClassifier.mle(weight, x, labels).fixed_concentration
    pooled = VonMisesFisher.mle(x)
    laws = {
        "uniform": ActivationLaw(VonMisesFisher, (mu, 0.0 * one), 0),
        "pooled vMF": ActivationLaw(
            VonMisesFisher, (pooled.loc.expand_as(mu), pooled.concentration * one), dim
        ),
        "tied vMF, kappa = |w|": ActivationLaw(
            VonMisesFisher, (mu, literal.fixed_concentration), 0
        ),
        "tied vMF": ActivationLaw(VonMisesFisher, (mu, kappa * one), 1),
        "tied power spherical": ActivationLaw(
            PowerSpherical,
            _maximise(
                PowerSpherical,
                lambda k: (mu, k.exp() * one),
                x,
                labels,
                kappa.clamp_min(0.1).log(),
            ),
            1,
        ),
    }
    if _spread_everywhere(x, labels, num_classes):
        laws |= _fit_class_wise(x, labels, weight, mu)
    return laws


def _spread_everywhere(x: Tensor, labels: Tensor, num_classes: int) -> bool:
    """Whether every class has at least two distinct rows."""
    classes = [x[labels == i] for i in range(num_classes)]
    return all(len(c) > 1 and bool((c != c[0]).any()) for c in classes)


def _fit_class_wise(
    x: Tensor, labels: Tensor, weight: Tensor, mu: Tensor
) -> dict[str, ActivationLaw]:
    num_classes, dim = mu.shape
    tied = VMFClassifier.mle(weight, x, labels, shared=False)
    fits = [VonMisesFisher.mle(x[labels == i]) for i in range(num_classes)]
    loc = torch.stack([fit.loc for fit in fits])
    kappa = torch.stack([fit.concentration for fit in fits])
    start = _gaussian_start(fits)
    free = num_classes * dim  # a direction (dim - 1) and a spread per class
    laws = {
        "tied vMF, kappa_i": ActivationLaw(
            VonMisesFisher, (mu, tied.fixed_concentration), num_classes
        ),
        "untied vMF": ActivationLaw(VonMisesFisher, (loc, kappa), free),
        "untied power spherical": ActivationLaw(
            PowerSpherical,
            _maximise(
                PowerSpherical,
                lambda u, k: (torch.nn.functional.normalize(u, dim=1), k.exp()),
                *(x, labels, loc, kappa.clamp_min(0.1).log()),
            ),
            free,
        ),
        "angular Gaussian": ActivationLaw(
            AngularGaussian,
            _maximise(AngularGaussian, lambda m: (m, torch.ones_like(m)), x, labels, start),
            free,
        ),
    }
    within = x - torch.stack([x[labels == i].mean(0) for i in range(num_classes)])[labels]
    if (within != 0).any(0).all():
        parameters = _maximise(
            AngularGaussian,
            lambda m, s: (m, (s - s.mean()).exp().expand_as(m)),  # the overall scale is m's
            *(x, labels, start, torch.zeros_like(start[0])),
        )
        name = "angular Gaussian, axis scales"
        laws[name] = ActivationLaw(AngularGaussian, parameters, free + dim - 1)
    return laws


def _gaussian_start(fits: list[VonMisesFisher]) -> Tensor:
    """Means m (C, D) of N(m, I) whose directions have the mean cosines of the vMF fits."""
    mean = torch.stack([fit.mean for fit in fits])
    squared = mean.square().sum(1, keepdim=True)
    return mean * torch.sqrt((mean.shape[1] - 1.0) / (1.0 - squared))


def _maximise(
    family: Callable[..., TorchDistribution],
    parameters: Callable[..., tuple[Tensor, ...]],
    x: Tensor,
    labels: Tensor,
    *start: Tensor,
) -> tuple[Tensor, ...]:
    """The family's parameters at the most likely variables, by L-BFGS from `start`."""
    variables = [s.detach().clone().requires_grad_() for s in start]
    optimiser = torch.optim.LBFGS(
        variables, max_iter=_MAX_STEPS, tolerance_change=1e-10, line_search_fn="strong_wolfe"
    )

    def closure() -> float:
        optimiser.zero_grad()
        law = family(*(p[labels] for p in parameters(*variables)))
        loss: Tensor = -law.log_prob(x).mean()
        loss.backward()
        return float(loss.detach())

    optimiser.step(closure)
    return tuple(p.detach() for p in parameters(*variables))


def held_out_log_density(
    laws: dict[str, ActivationLaw],
    activations: Tensor,
    labels: Tensor,
    *,
    reference: str = "tied vMF",
) -> dict[str, HeldOut]:
    """Score each law on activations (N, D) that it was not fitted to, best first.

    Raises:
        ValueError: fewer than two activations, or a reference that is not among the laws.
    """
    if reference not in laws:
        raise ValueError(f"reference must be one of {', '.join(laws)}, got {reference!r}")
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
