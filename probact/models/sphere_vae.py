r"""Hyperspherical variational autoencoders (Davidson et al. 2018; Seo, Lee & Han 2021, 4.2).

Symbols: x (N, C, H, W) images in [0, 1]; y (N,) labels; z (N, d) codes, **unit vectors of R^d: the
sphere is S^(d-1)** (Davidson et al. count the other way: their d is `latent_dim - 1`);
q(z | x) = vMF(mu(x), kappa(x)), kappa = softplus(.) + 1; decoder p(x | z) = Bernoulli.

    HVAE    p(z) uniform                            SphereVAE(d)
    HVAE-C  p(z) uniform, decoder sees (z, y)       SphereVAE(d, condition="concat", num_classes=C)
    HVAE-L  p(z | y) = vMF(w_y / |w_y|, kappa)      SphereVAE(d, prior=VMFClassifier(w, kappa))

With labels, every likelihood below is log p(x | y); `log_likelihood` without them is log p(x).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pyro
import pyro.distributions as dist
import torch
import torch.nn.functional as F
from torch import Generator, Size, Tensor, nn

from probact.arrays import check_count, check_seed
from probact.capturing.passes import device_of, place, undisturbed
from probact.distributions import VonMisesFisher
from probact.distributions.geodesic import geodesic
from probact.distributions.sphere_law import SphereLaw
from probact.models.autoencoder_parts import (
    build_decoder,
    build_encoder,
    counterpart,
    head,
    part_name,
    warm_weight,
)
from probact.models.image_rows import binarised, check_images
from probact.models.sphere_evidence import SphereEvidence, on_sphere
from probact.models.sphere_prior import ClassPrior, code_prior, describe_prior
from probact.models.unit_data import check_labels, check_unit_rows
from probact.models.vmf_classifier import VMFClassifier
from probact.nn.mlp_autoencoder import check_image_shape

__all__ = ["SphereVAE"]


class SphereVAE(SphereEvidence):
    """VAE with codes on the unit sphere of R^latent_dim, and a prior learned by a classifier.

    Args:
        latent_dim: d >= 2, the ambient dimension: codes live on S^(d-1).
        prior: None for the uniform law; a `VMFClassifier` over R^d, or its arguments, for a law
            per class (a prior on its concentration has that inferred); or another of probact's
            laws on the sphere.
        condition: "concat" appends the one-hot label to the code that the decoder sees.
        num_classes: C, for condition="concat".
        image_shape: (channels, H, W).
        encoder: "mlp", "conv", "conv-small", or a module images -> features (N, features).
        decoder: the same names, or a module codes (N, d or d + C) -> logits (N, *image_shape);
            None for the counterpart of a named encoder, and an MLP for a module.
        learn_prior: train the directions of a `VMFClassifier` with the networks.
        size: number of training images; needed where the concentration is inferred.
        binarise: pixels are drawn afresh as 0 or 1 at every step (dynamic binarisation); without
            it grey values enter the Bernoulli likelihood as they are.
        warm_up: epochs in which the weight of the divergence grows linearly to one.

    Raises:
        ValueError: latent_dim < 2, a prior of another dimension, networks whose shapes do not
            match, or arguments that exclude each other.

    >>> vae = SphereVAE(3, prior=VMFClassifier(torch.eye(3), 5.0), image_shape=(1, 8, 8))
    >>> vae.decode(vae.sample_codes(label=2, num_samples=5, seed=0)).shape
    torch.Size([5, 1, 8, 8])
    """

    learning_rate = 1e-3  # of Adam, the protocol's
    dims = {"z": ("latent",)}  # for ArviZ

    def __init__(
        self,
        latent_dim: int,
        prior: VMFClassifier | SphereLaw | Mapping[str, Any] | None = None,
        *,
        condition: Literal["concat"] | None = None,
        num_classes: int | None = None,
        image_shape: Sequence[int] = (1, 28, 28),
        encoder: str | nn.Module = "mlp",
        decoder: str | nn.Module | None = None,
        learn_prior: bool = False,
        size: int | None = None,
        binarise: bool = True,
        warm_up: int = 0,
    ) -> None:
        super().__init__()
        check_count(latent_dim, "latent_dim", smallest=2)
        check_count(warm_up, "warm_up", smallest=0)
        for name, flag in (("binarise", binarise), ("learn_prior", learn_prior)):
            if not isinstance(flag, bool):
                raise ValueError(f"{name} must be True or False, got {flag!r}")
        prior = VMFClassifier(**prior) if isinstance(prior, Mapping) else prior
        decoder = counterpart(encoder, decoder)
        self.latent_dim, self.image_shape = latent_dim, check_image_shape(image_shape)
        self.binarise, self.warm_up, self.size = binarise, warm_up, size
        self.prior = code_prior(
            prior,
            latent_dim,
            condition=condition,
            num_classes=num_classes,
            learn=learn_prior,
            size=size,
        )
        self.num_classes = self.prior.num_classes
        self.sees_labels = condition is not None
        self.encoder, features = build_encoder(encoder, self.image_shape)
        self.prior.to(features)  # dtype and device of the networks
        width = latent_dim + (self.num_classes if self.sees_labels else 0)
        self.decoder = build_decoder(decoder, width, self.image_shape, features.dtype)
        self.direction = head(features, latent_dim)
        self.concentration = head(features, 1)
        self.settings = {  # all arguments, for the record of a run
            "latent_dim": latent_dim, "prior": describe_prior(prior), "condition": condition,
            "num_classes": num_classes, "image_shape": list(self.image_shape),
            "encoder": part_name(encoder), "decoder": part_name(decoder),
            "learn_prior": learn_prior, "size": size, "binarise": binarise, "warm_up": warm_up,
        }  # fmt: skip
        named = isinstance(encoder, str) and isinstance(decoder, str)
        fixed = isinstance(prior, VMFClassifier) and prior.prior is None
        # arguments that build this model again; None where they are not all plain
        self.config = self.settings if named and (prior is None or fixed) else None

    # ------------------------------------------------------------------ program and guide

    def forward(self, x: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        """For each image: y ~ p(y), z ~ p(z | y), x ~ Bernoulli(decoder(z, y)).

        x (N, C, H, W) holds zeros and ones, labels (N,) integers; N = 1 where both are None.
        """
        labels = self._given(x, labels, needed=False)
        rows = next((len(given) for given in (x, labels) if given is not None), 1)
        kappa = self.prior.concentration_site()
        with pyro.plate("data", self.size or rows, subsample_size=rows):
            if self.num_classes:
                labels = pyro.sample("label", dist.Categorical(self.prior.class_probs), obs=labels)
            z = pyro.sample("z", self.prior.law(labels, kappa))
            logits = self._logits(z, labels)
            law = dist.Bernoulli(logits=logits, validate_args=False)  # grey values allowed
            image: Tensor = pyro.sample("x", law.to_event(3), obs=x)
        return image

    def guide(self, x: Tensor, labels: Tensor | None = None) -> None:
        """z ~ vMF(mu(x), kappa(x)) for each image; the concentration's log-normal law."""
        self._given(x, labels, needed=False)
        if isinstance(self.prior, ClassPrior) and self.prior.hyperprior is not None:
            self.prior.concentration_site(self.prior.posterior)
        with pyro.plate("data", self.size or len(x), subsample_size=len(x)):
            pyro.sample("z", self._posterior(x))

    def objective(
        self, x: Tensor, labels: Tensor | None = None, *, epoch: int | None = None
    ) -> Tensor:
        """Mean negative ELBO per image, nats: what `fit` minimises.

        The divergence is weighted by (epoch + 1) / warm_up until that is one; epoch None is the
        full weight. Pixels are binarised here where the model says so. A model without classes
        takes labels and does not use them, so that one loader serves all models.

        Raises: ValueError as `log_likelihood`, and for images of another dtype than the network.
        """
        labels = self._given(x, labels, needed=True)
        weight = warm_weight(epoch, self.warm_up)
        x = binarised(x) if self.binarise else x
        mu, kappa = self._encoded(x)
        if not bool(on_sphere(mu, kappa)):
            return mu.sum() * torch.nan  # diverged: the loss is not finite, as `fit` will say
        z, kl = self.prior.draw(mu, kappa, labels)
        missed = F.binary_cross_entropy_with_logits(self._logits(z, labels), x, reduction="sum")
        return missed / len(x) + weight * kl.mean()

    def _encoded(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """mu (N, d) and kappa (N,) of q(z | x)."""
        h = self.encoder(x)
        kappa = F.softplus(self.concentration(h)).squeeze(-1) + 1.0
        return F.normalize(self.direction(h), dim=-1), kappa

    def _logits(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Logits (..., C, H, W) of the pixels for codes (..., d): particles may stand left."""
        if self.sees_labels:
            assert labels is not None
            hot = F.one_hot(labels, self.num_classes).to(z.dtype)
            z = torch.cat([z, hot.expand(*z.shape[:-1], self.num_classes)], -1)
        logits: Tensor = self.decoder(z.reshape(-1, z.shape[-1]))
        return logits.reshape(*z.shape[:-1], *self.image_shape)

    def _given(self, x: Tensor | None, labels: Tensor | None, *, needed: bool) -> Tensor | None:
        """The border of program, guide and objective; the labels that the model uses."""
        own = labels if self.num_classes else None
        if x is not None:
            check_images(x, self.image_shape, self.direction.weight.dtype)
            self._check(x, own, needed=needed)
        elif own is not None:
            check_labels(own, self.num_classes, len(own))
        if self.size is not None and x is not None and len(x) > self.size:
            raise ValueError(f"size is {self.size}, the number of training images; got {len(x)}")
        return own

    # ------------------------------------------------------------------ readings

    def encode(self, x: Tensor) -> VonMisesFisher:
        """q(z | x) of images (N, C, H, W), as they are: grey values stand for their mean."""
        check_images(x, self.image_shape)
        with undisturbed(self):
            law = self._posterior(place(x, self))
        loc, kappa = law.loc.to(x.device), law.concentration.to(x.device)
        return VonMisesFisher(loc, kappa, validate_args=False)

    def decode(self, z: Tensor, labels: int | Tensor | None = None) -> Tensor:
        """Images (N, C, H, W): the probability of one at every pixel, for codes (N, d).

        labels, an integer or (N,), are needed by condition="concat" and unused otherwise.
        """
        check_unit_rows(z, "z", self.latent_dim)
        given = self._labels(labels, len(z)) if self.sees_labels else None
        with undisturbed(self):
            return self._logits(place(z, self), given).sigmoid().to(z.device)

    def sample_codes(
        self, label: int | Tensor | None = None, num_samples: int | None = None, *, seed: int = 0
    ) -> Tensor:
        """Codes (num_samples, d) of the prior: of one class, of labels (N,), or of p(y).

        Without a prior per class the label changes nothing.
        """
        check_seed(seed)
        rows = len(label) if isinstance(label, Tensor) and label.ndim else num_samples
        if rows is None or num_samples not in (None, rows):
            raise ValueError(f"num_samples must be given, or the number of labels; got {rows!r}")
        check_count(rows, "num_samples")
        generator = Generator(device_of(self)).manual_seed(seed)
        with torch.no_grad():
            chosen = None if label is None or not self.num_classes else self._labels(label, rows)
            if chosen is None and isinstance(self.prior, ClassPrior):
                probs = self.prior.class_probs
                chosen = torch.multinomial(probs, rows, replacement=True, generator=generator)
            law: Any = self.prior.law(chosen)
            codes: Tensor = law.sample(
                Size([] if law.batch_shape else [rows]), generator=generator
            )
            return codes

    def sample_images(self, label: int, num_samples: int, *, seed: int = 0) -> Tensor:
        """Images (num_samples, C, H, W) of a class, of any of the models that know classes."""
        if not self.num_classes:
            raise ValueError("this model has no classes: decode(sample_codes(num_samples=...))")
        return self.decode(self.sample_codes(label, num_samples, seed=seed), label)

    def interpolate(self, start: Tensor, end: Tensor, num_points: int = 10) -> Tensor:
        """Codes (num_points, d) on the geodesic between the mean codes of two images (C, H, W)."""
        for name, image in (("start", start), ("end", end)):
            check_images(
                image[None] if isinstance(image, Tensor) else image, self.image_shape, name=name
            )
        ends = self.encode(torch.stack([start, end])).loc
        return geodesic(ends[0], ends[1], num_points)

    def _labels(self, labels: int | Tensor | None, rows: int) -> Tensor:
        """Labels (rows,) on the model's device."""
        if labels is None:
            raise ValueError("labels are missing: the decoder sees the class beside the code")
        if isinstance(labels, int | np.integer) and not isinstance(labels, bool):
            given = torch.full((rows,), int(labels))
        elif isinstance(labels, Tensor) and labels.dtype == torch.int64:
            given = labels.expand(rows) if labels.ndim == 0 else labels
        else:
            raise ValueError(f"label must be an integer or an int64 tensor (N,), got {labels!r}")
        check_labels(given, self.num_classes, rows)
        return given.to(device_of(self))
