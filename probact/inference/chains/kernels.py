"""Which kernel samples, and whether it can."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from pyro.infer import HMC
from pyro.infer.mcmc.mcmc_kernel import MCMCKernel
from torch.distributions import biject_to

from probact.inference.default_kernel import default_kernel
from probact.inference.diagnosis import announce
from probact.inference.gibbs import GibbsKernel
from probact.inference.layout import Model, Site, latent_sites

__all__ = ["AnyKernel", "Kernel", "build_kernel"]

AnyKernel: TypeAlias = GibbsKernel | MCMCKernel
Kernel: TypeAlias = AnyKernel | Callable[[Any], AnyKernel]


def build_kernel(model: Model, kernel: Kernel | None, sites: Mapping[str, Site]) -> AnyKernel:
    """The kernel of a run, checked against the model's latent sites.

    Raises: ValueError for what is no kernel, and for sites that the kernel cannot sample.
    """
    if not latent_sites(sites):
        raise ValueError(
            f"model has no latent sites to sample: it has {sorted(sites) or 'no sites'}"
        )
    built = _built(model, kernel)
    if isinstance(built, HMC):
        if built.model is not model:
            raise ValueError("kernel must be built on the same model that is sampled")
        _check_continuous(sites)
    return built


def _built(model: Model, kernel: Kernel | None) -> AnyKernel:
    """The kernel itself, from a kernel, its class or a function of the model."""
    if isinstance(kernel, GibbsKernel | MCMCKernel):
        return kernel
    if isinstance(kernel, type) and issubclass(kernel, GibbsKernel):
        return kernel()
    if kernel is not None and not callable(kernel):
        kind = type(kernel).__name__
        raise ValueError(
            f"kernel must be a Pyro kernel or build one, got {kind};"
            " or one of ours, which are GibbsKernels"
        )
    build: Callable[[Any], Any] = kernel or default_kernel
    built = build(model)
    if not isinstance(built, GibbsKernel | MCMCKernel):
        kind = type(built).__name__
        raise ValueError(f"kernel must build a Pyro kernel, it built {kind}")
    return built


def _check_continuous(sites: Mapping[str, Site]) -> None:
    """Warn of discrete sites that NUTS sums out; refuse those it cannot."""
    for name, site in latent_sites(sites).items():
        if not site.fn.support.is_discrete:
            _check_transform(name, site)
            continue
        if not site.fn.has_enumerate_support:
            law = type(site.fn).__name__
            raise ValueError(
                f"NUTS cannot sample the discrete site {name!r} ({law}); pass kernel="
            )
        announce(f"{name} is discrete: NUTS sums it out, so the posterior holds no draws of it")


def _check_transform(name: str, site: Site) -> None:
    """Refuse a support that NUTS has no map to, as unit vectors."""
    try:
        biject_to(site.fn.support)
    except NotImplementedError:
        raise ValueError(
            f"NUTS cannot sample {name!r}, a {type(site.fn).__name__} on {site.fn.support}: "
            "if it is observed, pass its values as data"
        ) from None
