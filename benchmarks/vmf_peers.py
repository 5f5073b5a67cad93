"""The von Mises-Fisher samplers and densities of other packages, under one interface.

A peer makes two parameterless functions from (mu (d,) or (n, d), kappa () or (n,), n): one that
draws n unit vectors and one that evaluates the log density of fixed x (n, d). None: not offered.
Only packages that can be imported take part.
"""

import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.stats
import torch
from torch import Tensor

from probact.distributions import PowerSpherical, VonMisesFisher

__all__ = ["Peer", "floor", "peers"]

Task = Callable[[], Any]
Maker = Callable[..., Task | None]


class Peer(NamedTuple):
    name: str
    law: str  # "vmf" or "power spherical"
    draws: Maker  # (mu, kappa, n) -> task
    density: Maker  # (mu, kappa, x) -> task


def peers() -> list[Peer]:
    """probact first, then every importable peer."""
    found = [
        Peer("probact", "vmf", _probact_draws, _probact_density),
        Peer("scipy", "vmf", _scipy_draws, _scipy_density),
        Peer("probact PowerSpherical", "power spherical", _own_power_draws, _own_power_density),
    ]
    optional = [
        ("hyperspherical_vae", Peer("s-vae-pytorch", "vmf", _svae_draws, _svae_density)),
        (
            "power_spherical",
            Peer("power_spherical", "power spherical", _power_draws, _power_density),
        ),
        ("tensorflow_probability", Peer("tfp (jax)", "vmf", _tfp_draws, _tfp_density)),
    ]
    return found + [peer for package, peer in optional if importlib.util.find_spec(package)]


def floor(n: int, dim: int, dtype: torch.dtype) -> Task:
    """d Gaussians for each draw: what a sampler on the sphere can hardly do without."""
    return lambda: torch.randn(n, dim, dtype=dtype)


def _probact_draws(mu: Tensor, kappa: Tensor, n: int) -> Task:
    law = VonMisesFisher(mu, kappa)
    return lambda: law.sample(() if mu.ndim > 1 else (n,))


def _probact_density(mu: Tensor, kappa: Tensor, x: Tensor) -> Task:
    return lambda: VonMisesFisher(mu, kappa, validate_args=False).log_prob(x)


def _own_power_draws(mu: Tensor, kappa: Tensor, n: int) -> Task:
    law = PowerSpherical(mu, kappa)
    return lambda: law.sample(() if mu.ndim > 1 else (n,))


def _own_power_density(mu: Tensor, kappa: Tensor, x: Tensor) -> Task:
    return lambda: PowerSpherical(mu, kappa, validate_args=False).log_prob(x)


def _scipy_draws(mu: Tensor, kappa: Tensor, n: int) -> Task | None:
    if mu.ndim > 1 or mu.dtype != torch.float64:  # one law at a time, in float64
        return None
    law = scipy.stats.vonmises_fisher(mu.numpy(), kappa.item())
    stream = np.random.default_rng(0)
    return lambda: law.rvs(n, random_state=stream)


def _scipy_density(mu: Tensor, kappa: Tensor, x: Tensor) -> Task | None:
    if mu.ndim > 1 or mu.dtype != torch.float64:
        return None
    points, direction, k = x.numpy(), mu.numpy(), kappa.item()
    return lambda: scipy.stats.vonmises_fisher(direction, k).logpdf(points)


def _svae_draws(mu: Tensor, kappa: Tensor, n: int) -> Task:
    from hyperspherical_vae.distributions import VonMisesFisher as Peer

    if mu.ndim > 1:
        law = Peer(mu, kappa.unsqueeze(-1))
        return lambda: law.rsample()
    shared = Peer(mu[None], kappa.reshape(1, 1))
    return lambda: shared.rsample(torch.Size([n]))[:, 0]


def _svae_density(mu: Tensor, kappa: Tensor, x: Tensor) -> Task:
    from hyperspherical_vae.distributions import VonMisesFisher as Peer

    mu, kappa = mu.expand_as(x), kappa.expand(len(x)).unsqueeze(-1)
    return lambda: Peer(mu, kappa).log_prob(x)


def _power_draws(mu: Tensor, kappa: Tensor, n: int) -> Task:
    from power_spherical import PowerSpherical as Peer

    law = Peer(mu, kappa)
    return lambda: law.sample(torch.Size([]) if mu.ndim > 1 else torch.Size([n]))


def _power_density(mu: Tensor, kappa: Tensor, x: Tensor) -> Task:
    from power_spherical import PowerSpherical as Peer

    return lambda: Peer(mu, kappa).log_prob(x)


def _tfp_law() -> tuple[Any, Any]:
    import jax
    from tensorflow_probability.substrates import jax as tfp

    jax.config.update("jax_enable_x64", True)
    return jax, tfp.distributions.VonMisesFisher


def _tfp_draws(mu: Tensor, kappa: Tensor, n: int) -> Task:
    jax, law = _tfp_law()
    shape = () if mu.ndim > 1 else (n,)
    draw = jax.jit(lambda m, k, key: law(m, k).sample(shape, seed=key))
    m, k = jax.numpy.asarray(mu.numpy()), jax.numpy.asarray(kappa.numpy())
    keys = iter(jax.random.split(jax.random.PRNGKey(0), 10_000))
    return lambda: draw(m, k, next(keys)).block_until_ready()


def _tfp_density(mu: Tensor, kappa: Tensor, x: Tensor) -> Task:
    jax, law = _tfp_law()
    density = jax.jit(lambda m, k, points: law(m, k).log_prob(points))
    m, k, points = (jax.numpy.asarray(a.numpy()) for a in (mu, kappa, x))
    return lambda: density(m, k, points).block_until_ready()
