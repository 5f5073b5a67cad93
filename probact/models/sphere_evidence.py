r"""Likelihoods of images under a hyperspherical VAE, and what its codes look like together.

Symbols: x (N, C, H, W) images in [0, 1]; y (N,) labels; z (N, d) unit codes; q(z | x) encoder.
"""

from abc import abstractmethod

import torch
from pyro.nn import PyroModule
from torch import Generator, Tensor

from probact.arrays import check_count, check_seed
from probact.capturing.passes import device_of, place, undisturbed
from probact.distributions import VonMisesFisher
from probact.models.aggregate_posterior import AggregatePosterior, aggregate_posterior
from probact.models.evidence import (
    ElboTerms,
    ImportanceEstimate,
    Joint,
    estimate_evidence,
    pixel_log_prob,
)
from probact.models.image_rows import binarised, check_images
from probact.models.sphere_joint import SphereJoint
from probact.models.sphere_prior import ClassPrior, UniformPrior
from probact.models.unit_data import check_labels

__all__ = ["SphereEvidence", "on_sphere"]

_ROWS = 1000  # images of one pass


def on_sphere(loc: Tensor, kappa: Tensor) -> Tensor:
    """Whether these are unit vectors with finite concentrations, ()."""
    return (loc.square().sum(-1) > 0.5).all() & (kappa < torch.inf).all()  # False for NaN


class SphereEvidence(PyroModule):
    """The readings of a `SphereVAE` that need its densities; abstract."""

    prior: UniformPrior | ClassPrior
    num_classes: int  # C, zero without labels
    image_shape: tuple[int, int, int]
    binarise: bool
    sees_labels: bool  # the decoder has the label beside the code

    @abstractmethod
    def _encoded(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """mu (N, d) and kappa (N,) of q(z | x)."""

    @abstractmethod
    def _logits(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Logits (N, C, H, W) of the pixels."""

    def _posterior(self, x: Tensor) -> VonMisesFisher:
        loc, kappa = self._encoded(x)
        if not bool(on_sphere(loc, kappa)):
            raise ValueError("the encoder gives codes that are not finite: the network diverged")
        return VonMisesFisher(loc, kappa, validate_args=False)

    def elbo(
        self, x: Tensor, labels: Tensor | None = None, *, num_samples: int = 1, seed: int = 0
    ) -> ElboTerms:
        """The two terms of the evidence lower bound, averaged over samples of q(z | x).

        The divergence is analytic wherever it is known. Pixels are binarised from `seed`.
        """
        self._check(x, labels, needed=True)
        check_count(num_samples, "num_samples")
        check_seed(seed)
        x, labels = place(x, self), None if labels is None else labels.to(device_of(self))
        generator = Generator(x.device).manual_seed(seed)
        terms = []
        with undisturbed(self):
            x = binarised(x, generator) if self.binarise else x
            for rows in torch.arange(len(x), device=x.device).split(_ROWS):
                own = None if labels is None else labels[rows]
                q, total = self._encoded(x[rows]), x.new_zeros(2, len(rows), dtype=torch.float64)
                for _ in range(num_samples):
                    z, kl = self.prior.draw(*q, own, generator)
                    total += torch.stack([pixel_log_prob(self._logits(z, own), x[rows]), kl])
                terms.append(total / num_samples)
        return ElboTerms(*torch.cat(terms, -1))

    def log_likelihood(
        self, x: Tensor, labels: Tensor | None = None, *, num_samples: int = 500, seed: int = 0
    ) -> ImportanceEstimate:
        """log p(x | y) in nats of each image by importance sampling from q(z | x).

        Without labels, log p(x) = log sum_y p(y) p(x | y), for a model with classes as well.
        Pixels are binarised once, from `seed`.

        Raises:
            ValueError: images that are not (N, *image_shape) in [0, 1], labels out of range.
        """
        self._check(x, labels, needed=False)
        if labels is None and self.num_classes:
            return self._estimate(x, self._joint.marginal, num_samples, seed)
        joint = self._joint.of(None if labels is None else labels.to(device_of(self)))
        return self._estimate(x, joint, num_samples, seed)

    def class_log_likelihood(
        self, x: Tensor, *, num_samples: int = 500, seed: int = 0
    ) -> ImportanceEstimate:
        """log p(x | i) in nats (N, C) of each image under each class."""
        if not self.num_classes:
            raise ValueError("this model has no classes: use log_likelihood")
        check_images(x, self.image_shape)
        return self._estimate(x, self._joint.classes, num_samples, seed)

    def class_posterior(self, x: Tensor, *, num_samples: int = 500, seed: int = 0) -> Tensor:
        """p(i | x) (N, C) by Bayes' rule through the generative model."""
        scores = self.class_log_likelihood(x, num_samples=num_samples, seed=seed).log_likelihood
        return torch.softmax(scores + self.prior.class_probs.double().log(), -1)

    def aggregate_posterior(
        self, x: Tensor, labels: Tensor | None = None, *, num_samples: int = 1, seed: int = 0
    ) -> AggregatePosterior:
        """How far the codes of these images, taken together, are from the prior.

        A model with a prior per class needs the labels: each class against its own law. Pixels
        are binarised once, from `seed`.
        """
        by_class = isinstance(self.prior, ClassPrior)
        self._check(x, labels, needed=by_class)
        check_seed(seed)
        x = place(x, self)
        generator = Generator(x.device).manual_seed(seed)
        with undisturbed(self):
            x = binarised(x, generator) if self.binarise else x
            laws = [self._posterior(rows) for rows in x.split(_ROWS)]
            q = VonMisesFisher(
                torch.cat([law.loc for law in laws]),
                torch.cat([law.concentration for law in laws]),
                validate_args=False,
            )
            groups = labels.to(x.device) if by_class and labels is not None else None
            classes = self.num_classes if by_class else 1
            return aggregate_posterior(
                q, self.prior.law, groups, num_samples, seed, num_classes=classes
            )

    def _check(self, x: Tensor, labels: Tensor | None, *, needed: bool = True) -> None:
        """The border of everything that takes images."""
        check_images(x, self.image_shape)
        if labels is not None and not self.num_classes:
            raise ValueError("labels were given to a model that has no classes; leave them out")
        if labels is not None:
            check_labels(labels, self.num_classes, len(x))
        elif needed and self.num_classes:
            raise ValueError(
                "labels are missing: a model with a prior per class, or with the label beside the"
                " code, needs the class of every image"
            )

    @property
    def _joint(self) -> SphereJoint:
        return SphereJoint(self.prior, self._logits, self.prior.class_probs, self.sees_labels)

    def _estimate(
        self, x: Tensor, joint: Joint, num_samples: int, seed: int
    ) -> ImportanceEstimate:
        """Importance sampling without gradients, in eval mode."""
        with undisturbed(self):
            return estimate_evidence(
                place(x, self),
                self._posterior,
                joint,
                num_samples=num_samples,
                seed=seed,
                binarise=self.binarise,
            )
