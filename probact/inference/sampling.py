"""`sample`: Markov chains of a Pyro program, each under its own seed, out as an ArviZ posterior.

The chains run one after the other in this process through `pyro.infer.MCMC`, one chain per call:
Pyro's own multi-chain mode seeds chain c with seed + c, and whether it runs in parallel depends on
the machine.
"""

import copy
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import torch
import xarray as xr
from numpy.random import SeedSequence
from pyro.infer import HMC, MCMC
from pyro.infer.mcmc.mcmc_kernel import MCMCKernel
from torch import Tensor
from torch.distributions import biject_to
from tqdm.auto import tqdm

from probact.arrays import check_count
from probact.inference.arviz_bridge import Posterior, run_attributes, to_arviz
from probact.inference.batches import as_args
from probact.inference.default_kernel import default_kernel
from probact.inference.diagnosis import SamplingWarning, warn_about
from probact.inference.groups import constant_group, observed_group, posterior_group, stats_group
from probact.inference.layout import Model, Site, latent_sites, observed_sites, read_sites
from probact.inference.parameters import empty_store
from probact.arrays import check_seed
from probact.inference.randomness import seeded, spawn_seeds
from probact.inference.recording import Recording, RecordingKernel
from probact.inference.support import outside_support_diverges
from probact.inference.threads import threads_for

__all__ = ["sample"]

Kernel: TypeAlias = MCMCKernel | Callable[[Any], MCMCKernel]


def sample(
    model: Model,
    data: Any = None,
    *,
    kernel: Kernel | None = None,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    thin: int = 1,
    seed: int = 0,
    checkpoint: str | None = None,
    progress: bool = True,
) -> Posterior:
    """Draws from the posterior of `model(*data)`: InferenceData on ArviZ 0.x, DataTree on 1.x.

    data: None, a tensor or a (named) tuple of tensors. kernel: a Pyro kernel on `model`, or a
    function from the model to one (the class `NUTS` is such a function); None takes
    `default_kernel(model)`. Each chain makes `tune` steps that are dropped, then `draws` times
    `thin` steps of which every thin-th is kept. The same seed gives the same bits, whatever the
    number of chains; the caller's random streams are left as they were.

    Groups: posterior, sample_stats (lp = log joint density in nats, acceptance_rate, diverging,
    ...), observed_data, constant_data. Divergences, disagreeing chains and low ESS end in a
    `SamplingWarning`.

    Raises: ValueError naming the argument that is wrong; NotImplementedError for checkpoint.
    >>> import pyro, pyro.distributions as dist
    >>> coin = lambda: pyro.sample("p", dist.Beta(2.0, 2.0))
    >>> with warnings.catch_warnings(action="ignore"):
    ...     post = sample(coin, draws=20, tune=20, chains=1, progress=False)
    >>> post.posterior["p"].dims
    ('chain', 'draw')
    """
    if checkpoint is not None:
        raise NotImplementedError("checkpoint= comes with the driver for Gibbs kernels; pass None")
    for name, count in (("draws", draws), ("chains", chains), ("thin", thin)):
        check_count(count, name)
    check_count(tune, "tune", smallest=0)
    check_seed(seed)
    if not callable(model):
        raise ValueError(f"model must be callable, got {type(model).__name__}")
    args = as_args(data)
    started = time.perf_counter()
    with empty_store(), torch.enable_grad(), threads_for(args):
        sites = read_sites(model, args, seed)
        inner = _build_kernel(model, kernel, sites)
        with _progress_line(chains, tune + draws, progress) as tick:
            recordings = [
                _run_chain(inner, args, child, draws=draws, tune=tune, thin=thin, tick=tick)
                for child in spawn_seeds(seed, chains)
            ]
    seconds = time.perf_counter() - started
    attributes = run_attributes(seed=seed, device=_device_of(args), seconds=seconds, tune=tune)
    groups = _groups(model, sites, recordings, attributes)
    warn_about(groups["posterior"], groups["sample_stats"])
    return to_arviz(groups)


def _build_kernel(model: Model, kernel: Kernel | None, sites: Mapping[str, Site]) -> MCMCKernel:
    """The kernel of the run, checked against the model's latent sites."""
    if not latent_sites(sites):
        raise ValueError(
            f"model has no latent sites to sample: it has {sorted(sites) or 'no sites'}"
        )
    if isinstance(kernel, MCMCKernel):
        built = kernel
    elif kernel is None or callable(kernel):
        built = default_kernel(model) if kernel is None else kernel(model)
    else:
        raise ValueError(f"kernel must be a Pyro kernel or build one, got {type(kernel).__name__}")
    if not isinstance(built, MCMCKernel):
        raise ValueError(f"kernel must build a Pyro kernel, it built {type(built).__name__}")
    if isinstance(built, HMC):
        if built.model is not model:
            raise ValueError("kernel must be built on the same model that is sampled")
        _check_continuous(sites)
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
        warnings.warn(
            f"{name} is discrete: NUTS sums it out, so the posterior holds no draws of it",
            SamplingWarning,
            stacklevel=4,
        )


def _run_chain(
    kernel: MCMCKernel,
    args: tuple[Any, ...],
    seed: SeedSequence,
    *,
    draws: int,
    tune: int,
    thin: int,
    tick: Callable[[MCMCKernel], None],
) -> Recording:
    """One chain on a fresh copy of the kernel, so that no chain inherits another's step size."""
    inner = copy.deepcopy(kernel, {id(kernel.model): kernel.model})
    recorder = RecordingKernel(inner, draws=draws, tune=tune, thin=thin, tick=tick)
    run = MCMC(recorder, num_samples=draws, warmup_steps=tune, disable_progbar=True)
    with seeded(seed), outside_support_diverges():
        try:
            run.run(*args)
        except ValueError as error:
            if "cannot find valid initial params" not in str(error):
                raise
            raise ValueError(
                "model has no finite log joint density at any of 100 random starts; check that the"
                " data lie in the support of their sites and that the priors do not overflow"
            ) from error
    return recorder.recording()


def _check_transform(name: str, site: Site) -> None:
    """Refuse a support that NUTS has no map to, as unit vectors."""
    try:
        biject_to(site.fn.support)
    except NotImplementedError:
        raise ValueError(
            f"NUTS cannot sample {name!r}, a {type(site.fn).__name__} on {site.fn.support}: "
            "if it is observed, pass its values as data"
        ) from None


@contextmanager
def _progress_line(
    chains: int, steps: int, progress: bool
) -> Iterator[Callable[[MCMCKernel], None]]:
    """One line for all chains on stderr, none where stderr is no terminal."""
    with tqdm(total=chains * steps, disable=None if progress else True) as line:

        def tick(kernel: MCMCKernel) -> None:
            if line.disable:
                return
            chain = min(line.n // steps + 1, chains)
            line.set_description(f"chain {chain}/{chains}", refresh=False)
            line.set_postfix(kernel.logging() or {}, refresh=False)
            line.update()

        yield tick


def _device_of(args: tuple[Any, ...]) -> str:
    """Device of the first tensor of the data."""
    return next((str(arg.device) for arg in args if isinstance(arg, Tensor)), "cpu")


def _groups(
    model: Model,
    sites: Mapping[str, Site],
    recordings: list[Recording],
    attributes: Mapping[str, Any],
) -> dict[str, xr.Dataset]:
    """The run's groups by name, chains stacked."""
    names = recordings[0].draws
    values = {name: torch.stack([r.draws[name] for r in recordings]) for name in names}
    stats = {name: np.stack([r.stats[name] for r in recordings]) for name in recordings[0].stats}
    return {
        "posterior": posterior_group(model, sites, values, attributes),
        "sample_stats": stats_group(stats, attributes),
        "observed_data": observed_group(model, observed_sites(sites), attributes),
        "constant_data": constant_group(model, attributes),
    }
