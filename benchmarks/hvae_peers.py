"""Latent layers of other packages for a variational autoencoder, under one interface.

A latent turns the outputs of two linear heads of the encoder, a direction or mean (N, d) and a
scale (N, 1) or (N, d), into a draw z (N, d) and its KL (N,) in nats. Only packages that can be
imported take part.
"""

import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from probact.distributions import VonMisesFisher
from probact.distributions.sphere_latent import rsample_with_kl
from probact.special import kl_to_uniform

__all__ = ["Latent", "latents"]

Draw = tuple[Tensor, Tensor]


class Latent(NamedTuple):
    name: str
    scales: int  # outputs of the second head
    draw: Callable[[Tensor, Tensor], Draw]  # the two heads' outputs -> z, KL


def latents(dim: int) -> list[Latent]:
    """Ours, a Gaussian, then every importable peer."""
    found = [
        Latent("Gaussian latent", dim, _gaussian),
        Latent("probact vMF latent", 1, _probact),
        Latent("probact vMF, tensor operations", 1, _tensors),
    ]
    optional = [("pythae", "pythae vMF latent", _pythae), ("power_spherical", "", _power)]
    for package, name, make in optional:
        if importlib.util.find_spec(package):
            found.append(Latent(name or f"{package} latent", 1, make(dim)))
    return found


def _gaussian(mean: Tensor, log_variance: Tensor) -> Draw:
    kl = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(-1)
    return mean + (0.5 * log_variance).exp() * torch.randn_like(mean), kl


def _probact(direction: Tensor, scale: Tensor) -> Draw:
    return rsample_with_kl(F.normalize(direction, dim=-1), F.softplus(scale).squeeze(-1) + 1.0)


def _tensors(direction: Tensor, scale: Tensor) -> Draw:
    """What runs on a GPU: the law's own methods."""
    kappa = F.softplus(scale).squeeze(-1) + 1.0
    law = VonMisesFisher(F.normalize(direction, dim=-1), kappa, validate_args=False)
    return law.rsample(), kl_to_uniform(kappa, law.dim)


def _pythae(dim: int) -> Callable[[Tensor, Tensor], Draw]:
    """The draw and the divergence of its SVAE, a port of hyperspherical_vae."""
    from pythae.models import SVAE, SVAEConfig

    svae: Any = SVAE(SVAEConfig(input_dim=(1, 28, 28), latent_dim=dim))

    def draw(direction: Tensor, scale: Tensor) -> Draw:
        loc = direction / direction.norm(dim=-1, keepdim=True)
        concentration = F.softplus(scale) + 1.0
        z = svae._sample_von_mises(loc, concentration)
        return z, svae._compute_kl(m=dim, concentration=concentration)

    return draw


def _power(dim: int) -> Callable[[Tensor, Tensor], Draw]:
    """The power spherical law: another law, easier to draw."""
    from power_spherical import HypersphericalUniform, PowerSpherical

    def draw(direction: Tensor, scale: Tensor) -> Draw:
        law = PowerSpherical(F.normalize(direction, dim=-1), F.softplus(scale).squeeze(-1) + 1.0)
        return law.rsample(), torch.distributions.kl_divergence(law, HypersphericalUniform(dim))

    return draw
