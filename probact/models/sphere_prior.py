r"""Priors of codes on the sphere: uniform, any law, or one von Mises-Fisher law a class.

Symbols: z (N, d) unit codes; y (N,) labels; mu (C, d) class directions; kappa () or (C,) their
concentrations, fixed or inferred. q(kappa) is log-normal; readings use its median.
"""

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.nn import PyroModule
from pyro.ops.indexing import Vindex
from torch import Generator, Tensor, nn
from torch.distributions import Distribution, kl_divergence

from probact.arrays import check_count
from probact.distributions import SphereUniform, VonMisesFisher
from probact.distributions.sphere_latent import rsample_with_kl
from probact.distributions.sphere_law import SphereLaw
from probact.models.vmf_classifier import VMFClassifier

__all__ = ["ClassPrior", "LawPrior", "UniformPrior", "code_prior", "describe_prior"]

Draw = tuple[Tensor, Tensor]  # codes z (N, d), KL(q || prior) (N,) in nats


class UniformPrior(PyroModule):
    """The uniform law on S^(d-1), whatever the label (HVAE and HVAE-C)."""

    def __init__(self, dim: int, num_classes: int = 0) -> None:
        super().__init__()
        self.dim, self.num_classes = dim, num_classes
        self.register_buffer("origin", torch.zeros(()), persistent=False)  # device and dtype
        equal = torch.full((num_classes,), 1.0 / num_classes) if num_classes else None
        self.register_buffer("class_probs", equal)  # p(y) (C,), of a decoder that sees labels

    def concentration_site(self) -> None:
        """Nothing to infer."""

    def law(self, labels: Tensor | None, kappa: Tensor | None = None) -> TorchDistributionMixin:
        """p(z | y), of batch shape ()."""
        return SphereUniform(self.dim, dtype=self.origin.dtype, device=self.origin.device)

    def draw(
        self,
        loc: Tensor,
        concentration: Tensor,
        labels: Tensor | None,
        generator: Generator | None = None,
    ) -> Draw:
        """Codes of q = vMF(loc, concentration) and its divergence from the prior."""
        return rsample_with_kl(loc, concentration, generator=generator)

    def class_log_prob(self, z: Tensor) -> Tensor:
        """log p(z) in nats (..., 1)."""
        log_prob: Tensor = self.law(None).log_prob(z)
        return log_prob.unsqueeze(-1)


class LawPrior(UniformPrior):
    """A given law on the sphere: the divergence is analytic where registered, else one draw.

    Its parameters are buffers here, so that they move with the model.
    """

    def __init__(self, law: SphereLaw, dim: int, num_classes: int = 0) -> None:
        if law.dim != dim or law.batch_shape:
            raise ValueError(
                f"prior must be one law on R^{dim}, got batch shape {tuple(law.batch_shape)}"
                f" and event shape {tuple(law.event_shape)}"
            )
        super().__init__(dim, num_classes)
        self.kind, self.names = type(law), tuple(law.arg_constraints)
        for name in self.names:
            self.register_buffer(name, getattr(law, name).detach().clone())

    def law(self, labels: Tensor | None, kappa: Tensor | None = None) -> TorchDistributionMixin:
        return self.kind(**{name: getattr(self, name) for name in self.names})

    def draw(
        self,
        loc: Tensor,
        concentration: Tensor,
        labels: Tensor | None,
        generator: Generator | None = None,
    ) -> Draw:
        q = VonMisesFisher(loc, concentration, validate_args=False)
        z = q.rsample(generator=generator)
        try:
            kl = kl_divergence(q, self.law(labels))
        except NotImplementedError:
            kl = q.log_prob(z) - self.law(labels).log_prob(z)
        return z, kl


class ClassPrior(PyroModule):
    """p(z | y) = vMF(mu_y, kappa_y), the classes of a `VMFClassifier` (HVAE-L).

    learn: the directions are trained with the network. A classifier with a prior on kappa has it
    inferred by a log-normal guide; its divergence is shared among `size` images.
    """

    def __init__(self, classifier: VMFClassifier, *, learn: bool, size: int | None) -> None:
        super().__init__()
        self.dim, self.num_classes = classifier.dim, classifier.num_classes
        self.size, self.learn = size, learn
        directions = classifier.directions.float()
        if learn:
            self.weight = nn.Parameter(directions)
        else:
            self.register_buffer("weight", directions)
        self.register_buffer("class_probs", classifier.class_probs.float())
        self.hyperprior, self.per_class = classifier.prior, classifier.per_class
        if self.hyperprior is None:
            self.register_buffer("kappa", classifier.fixed_concentration.float())
            return
        if size is None:
            raise ValueError(
                "size, the number of training images, is needed to infer the concentration:"
                " its divergence is one for all of them"
            )
        start = _start(self.hyperprior).float()
        self.log_kappa = nn.Parameter(start.log())
        self.log_kappa_spread = nn.Parameter(torch.full_like(start, -2.0))  # log of its s.d.

    @property
    def directions(self) -> Tensor:
        """mu (C, d), unit rows."""
        return F.normalize(self.weight, dim=-1)

    @property
    def concentration(self) -> Tensor:
        """kappa () or (C,); the median of q(kappa) where it is inferred."""
        kappa: Tensor = self.kappa if self.hyperprior is None else self.log_kappa.exp()
        return kappa

    def posterior(self) -> TorchDistributionMixin:
        """q(kappa), log-normal."""
        return dist.LogNormal(self.log_kappa, self.log_kappa_spread.exp())

    def concentration_site(
        self, law: Callable[[], TorchDistributionMixin] | None = None
    ) -> Tensor:
        """kappa of the program (law None) or the guide, a site where it is inferred."""
        if self.hyperprior is None:
            return self.concentration
        fn = self.hyperprior if law is None else law()
        if not fn.batch_shape:
            shared: Tensor = pyro.sample("concentration", fn)
            return shared
        with pyro.plate("class", self.num_classes):
            own: Tensor = pyro.sample("concentration", fn)
        return own

    def law(self, labels: Tensor | None, kappa: Tensor | None = None) -> VonMisesFisher:
        """p(z | y) of labels (N,), batch shape (N,)."""
        assert labels is not None
        kappa = self.concentration if kappa is None else kappa
        if self.per_class:  # axes of draws or particles may stand on the left of both
            kappa = Vindex(kappa.unsqueeze(-2))[..., labels]
        return VonMisesFisher(self.directions[labels], kappa, validate_args=False)

    def draw(
        self,
        loc: Tensor,
        concentration: Tensor,
        labels: Tensor | None,
        generator: Generator | None = None,
    ) -> Draw:
        """As the other priors'; an image's share of the divergence of q(kappa) is added to it."""
        assert labels is not None
        kappa, share = self.concentration, None
        if self.hyperprior is not None:
            q = self.posterior()
            noise = torch.randn(
                self.log_kappa.shape, generator=generator, device=self.log_kappa.device
            )
            kappa = (self.log_kappa + self.log_kappa_spread.exp() * noise).exp()
            assert self.size is not None
            home = self.hyperprior.mean.device  # a law's tensors do not move with a module
            log_prior = self.hyperprior.log_prob(kappa.to(home)).to(kappa.device)
            share = (q.log_prob(kappa) - log_prior).sum() / self.size
        own = kappa[labels] if self.per_class else kappa
        z, kl = rsample_with_kl(
            loc, concentration, self.directions[labels], own, generator=generator
        )
        return z, kl if share is None else kl + share

    def class_log_prob(self, z: Tensor) -> Tensor:
        """log p(z | i) in nats (..., C)."""
        law = VonMisesFisher(self.directions, self.concentration, validate_args=False)
        return law.log_prob(z.unsqueeze(-2))


def code_prior(
    prior: Any,
    dim: int,
    *,
    condition: str | None,
    num_classes: int | None,
    learn: bool,
    size: int | None,
) -> UniformPrior | ClassPrior:
    """The module of a prior over codes in R^dim; the arguments are those of `SphereVAE`.

    Raises: ValueError for a prior that is none or of another dimension, or for arguments that
    exclude each other.
    """
    if condition not in (None, "concat"):
        raise ValueError(f'condition must be None or "concat", got {condition!r}')
    if size is not None:
        check_count(size, "size")
    if isinstance(prior, VMFClassifier):
        if prior.dim != dim:
            raise ValueError(f"prior lives in R^{prior.dim}, the codes in R^{dim}")
        if condition or num_classes not in (None, prior.num_classes):
            raise ValueError(
                "a VMFClassifier as prior brings the classes: leave condition and num_classes out"
            )
        return ClassPrior(prior, learn=learn, size=size)
    if learn:
        raise ValueError("learn_prior trains the directions of a VMFClassifier: give one as prior")
    if (condition is None) != (num_classes is None):
        raise ValueError('condition="concat" and num_classes go together')
    if num_classes is not None:
        check_count(num_classes, "num_classes", smallest=2)
    if prior is None:
        return UniformPrior(dim, num_classes or 0)
    if not isinstance(prior, SphereLaw):
        raise ValueError(
            "prior must be None, a VMFClassifier or one of probact's laws on the sphere, got"
            f" {type(prior).__name__}"
        )
    if isinstance(prior, SphereUniform) and prior.dim == dim:
        return UniformPrior(dim, num_classes or 0)
    return LawPrior(prior, dim, num_classes or 0)


def _start(hyperprior: Distribution) -> Tensor:
    """Where q(kappa) starts: the prior mean, or one where there is none."""
    mean: Tensor = hyperprior.mean
    return torch.where(torch.isfinite(mean) & (mean > 0.0), mean, torch.ones_like(mean))


def describe_prior(prior: Any) -> Any:
    """A prior as JSON: what a run's record holds of it."""
    if prior is None:
        return None
    if isinstance(prior, VMFClassifier):
        kappa = prior.fixed_concentration
        law = {"weight": prior.weight.tolist(), "class_probs": prior.class_probs.tolist()}
        told = kappa.tolist() if kappa is not None else _describe_law(prior.prior)
        return {**law, "concentration": told}
    return _describe_law(prior)


def _describe_law(law: Any) -> dict[str, Any]:
    """Class and parameters."""
    names = [name for name in law.arg_constraints if isinstance(getattr(law, name, 0), Tensor)]
    return {"law": repr(law), **{name: getattr(law, name).tolist() for name in names}}
