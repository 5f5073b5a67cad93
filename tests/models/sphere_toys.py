"""Tiny hyperspherical VAEs, whose integrals over the sphere are done by quadrature."""

import math

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from probact.models import SphereVAE, VMFClassifier

SHAPE = (1, 2, 2)
KINDS = ("HVAE", "HVAE-C", "HVAE-L", "learned prior", "kappa a class")


def toy(kind: str, dim: int, *, seed: int = 3, scale: float = 2.0) -> SphereVAE:
    """A float64 model of 2x2 images with two classes and networks of one layer."""
    generator = torch.Generator().manual_seed(seed)
    classes = kind == "HVAE-C"
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh())
    decoder = nn.Sequential(nn.Linear(dim + 2 * classes, 4), nn.Unflatten(1, SHAPE))
    weight = torch.randn(2, dim, generator=generator, dtype=torch.float64)
    kappa = torch.tensor([2.0, 7.0]) if kind == "kappa a class" else 5.0
    prior = None if kind in ("HVAE", "HVAE-C") else VMFClassifier(weight, kappa)
    vae = SphereVAE(
        dim,
        prior,
        condition="concat" if classes else None,
        num_classes=2 if classes else None,
        image_shape=SHAPE,
        encoder=encoder,
        decoder=decoder,
        learn_prior=kind == "learned prior",
        binarise=False,
    ).double()
    with torch.no_grad():
        for parameter in vae.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(scale * noise)
    return vae


def gamma_toy(dim: int, size: int) -> SphereVAE:
    """A model whose concentration is inferred."""
    classifier = VMFClassifier(torch.eye(dim)[:2], dist.Gamma(3.0, 0.5))
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh())
    decoder = nn.Sequential(nn.Linear(dim, 4), nn.Unflatten(1, SHAPE))
    return SphereVAE(
        dim, classifier, image_shape=SHAPE, encoder=encoder, decoder=decoder,
        binarise=False, size=size,
    ).double()  # fmt: skip


def sphere_rule(dim: int) -> tuple[Tensor, Tensor]:
    """Nodes (Q, d) and log weights (Q,) that integrate over S^1 or S^2 to rounding."""
    angle = torch.arange(160, dtype=torch.float64) * (2.0 * math.pi / 160)
    circle = torch.stack([angle.cos(), angle.sin()], 1)
    if dim == 2:
        return circle, torch.full((160,), math.log(2.0 * math.pi / 160))
    height, weight = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(60))
    ring = (1.0 - height.square()).sqrt()
    nodes = torch.cat([circle * ring[:, None, None], height[:, None, None].expand(-1, 160, 1)], -1)
    return nodes.flatten(0, 1), (weight.log() + math.log(2.0 * math.pi / 160)).repeat_interleave(
        160
    )


def pixels_log_prob(vae: SphereVAE, z: Tensor, x: Tensor, label: int | None) -> Tensor:
    """log p(x | z, y) (Q,) of one image (1, 2, 2), by its definition."""
    seen = z
    if vae.sees_labels:
        column = torch.zeros(len(z), 2, dtype=z.dtype)
        column[:, label] = 1.0
        seen = torch.cat([z, column], 1)
    p = torch.sigmoid(vae.decoder(seen)).flatten(1)  # (Q, 4)
    flat = x.flatten()
    return (flat * p.log() + (1.0 - flat) * (1.0 - p).log()).sum(1)


def vmf_log_density(z: Tensor, mu: Tensor, kappa: Tensor, rule: tuple[Tensor, Tensor]) -> Tensor:
    """log vMF(z; mu, kappa) normalised by the rule itself."""
    nodes, log_weight = rule
    return kappa * (z @ mu) - torch.logsumexp(kappa * (nodes @ mu) + log_weight, 0)


def prior_log_density(vae: SphereVAE, label: int | None, rule: tuple[Tensor, Tensor]) -> Tensor:
    """log p(z | y) at the nodes (Q,)."""
    nodes, log_weight = rule
    if label is None or vae.sees_labels:
        return -torch.logsumexp(log_weight, 0) * torch.ones(len(nodes), dtype=torch.float64)
    weight = vae.prior.weight[label]
    kappa = vae.prior.kappa
    own = kappa[label] if kappa.ndim else kappa
    return vmf_log_density(nodes, weight / weight.norm(), own.double(), rule)


def exact_log_likelihood(vae: SphereVAE, x: Tensor, label: int | None) -> Tensor:
    """log p(x | y) of one image by quadrature."""
    rule = sphere_rule(vae.latent_dim)
    joint = pixels_log_prob(vae, rule[0], x, label) + prior_log_density(vae, label, rule)
    return torch.logsumexp(joint + rule[1], 0)


def posterior_parameters(vae: SphereVAE, x: Tensor) -> tuple[Tensor, Tensor]:
    """mu (d,) and kappa () of q(z | x), from the layers."""
    h = vae.encoder(x[None])[0]
    raw = vae.direction(h)
    return raw / raw.norm(), torch.log1p(vae.concentration(h)[0].exp()) + 1.0


def exact_elbo(vae: SphereVAE, x: Tensor, label: int | None, weight: float = 1.0) -> Tensor:
    """The evidence lower bound of one image by quadrature, the divergence weighted."""
    rule = sphere_rule(vae.latent_dim)
    mu, kappa = posterior_parameters(vae, x)
    log_q = vmf_log_density(rule[0], mu, kappa, rule)
    log_prior = prior_log_density(vae, label, rule)
    pixels = pixels_log_prob(vae, rule[0], x, label)
    return (torch.exp(log_q + rule[1]) * (pixels - weight * (log_q - log_prior))).sum()
