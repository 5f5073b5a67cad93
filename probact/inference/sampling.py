"""`sample`: Markov chains of a Pyro program, each under its own seed, out as an ArviZ posterior.

Gibbs kernels of ours and Pyro's kernels go through one loop over chains. Pyro's own multi-chain
mode is not used: it seeds chain c with seed + c, and whether it runs in parallel depends on the
machine.
"""

import json
import os
import time
from collections.abc import Mapping
from datetime import timedelta
from inspect import signature
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from torch import Tensor
from torch.nn import Module

from probact.arrays import check_count, check_seed
from probact.inference.arviz_bridge import Posterior, run_attributes, to_arviz
from probact.inference.batches import as_args, as_data
from probact.inference.chains.driver import Kept, Manner, run_in_memory, run_on_disk
from probact.inference.chains.gibbs_chain import Task
from probact.inference.chains.kernels import Kernel, build_kernel
from probact.inference.chains.plan import Plan
from probact.inference.checkpoints.fingerprints import (
    data_fingerprint,
    kernel_fingerprint,
    model_fingerprint,
)
from probact.inference.checkpoints.run_directory import read_settings
from probact.inference.diagnosis import warn_about
from probact.inference.gibbs import GibbsKernel
from probact.inference.groups import constant_group, observed_group, posterior_group, stats_group
from probact.inference.layout import Model, Site, observed_sites, read_sites
from probact.inference.parameters import empty_store
from probact.inference.randomness import spawn_seeds
from probact.inference.threads import threads_for

__all__ = ["resume", "sample"]

COMMIT_EVERY = timedelta(seconds=10)


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
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = True,
    processes: int = 1,
    save_warmup: bool = False,
    commit_every: int | timedelta = COMMIT_EVERY,
) -> Posterior:
    """Draws from the posterior of `model(*data)`: InferenceData on ArviZ 0.x, DataTree on 1.x.

    data: None, a tensor or a (named) tuple of tensors. kernel: a `GibbsKernel`, a Pyro kernel on
    `model`, or a function from the model to one (the class `NUTS` is such a function); None takes
    `default_kernel(model)`. Each chain makes `tune` steps that are dropped, then `draws` times
    `thin` steps of which every thin-th is kept. The same seed gives the same bits, whatever the
    number of chains; the caller's random streams are left as they were. Where a kernel offers
    several starts, each runs for 20 steps and the likeliest goes on; the posterior's attribute
    `starts` (JSON) says which one.

    processes: chains that run at once, in spawned processes; the bits are those of processes=1.
    save_warmup adds the groups warmup_posterior and warmup_sample_stats.

    checkpoint: a folder to which a Gibbs kernel's chains are committed every `commit_every`
    iterations (an integer) or seconds (a timedelta). A run that ended at any moment goes on from
    its last commit, by the same call or by `resume`, with the bits of one that never ended; a
    finished one is read. SIGINT and SIGTERM end the current step, commit and raise `Interrupted`.
    Without a checkpoint, Ctrl-C returns the draws made so far.

    Groups: posterior, sample_stats (lp = log joint density in nats, acceptance_rate, diverging,
    ...), observed_data, constant_data, and those that the kernel adds. Divergences, disagreeing
    chains and low ESS end in a `SamplingWarning`.

    Raises: ValueError naming the argument that is wrong, or a checkpoint of another run;
    RunLocked for a checkpoint that another process writes; CorruptRun for a damaged one; OSError
    when the disk is full; RuntimeError for a process that died.
    >>> import pyro, pyro.distributions as dist, warnings
    >>> coin = lambda: pyro.sample("p", dist.Beta(2.0, 2.0))
    >>> with warnings.catch_warnings(action="ignore"):
    ...     post = sample(coin, draws=20, tune=20, chains=1, progress=False)
    >>> post.posterior["p"].dims
    ('chain', 'draw')
    """
    for name, count in (("draws", draws), ("chains", chains), ("thin", thin)):
        check_count(count, name)
    check_count(tune, "tune", smallest=0)
    check_seed(seed)
    manner = Manner(progress, processes, commit_every)
    _check_manner(manner, save_warmup)
    if not callable(model):
        raise ValueError(f"model must be callable, got {type(model).__name__}")
    data = as_data(data)
    args, started = as_args(data), time.perf_counter()
    _check_fits(model, args)
    plan, seeds = Plan(draws, tune, thin, save_warmup), spawn_seeds(seed, chains)
    with empty_store(), torch.enable_grad(), threads_for(args):
        sites = read_sites(model, args, seed)
        task = Task(build_kernel(model, kernel, sites), model, data, plan, _device_of(args))
        if checkpoint is None:
            kept = run_in_memory(task, seeds, manner)
        else:
            known = {**plan._asdict(), "chains": chains, "seed": int(seed), "device": task.device}
            described = _description(task, args, known)
            kept = run_on_disk(task, seeds, manner, Path(checkpoint), described)
    seconds = time.perf_counter() - started
    marks = run_attributes(seed=seed, device=task.device, seconds=seconds, tune=tune)
    groups = _groups(task, sites, kept, marks)
    warn_about(groups["posterior"], groups["sample_stats"])
    return to_arviz(groups)


def _check_fits(model: Model, args: tuple[Any, ...]) -> None:
    """Refuse more or fewer tensors than the program takes."""
    program = model.forward if isinstance(model, Module) else model
    try:
        signature(program).bind(*args)
    except TypeError as error:
        name = getattr(model, "__name__", type(model).__name__)
        raise ValueError(
            f"data holds {len(args)} arguments for {name}: {error}; pass those that it takes, such"
            " as features.x without the labels"
        ) from None
    except ValueError:  # a program that does not tell
        return


def resume(
    dir: str | os.PathLike[str],
    model: Model,
    data: Any = None,
    *,
    kernel: Kernel | None = None,
    progress: bool = True,
    processes: int = 1,
    commit_every: int | timedelta = COMMIT_EVERY,
) -> Posterior:
    """Finish the run in the checkpoint `dir` that `sample` began, and return all of its draws.

    Model, data and kernel are given again, since no code is stored; they are compared with what
    the run was begun with. A finished run is just read.

    Raises: as `sample`; ValueError for a folder without a run.
    >>> resume("no/such/folder", lambda: None)
    Traceback (most recent call last):
    ValueError: 'no/such/folder' holds no run to resume: it has no config.json
    """
    return sample(
        model,
        data,
        kernel=kernel,
        **read_settings(Path(dir)),
        checkpoint=dir,
        progress=progress,
        processes=processes,
        commit_every=commit_every,
    )


def _check_manner(manner: Manner, save_warmup: bool) -> None:
    """Refuse options that are wrong by themselves."""
    check_count(manner.processes, "processes")
    if not isinstance(save_warmup, bool):
        raise ValueError(f"save_warmup must be True or False, got {save_warmup!r}")
    every = manner.commit_every
    if not isinstance(every, timedelta):
        check_count(every, "commit_every")
    elif every < timedelta():
        raise ValueError(f"commit_every must not be negative, got {every}")


def _description(task: Task, args: tuple[Any, ...], settings: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint must agree with.

    Raises: ValueError for a Pyro kernel.
    """
    if not isinstance(task.kernel, GibbsKernel):
        raise ValueError(
            f"checkpoint must be None for {type(task.kernel).__name__}: what a Pyro kernel adapts"
            " cannot be saved, so its chain could not go on with the same bits"
        )
    return {
        "settings": settings,
        "model": model_fingerprint(task.model, args),
        "data": data_fingerprint(args),
        "kernel": kernel_fingerprint(task.kernel),
    }


def _device_of(args: tuple[Any, ...]) -> str:
    """Device of the first tensor of the data."""
    return next((str(arg.device) for arg in args if isinstance(arg, Tensor)), "cpu")


def _groups(
    task: Task, sites: Mapping[str, Site], kept: Kept, attributes: Mapping[str, Any]
) -> dict[str, xr.Dataset]:
    """The run's groups by name."""
    model, marks = task.model, dict(attributes)
    if any(kept.starts):
        marks["starts"] = json.dumps(kept.starts, allow_nan=False)
    if kept.interruption:
        marks["interruption"] = kept.interruption
    groups = {}
    for prefix, rows in (("", kept.draws), ("warmup_", kept.warmup)):
        values, stats = (_under(rows, kind) for kind in ("draws", "stats"))
        groups[f"{prefix}posterior"] = posterior_group(model, sites, values, marks)
        groups[f"{prefix}sample_stats"] = stats_group(stats, marks)
    groups["observed_data"] = observed_group(model, observed_sites(sites), marks)
    groups["constant_data"] = constant_group(model, marks)
    if isinstance(task.kernel, GibbsKernel):
        values = _under(kept.draws, "draws")
        groups |= task.kernel.export(model, task.data, values, marks)
    return groups


def _under(rows: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The rows whose name begins with `kind`, without it."""
    return {name.removeprefix(f"{kind}/"): v for name, v in rows.items() if name.startswith(kind)}
