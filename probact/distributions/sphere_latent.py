r"""Latent codes on the sphere: draws of vMF(mu, kappa) with their KL to the prior, in one call.

Symbols: mu (N, d) `loc`; kappa (N,) `concentration`; z_n ~ vMF(mu_n, kappa_n); prior vMF(m_n, l_n)
or the uniform law. The small batches of a variational autoencoder are bound by the number of
tensor operations, so on a CPU each row is drawn, and its Bessel functions computed once, in a
compiled loop; elsewhere the same formulas run as tensor operations.
"""

from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor
from torch.autograd.function import once_differentiable
from torch.distributions import kl_divergence

from probact.distributions.sphere_compiled.codes import (
    Laws,
    draw_codes,
    first_wrong,
    pull_back,
)
from probact.distributions.sphere_compiled.rules import Floats, sphere_rules
from probact.distributions.von_mises_fisher import VonMisesFisher
from probact.special import kl_to_uniform

__all__ = ["rsample_with_kl", "with_tensors"]

_SEEDS = 2**63 - 1


def rsample_with_kl(
    loc: Tensor,
    concentration: Tensor,
    prior_loc: Tensor | None = None,
    prior_concentration: Tensor | float | None = None,
    *,
    generator: Generator | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Draws z (N, d) of vMF(loc, concentration) and its KL (N,) to the prior, in nats.

    Both are differentiable once in all parameters: z by pathwise gradients (see
    `VonMisesFisher.rsample`), unbiased for every d, the KL in closed form, with

        KL = (kappa - l) A - K(kappa) + K(l) + l A |mu - m|^2 / 2,  A = A_d(kappa), K' = A.

    On a CPU float32 is computed in float64 and rounded; equal generators give equal bits whatever
    the number of threads. The first call of an installation compiles, once, for some seconds.

    Args:
        loc: unit vectors mu (N, d), d >= 2, float32 or float64.
        concentration: kappa (N,) >= 0, of loc's type.
        prior_loc: unit vectors m (N, d) of the prior; None is the uniform law on the sphere.
        prior_concentration: l >= 0, (N,) or one number for all; goes with prior_loc.
        generator: source of the noise, on loc's device; torch's own when None.

    Raises:
        TypeError: an argument is no tensor of loc's type, float32 or float64.
        ValueError: wrong shapes or devices, vectors that are not unit, a concentration that is
            negative or not finite, one half of a prior.

    >>> loc = torch.eye(3)
    >>> z, kl = rsample_with_kl(loc, torch.tensor([0.0, 1.0, 10.0]))
    >>> kl  # kappa A - K
    tensor([0.0000, 0.1516, 1.9957])
    >>> rsample_with_kl(loc, torch.full((3,), 5.0), loc.roll(1, 0), 5.0)[1]  # kappa A |mu-m|^2 / 2
    tensor([4.0005, 4.0005, 4.0005])
    """
    _check("", loc, concentration, None)
    if (prior_loc is None) != (prior_concentration is None):
        given = "prior_concentration" if prior_loc is None else "prior_loc"
        raise ValueError(f"prior_loc and prior_concentration go together, got only {given}")
    if isinstance(prior_concentration, float | int):
        prior_concentration = torch.tensor(float(prior_concentration)).to(loc)
    if prior_loc is not None:
        _check("prior_", prior_loc, prior_concentration, loc)
    if generator is not None and generator.device.type != loc.device.type:
        raise ValueError(f"generator is on {generator.device}, loc on {loc.device}")
    if loc.device.type == "cpu":
        z, kl = _Codes.apply(loc, concentration, prior_loc, prior_concentration, generator)
        return z, kl
    return with_tensors(loc, concentration, prior_loc, prior_concentration, generator)


def _check(prefix: str, loc: Any, concentration: Any, first: Tensor | None) -> None:
    """Refuse what is not (N, d) and (N,); a prior must be like the `first` loc, its number ()."""
    for value, name in ((loc, f"{prefix}loc"), (concentration, f"{prefix}concentration")):
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a tensor, got {type(value).__name__}")
        like = value if name == "loc" else loc if first is None else first
        if value.dtype != like.dtype or value.dtype not in (torch.float32, torch.float64):
            kind = "float32 or float64" if like is value else f"{like.dtype} as loc"
            raise TypeError(f"{name} must be {kind}, got {value.dtype}")
        if value.device != like.device:
            raise ValueError(f"{name} is on {value.device}, loc on {like.device}")
    if first is None and (loc.ndim != 2 or loc.shape[1] < 2):
        raise ValueError(f"loc must be (N, d) with d >= 2, got shape {tuple(loc.shape)}")
    if first is not None and loc.shape != first.shape:
        expected, got = tuple(first.shape), tuple(loc.shape)
        raise ValueError(f"prior_loc must be {expected} as loc, got shape {got}")
    if concentration.shape != loc.shape[:1] and (first is None or concentration.ndim):
        raise ValueError(
            f"{prefix}concentration must be ({len(loc)},) for {prefix}loc {tuple(loc.shape)}, "
            f"got shape {tuple(concentration.shape)}"
        )


class _Codes(torch.autograd.Function):
    """z and KL by the compiled loops."""

    @staticmethod
    def forward(
        ctx: Any,
        loc: Tensor,
        concentration: Tensor,
        prior_loc: Tensor | None,
        prior_concentration: Tensor | None,
        generator: Generator | None,
    ) -> tuple[Tensor | None, Tensor | None]:
        own = _array(loc), _array(concentration)
        prior = own[0][:0], own[1][:0]  # the uniform law is a prior of no rows
        if prior_loc is not None:
            prior = _array(prior_loc), _array(prior_concentration)
        laws = Laws(*own, *prior)
        _check_values(laws, 1e-6 if loc.dtype == torch.float64 else 1e-5)
        seed = torch.randint(_SEEDS, (), generator=generator).item()
        ctx.kept, kl = draw_codes(seed, laws, sphere_rules(loc.shape[1]))
        ctx.laws = laws
        z = _like(ctx.kept.x, loc)
        # the loops read the same memory: autograd sees to it that nobody writes there meanwhile
        ctx.save_for_backward(z, loc, concentration, prior_loc, prior_concentration)
        return z, _like(kl, concentration)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_z: Tensor, grad_kl: Tensor) -> tuple[Tensor | None, ...]:
        _, *inputs = ctx.saved_tensors
        kept, laws = ctx.kept, ctx.laws
        rules = sphere_rules(grad_z.shape[1])
        grads = pull_back(_array(grad_z), _array(grad_kl), kept, laws, rules)
        return *(_like(g, p) for g, p in zip(grads, inputs, strict=True)), None


def _array(value: Any) -> Floats:
    """float64, contiguous, of one axis at least."""
    return np.ascontiguousarray(value.detach().numpy(), np.float64)


def _like(array: Floats, value: Tensor | None) -> Tensor | None:
    """The array in the type of a tensor; a number where the tensor is one."""
    if value is None:
        return None
    if value.dtype == torch.float32:
        array = array.astype(np.float32)
    return torch.from_numpy(array) if value.ndim else torch.from_numpy(array)[0]


def _check_values(laws: Laws, tolerance: float) -> None:
    pairs = (("", laws.loc, laws.concentration), ("prior_", *laws[2:]))
    for prefix, loc, concentration in pairs:
        at, its = first_wrong(loc, concentration, tolerance)
        if at >= 0:
            norm = float(np.linalg.norm(loc[at]))
            raise ValueError(
                f"{prefix}loc must be unit vectors, got one of norm {norm!r} in row {at}"
            )
        if its >= 0:
            got = float(concentration[its])
            raise ValueError(
                f"{prefix}concentration must be finite and >= 0, got {got!r} at index {its}"
            )


def with_tensors(
    loc: Tensor,
    concentration: Tensor,
    prior_loc: Tensor | None,
    prior_concentration: Tensor | None,
    generator: Generator | None,
) -> tuple[Tensor, Tensor]:
    """The same by tensor operations, on any device."""
    law = VonMisesFisher(loc, concentration)
    z = law.rsample(generator=generator)
    if prior_loc is None:
        return z, kl_to_uniform(concentration, law.dim)
    kl: Tensor = kl_divergence(law, VonMisesFisher(prior_loc, prior_concentration))
    return z, kl
