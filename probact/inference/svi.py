"""`fit`: stochastic variational inference, a plain loop over a loss and a torch optimiser.

The loss is a Pyro ELBO of model and guide, or what the model's own `objective` returns.

Mini-batches. The loop rescales nothing: only the model knows which of its sites are per data
point. A model for mini-batches holds its data size and opens `pyro.plate("data", self.size,
subsample_size=len(x))`, which weights the rows of a batch by size / len(x). A batch whose
likelihood is not weighted beside latents shared by all rows is refused.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from numpy.random import SeedSequence
from pyro.infer import ELBO, Trace_ELBO
from torch import Tensor
from torch.nn import Module, Parameter
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from probact.arrays import check_seed
from probact.inference.batches import as_data, num_rows
from probact.inference.fit_result import Fit, resolve_device
from probact.inference.guides import build_guide
from probact.inference.layout import Site, latent_sites, observed_sites, read_sites
from probact.inference.parameters import local_parameters, refuse_stray_parameters
from probact.inference.randomness import seeded
from probact.inference.training.arguments import check_arguments, check_extras, check_model
from probact.inference.training.driver import describe_training, train_in_memory, train_on_disk
from probact.inference.training.loop import History, Training, quiet
from probact.inference.training.objectives import (
    Objective,
    has_objective,
    own_objective,
    pyro_objective,
)
from probact.inference.training.source import Source
from probact.inference.training.trial import try_losses

__all__ = ["fit"]

LEARNING_RATE = 1e-2  # Adam moves an unconstrained parameter by about this per batch
KEPT_ROWS = 100  # of the first batch, for a model with an objective
VALIDATION_ROWS = 1000  # at once, for a model with an objective and no batch size

Batch = tuple[Any, ...]
BuildOptimizer = Callable[[Iterable[Parameter]], Optimizer]


class Built(NamedTuple):
    """What is minimised, and the guide with its recipe."""

    objective: Objective
    recipe: str
    guide: Any


def fit(
    model: Module,
    data: Any,
    *,
    guide: Module | Callable[[Any], Any] | None = None,
    epochs: int = 100,
    batch_size: int | None = None,
    optimizer: BuildOptimizer | None = None,
    loss: ELBO | None = None,
    schedule: Callable[[Optimizer], LRScheduler] | None = None,
    validation: Any = None,
    patience: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: bool = True,
) -> Fit:
    """Fit a guide (and the model's own parameters) by maximising the ELBO.

    data: a tensor or array, a tuple of them or a DataLoader; batch_size shuffles their rows, None
    takes all at once. guide: a module, or a function from the model to one (such as
    `AutoMultivariateNormal`); None takes `model.guide`, else AutoNormal. optimizer: a function
    from parameters to a torch optimiser (default Adam, rate `model.learning_rate` or else 0.01):
    the guide's parameters exist only after its first call. loss: a Pyro ELBO (default
    Trace_ELBO). device: "auto" is CUDA where there is one, and the model is moved there. Pyro's
    parameter store and the caller's random streams are left alone; the same seed gives the same
    bits. `Fit.losses` (epochs,) is the mean over an epoch's batches of the negative ELBO, in nats.

    A model with a method `objective(*batch, epoch)`, the mean loss () of the rows of a batch in
    nats, is trained on that when loss is None, beside its own guide; then `Fit.losses` are means
    over rows. epoch counts from 0; None asks for the full loss, as in validation and in a first
    call, before anything is written, by which the model may refuse the data.

    schedule: a function from the optimiser to a torch schedule, stepped after every epoch.
    validation: held-out data of the same kind, whose loss per epoch (evaluation mode, the same
    random numbers every time, mean over rows) is `Fit.validation_losses`; the parameters and
    buffers of the best epoch, `Fit.best_epoch`, are in the model at the end. patience: stop after
    so many epochs without a better one, counted from `model.warm_up` (epochs, default 0) on.

    checkpoint: a folder that keeps the state after every epoch. A fit that ended at any moment
    goes on by the same call, with the bits of one that never ended; a finished one is read. The
    data are not stored, nor is what a model keeps outside of its parameters and buffers; of the
    model its tensors' shapes and its `config` and `settings` (dicts, where it has them) are
    compared, of a DataLoader over anything but a TensorDataset only the make and size. SIGINT and
    SIGTERM end the current step and raise `Interrupted`.

    Raises: ValueError naming the argument that is wrong, or a checkpoint of another fit;
    NonFiniteLoss, a ValueError, at the first loss or gradient that is not finite, before it
    enters the parameters; RunLocked for a checkpoint that another process writes; CorruptRun for
    a damaged one.
    >>> import pyro, pyro.distributions as dist
    >>> from pyro.nn import PyroModule
    >>> class Mean(PyroModule):
    ...     def forward(self, x):
    ...         mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    ...         with pyro.plate("data", len(x)):
    ...             pyro.sample("x", dist.Normal(mu, 1.0), obs=x)
    >>> fit(Mean(), torch.zeros(5), epochs=3, device="cpu", progress=False).losses.shape
    torch.Size([3])
    """
    data, validation = as_data(data), as_data(validation, "validation")
    check_arguments(model, data, epochs, batch_size, optimizer, loss)
    check_model(model, guide, loss)
    check_extras(data, schedule, validation, patience, checkpoint)
    check_seed(seed)
    where, seed = resolve_device(device), int(seed)
    model.to(where)
    own = loss is None and has_objective(model)
    at_once = VALIDATION_ROWS if own else None
    source = Source(data, validation, batch_size, at_once, where, seed)
    with seeded(SeedSequence(seed)), torch.enable_grad(), local_parameters(model, guide):
        first = _first_batch(source.epoch())
        size = num_rows(source.data)
        built = _own(model) if own else _elbo(model, guide, loss, first, size, seed)
        built.objective.module.to(where)
        parameters = _parameters(built.objective, first, source)
        optimiser = _build_optimizer(optimizer, parameters, model)
        rates, warm_up = _build_schedule(schedule, optimiser), getattr(model, "warm_up", 0)
        training = Training(built.objective, optimiser, rates, source, epochs, patience, warm_up)
        if checkpoint is None:
            history = train_in_memory(training, progress)
        else:
            kind = "objective" if own else type(loss or Trace_ELBO()).__name__
            known = describe_training(training, model, {"guide": built.recipe, "loss": kind})
            history = train_on_disk(training, Path(checkpoint), known, progress)
    return _result(model, built, history, first, source, where)


def _result(
    model: Module,
    built: Built,
    history: History,
    first: Batch,
    source: Source,
    device: torch.device,
) -> Fit:
    """The fit, with a part of the first batch where the loss is the model's own."""
    whole = source.whole
    if built.objective.per_row and (num_rows(first) or 0) > KEPT_ROWS:
        first, whole = tuple(a[:KEPT_ROWS] if _has_rows(a) else a for a in first), False
    values = torch.tensor(history.validation_losses, dtype=torch.float64)
    return Fit(
        model=model,
        guide=built.guide,
        losses=torch.tensor(history.losses, dtype=torch.float64),
        recipe=built.recipe,
        batch=first,
        whole=whole,
        seed=source.seed,
        device=str(device),
        seconds=history.seconds,
        validation_losses=values if len(values) else None,
        best_epoch=history.best_epoch,
    )


def _has_rows(arg: Any) -> bool:
    return isinstance(arg, Tensor) and arg.ndim > 0


def _first_batch(epoch: Iterator[Batch]) -> Batch:
    """The batch on which the guide is built."""
    try:
        return next(epoch)
    except StopIteration:
        raise ValueError("data has no batches") from None


def _own(model: Any) -> Built:
    """The model's own objective, beside its guide where it has one."""
    guide = getattr(model, "guide", None)
    return Built(own_objective(model), "none" if guide is None else "model", guide)


def _elbo(
    model: Module, guide: Any, loss: ELBO | None, first: Batch, size: int | None, seed: int
) -> Built:
    """The ELBO of the model and its guide."""
    sites = read_sites(model, first, seed)
    _check_scaled(sites, num_rows(first), size)
    recipe, built = build_guide(model, guide, sites)
    return Built(pyro_objective(loss or Trace_ELBO(), model, built), recipe, built)


def _check_scaled(sites: dict[str, Site], rows: int | None, size: int | None) -> None:
    """Refuse a batch of some rows that is not weighted beside latents shared by all."""
    if rows is None or size is None or rows >= size:
        return
    for name, site in observed_sites(sites).items():
        shared = [k for k, latent in latent_sites(sites).items() if site.plates - latent.plates]
        if shared and not site.scaled:
            raise ValueError(
                f"site {name!r} counts the {rows} rows of a batch, not all {size}, beside"
                f' {shared}: open its plate as pyro.plate("data", {size}, subsample_size=len(x))'
            )


def _parameters(objective: Objective, batch: Batch, source: Source) -> list[Parameter]:
    """Parameters of model and guide, which for an ELBO exist only after its first call."""
    if not objective.per_row:
        with torch.no_grad(), quiet():
            objective.loss(batch, None)
    try_losses(objective, batch, source)
    refuse_stray_parameters()
    if not objective.parameters:
        raise ValueError("model and guide have no parameters to train")
    return objective.parameters


def _build_optimizer(
    optimizer: BuildOptimizer | None, parameters: list[Parameter], model: Module
) -> Optimizer:
    """The optimiser over all parameters."""
    if optimizer is None:
        rate = getattr(model, "learning_rate", LEARNING_RATE)
        fused = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)
        return Adam(parameters, lr=rate, fused=fused)
    built = optimizer(parameters)
    if not isinstance(built, Optimizer):
        raise ValueError(f"optimizer must build a torch optimiser, got {type(built).__name__}")
    return built


def _build_schedule(
    schedule: Callable[[Optimizer], LRScheduler] | None, optimiser: Optimizer
) -> LRScheduler | None:
    """The schedule of the optimiser's rate."""
    built = None if schedule is None else schedule(optimiser)
    if built is not None and not isinstance(built, LRScheduler):
        raise ValueError(f"schedule must build a torch schedule, got {type(built).__name__}")
    return built
