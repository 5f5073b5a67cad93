r"""Variational autoencoders with a Gaussian latent: beta-VAE and MMD-VAE (Jamroz et al. 2020, 5).

Symbols: x (N, C, H, W) images in [0, 1]; z (N, d) codes; p(z) = N(0, s I) prior; q(z | x) =
N(m(x), diag(v(x))) encoder; beta weight of the regulariser; k kernel of scale 2 d s.

    beta-VAE   -E_q log p(x | z) + beta KL(q(z | x) || p(z))             Higgins et al. 2017
    MMD-VAE    -E_q log p(x | z) + beta MMD^2(E_x q(z | x), p(z))        Zhao et al. 2019; eq. 12

Both are means over the rows, in nats (MMD^2 itself has no unit). The first looks at the code of
every image, the second only at the codes of all images together.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.nn import PyroModule
from torch import Generator, Tensor, nn
from torch.distributions import kl_divergence

from probact.arrays import as_number, check_count, check_seed
from probact.capturing.passes import place, undisturbed
from probact.models.autoencoder_parts import (
    build_decoder,
    build_encoder,
    counterpart,
    head,
    part_name,
    warm_weight,
)
from probact.models.discrepancy import mmd
from probact.models.image_rows import binarised, check_images
from probact.nn.mlp_autoencoder import check_image_shape

__all__ = ["GaussianVAE"]

_FURTHEST = 1e6  # of squared distances, in the authors' code


class GaussianVAE(PyroModule):
    """A VAE with codes in R^d, trained by its own `objective`.

    Args:
        latent_dim: d.
        beta: weight of the regulariser; 0 gives an autoencoder with noise.
        regulariser: "kl" or "mmd".
        likelihood: "bernoulli", the cross-entropy of pixels, or "gaussian" around the decoded
            image, sigmoid(logits).
        variance: of a pixel under the Gaussian. The authors' code divides the squared error by
            2 * 0.3 for the KL and not at all for the MMD, which is variance 0.5.
        prior_variance: s. The authors' MMD code has 2.
        mmd_estimator: "unbiased", eq. 12, or "v-statistic", with the pairs of a point with
            itself and squared distances up to 1e6, as in the authors' code.
        image_shape: (channels, H, W).
        encoder: "mlp", "conv" (the paper's), "conv-small", or a module from images to features
            (N, features); linear maps to m and log v follow it.
        decoder: the same names, or a module from codes to logits (N, C, H, W); None for the
            counterpart of a named encoder, and an MLP for a module.
        binarise: draw the pixels afresh as Bernoulli(x) every time (Bernoulli likelihood only).
        warm_up: epochs in which beta grows linearly, from beta / warm_up in the first.

    Raises:
        TypeError, ValueError: an argument out of its range, or a module of other shapes.

    >>> vae = GaussianVAE(2, image_shape=(1, 8, 8), beta=4.0)
    >>> x = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> vae.codes(x, seed=0).shape, vae.decode(vae.sample_codes(3, seed=0)).shape
    (torch.Size([5, 2]), torch.Size([3, 1, 8, 8]))
    """

    dims = {"z": ("latent",)}

    def __init__(
        self,
        latent_dim: int,
        *,
        beta: float = 1.0,
        regulariser: Literal["kl", "mmd"] = "kl",
        likelihood: Literal["bernoulli", "gaussian"] = "bernoulli",
        variance: float = 0.3,
        prior_variance: float = 1.0,
        mmd_estimator: Literal["unbiased", "v-statistic"] = "unbiased",
        image_shape: Sequence[int] = (1, 28, 28),
        encoder: str | nn.Module = "mlp",
        decoder: str | nn.Module | None = None,
        binarise: bool = False,
        warm_up: int = 0,
    ) -> None:
        super().__init__()
        check_count(latent_dim, "latent_dim")
        check_count(warm_up, "warm_up", smallest=0)
        _check_choice("regulariser", regulariser, ("kl", "mmd"))
        _check_choice("likelihood", likelihood, ("bernoulli", "gaussian"))
        _check_choice("mmd_estimator", mmd_estimator, ("unbiased", "v-statistic"))
        if binarise and likelihood != "bernoulli":
            raise ValueError(f"binarise needs the Bernoulli likelihood, got {likelihood!r}")
        self.latent_dim, self.warm_up, self.binarise = latent_dim, warm_up, bool(binarise)
        self.beta = as_number(beta, "beta", inclusive=True)
        self.variance = as_number(variance, "variance")
        self.prior_variance = as_number(prior_variance, "prior_variance")
        self.regulariser, self.likelihood = regulariser, likelihood
        self.mmd_estimator = mmd_estimator
        self.image_shape = check_image_shape(image_shape)
        decoder = counterpart(encoder, decoder)
        self._kinds = (encoder, decoder)
        self.encoder, features = build_encoder(encoder, self.image_shape)
        self.decoder = build_decoder(decoder, latent_dim, self.image_shape, features.dtype)
        self.heads = head(features, 2 * latent_dim)  # m and log v
        self.learning_rate = 1e-4 if "conv" in (encoder, decoder) else 1e-3  # 1e-4: the paper's

    @property
    def settings(self) -> dict[str, Any]:
        """All arguments, for the record of a run; the caller's modules by their layers."""
        encoder, decoder = self._kinds
        return {
            "latent_dim": self.latent_dim, "beta": self.beta, "regulariser": self.regulariser,
            "likelihood": self.likelihood, "variance": self.variance,
            "prior_variance": self.prior_variance, "mmd_estimator": self.mmd_estimator,
            "image_shape": list(self.image_shape), "encoder": part_name(encoder),
            "decoder": part_name(decoder), "binarise": self.binarise, "warm_up": self.warm_up,
        }  # fmt: skip

    @property
    def config(self) -> dict[str, Any] | None:
        """Arguments that build this model again; None where a part is the caller's module."""
        return self.settings if all(isinstance(kind, str) for kind in self._kinds) else None

    def forward(self, x: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        """z ~ N(0, s I), x ~ p(x | z) for each of N images, N = 1 for x = None.

        With the KL, the density of z has the weight beta here and in the guide, so that every
        ELBO of Pyro is the beta-VAE's. With the MMD it has not: there is no such program.
        """
        if x is not None:
            self._check(x)
        with pyro.plate("data", 1 if x is None else len(x)):
            with self._tempered():
                z = pyro.sample("z", self._prior())
            image: Tensor = pyro.sample("x", self._image_law(z), obs=x)
        return image

    def guide(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """z ~ q(z | x) for each image."""
        self._check(x)
        with pyro.plate("data", len(x)), self._tempered():
            z: Tensor = pyro.sample("z", self._posterior(x))
        return z

    def objective(
        self, x: Tensor, labels: Tensor | None = None, *, epoch: int | None = None
    ) -> Tensor:
        """The loss () in nats per image, one draw of each code; labels are taken and not used.

        epoch, from 0, sets the weight during warm-up; None is the whole beta.
        Raises: ValueError for images that are not in [0, 1] and of image_shape, or a single one
        with the unbiased MMD.
        """
        self._check(x)
        x = binarised(x) if self.binarise else x
        mean, scale = self._encoded(x)
        if not bool(_finite(mean, scale)):
            return mean.sum() * torch.nan  # diverged: the loss is not finite, as `fit` will say
        law = dist.Normal(mean, scale, validate_args=False).to_event(1)
        z = law.rsample()
        warm = warm_weight(epoch, self.warm_up)
        fit: Tensor = self._image_law(z).log_prob(x).mean()
        return self.beta * warm * self._penalty(law, z) - fit

    def encode(self, x: Tensor) -> dist.Independent:
        """q(z | x), a diagonal Gaussian on R^d for each image, in evaluation mode.

        Raises: ValueError for images as in `objective`.
        """
        check_images(x, self.image_shape)
        with undisturbed(self):
            law = self._posterior(place(x, self)).base_dist
        return dist.Normal(law.loc.to(x.device), law.scale.to(x.device)).to_event(1)

    def decode(self, z: Tensor) -> Tensor:
        """Mean image (N, C, H, W) in [0, 1] of codes (N, d), in evaluation mode.

        Raises: ValueError for codes of another shape.
        """
        if not isinstance(z, Tensor) or z.ndim != 2 or z.shape[1] != self.latent_dim:
            got = tuple(z.shape) if isinstance(z, Tensor) else type(z).__name__
            raise ValueError(f"z must be a tensor (N, {self.latent_dim}), got {got}")
        with undisturbed(self):
            return self._logits(place(z, self)).sigmoid().to(z.device)

    def codes(
        self,
        images: Tensor | Iterable[Any],
        *,
        draw: bool = True,
        seed: int = 0,
        batch_size: int = 512,
    ) -> Tensor:
        """Codes (N, d) of images, a tensor or batches of them (images first in a tuple).

        draw: one draw of q(z | x) an image, as in the paper; else its mean.

        Raises: ValueError for images as in `objective`, or no image.
        """
        check_seed(seed)
        check_count(batch_size, "batch_size")
        generator = Generator().manual_seed(seed)
        found = []
        for batch in images.split(batch_size) if isinstance(images, Tensor) else images:
            law = self.encode(batch[0] if isinstance(batch, tuple | list) else batch).base_dist
            z = law.loc
            if draw:
                z = z + law.scale * _noise(z.shape, z, generator)
            found.append(z)
        if not found:
            raise ValueError("images must hold at least one image")
        return torch.cat(found)

    def reconstruct(self, images: Tensor, *, batch_size: int = 512) -> Tensor:
        """Decoded means of the codes (N, C, H, W), in [0, 1]."""
        codes = self.codes(images, draw=False, batch_size=batch_size)
        return torch.cat([self.decode(z) for z in codes.split(batch_size)])

    def sample_codes(
        self, num_samples: int, *, seed: int | None = None, generator: Generator | None = None
    ) -> Tensor:
        """Codes (num_samples, d) from the prior, by a generator, a seed, or torch's stream."""
        check_count(num_samples, "num_samples")
        like = self.heads.weight
        if seed is not None:
            check_seed(seed)
            generator = Generator().manual_seed(seed)
        noise = _noise(torch.Size([num_samples, self.latent_dim]), like, generator)
        return noise.mul_(self.prior_variance**0.5)

    def _check(self, x: Tensor) -> None:
        check_images(x, self.image_shape, self.heads.weight.dtype)

    def _prior(self) -> dist.Independent:
        loc = self.heads.weight.new_zeros(self.latent_dim)
        return dist.Normal(loc, self.prior_variance**0.5).to_event(1)

    def _posterior(self, x: Tensor) -> dist.Independent:
        mean, scale = self._encoded(x)
        if not bool(_finite(mean, scale)):
            raise ValueError("the encoder gives codes that are not finite: the network diverged")
        return dist.Normal(mean, scale, validate_args=False).to_event(1)

    def _encoded(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """m and sqrt(v), (N, d) each."""
        mean, log_variance = self.heads(self.encoder(x)).chunk(2, dim=-1)
        return mean, (0.5 * log_variance).exp()

    def _logits(self, z: Tensor) -> Tensor:
        flat: Tensor = self.decoder(z.reshape(-1, self.latent_dim))  # particles may stand left
        return flat.reshape(*z.shape[:-1], *self.image_shape)

    def _image_law(self, z: Tensor) -> dist.Independent:
        logits = self._logits(z)
        if self.likelihood == "gaussian":
            law = dist.Normal(logits.sigmoid(), self.variance**0.5, validate_args=False)
            return law.to_event(3)
        return dist.Bernoulli(logits=logits, validate_args=False).to_event(3)  # grey pixels too

    def _penalty(self, law: dist.Independent, z: Tensor) -> Tensor:
        if self.regulariser == "kl":
            prior = self._prior().expand(law.batch_shape)
            divergence: Tensor = kl_divergence(law, prior).mean()
            return divergence
        if len(z) < 2 and self.mmd_estimator == "unbiased":
            raise ValueError("the unbiased MMD needs two images or more in a batch, got 1")
        kernel_scale = 2.0 * self.latent_dim * self.prior_variance
        fresh = torch.randn_like(z) * self.prior_variance**0.5
        if self.mmd_estimator == "unbiased":
            return mmd(z, fresh, kernel_scale)
        return mmd(z, fresh, kernel_scale, unbiased=False, furthest=_FURTHEST)

    def _tempered(self) -> Any:
        """The weight of z's density in the program; Pyro has no scale 0."""
        if self.regulariser == "mmd" or self.beta == 1.0:
            return poutine.scale(scale=1.0)
        return poutine.scale(scale=self.beta) if self.beta else poutine.mask(mask=False)


def _finite(mean: Tensor, scale: Tensor) -> Tensor:
    """Whether they are parameters of a Gaussian, ()."""
    return (torch.isfinite(mean) & torch.isfinite(scale) & (scale > 0.0)).all()


def _noise(shape: torch.Size, like: Tensor, generator: Generator | None) -> Tensor:
    """Standard normal numbers, drawn where the generator lives, as `like` is."""
    device = like.device if generator is None else generator.device
    return torch.randn(shape, dtype=like.dtype, device=device, generator=generator).to(like.device)


def _check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
