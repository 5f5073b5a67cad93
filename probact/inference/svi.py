"""`fit`: stochastic variational inference, a plain loop over a Pyro ELBO and a torch optimiser.

Mini-batches. The loop rescales nothing: only the model knows which of its sites are per data
point. A model for mini-batches holds its data size and opens `pyro.plate("data", self.size,
subsample_size=len(x))`, which weights the rows of a batch by size / len(x). A batch whose
likelihood is not weighted beside latents shared by all rows is refused.
"""

import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from numpy.random import SeedSequence
from pyro.infer import ELBO, Trace_ELBO
from torch import Tensor
from torch.nn import Module, Parameter
from torch.optim import Adam, Optimizer
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from probact.arrays import check_seed
from probact.inference.batches import as_args, batches, check_batch_size, num_rows, to_device
from probact.inference.fit_result import Fit, resolve_device
from probact.inference.guides import build_guide
from probact.inference.layout import Site, latent_sites, observed_sites, read_sites
from probact.inference.parameters import local_parameters, refuse_stray_parameters
from probact.inference.randomness import seeded

__all__ = ["fit"]

LEARNING_RATE = 1e-2  # Adam moves an unconstrained parameter by about this per batch

Batch = tuple[Any, ...]


def fit(
    model: Module,
    data: Any,
    *,
    guide: Module | Callable[[Any], Any] | None = None,
    epochs: int = 100,
    batch_size: int | None = None,
    optimizer: Callable[[Iterable[Parameter]], Optimizer] | None = None,
    loss: ELBO | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: bool = True,
) -> Fit:
    """Fit a guide (and the model's own parameters) by maximising the ELBO.

    data: a tensor, a tuple of tensors or a DataLoader; batch_size shuffles the rows of tensors,
    None takes all at once. guide: a module, or a function from the model to one (such as
    `AutoMultivariateNormal`); None takes `model.guide`, else AutoNormal. optimizer: a function
    from parameters to a torch optimiser (default Adam, rate 0.01): the guide's parameters exist
    only after its first call. loss: a Pyro ELBO (default Trace_ELBO). device: "auto" is CUDA where
    there is one, and the model is moved there. Pyro's parameter store and the caller's random
    streams are left alone; the same seed gives the same bits. `Fit.losses` (epochs,) is the mean
    over an epoch's batches of the negative ELBO, in nats.

    Raises: ValueError naming the argument that is wrong, or the epoch at which the loss stopped
    being finite.
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
    _check(model, data, epochs, batch_size, optimizer, loss)
    check_seed(seed)
    where, started = resolve_device(device), time.perf_counter()
    model.to(where)
    whole = batch_size is None and not isinstance(data, DataLoader)
    data = to_device(as_args(data), where) if whole else data  # moved once, not every epoch
    stream = SeedSequence(seed)
    shuffler = torch.Generator().manual_seed(int(stream.generate_state(4)[3]))

    def epoch() -> Iterator[Batch]:
        return batches(data, batch_size, shuffler, where)

    with seeded(stream), torch.enable_grad(), local_parameters(model, guide):
        first = _first_batch(epoch())
        sites = read_sites(model, first, seed)
        _check_scaled(sites, num_rows(first), num_rows(data))
        recipe, built = build_guide(model, guide, sites)
        bound = (loss or Trace_ELBO())(model, built)
        bound.to(where)
        optimiser = _build_optimizer(optimizer, _warm_up(bound, first))
        losses = _train(bound, optimiser, epoch, epochs, progress)
    seconds = time.perf_counter() - started
    return Fit(model, built, losses, recipe, first, whole, int(seed), str(where), seconds)


def _check(model: Any, data: Any, epochs: Any, batch_size: Any, optimizer: Any, loss: Any) -> None:
    """Refuse arguments of `fit` that are wrong by themselves."""
    if not isinstance(model, Module):
        raise ValueError(f"model must be a PyroModule, got {type(model).__name__}")
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
        raise ValueError(f"epochs must be a positive integer, got {epochs!r}")
    if not isinstance(data, DataLoader):
        as_args(data)
    check_batch_size(data, batch_size)
    if optimizer is not None and not callable(optimizer):
        raise ValueError(
            "optimizer must be a function from parameters to a torch optimiser, such as"
            f" functools.partial(torch.optim.Adam, lr=1e-3); got {type(optimizer).__name__}"
        )
    if loss is not None and not isinstance(loss, ELBO):
        raise ValueError(f"loss must be a Pyro ELBO, got {type(loss).__name__}")


def _first_batch(epoch: Iterator[Batch]) -> Batch:
    """The batch on which the guide is built."""
    try:
        return next(epoch)
    except StopIteration:
        raise ValueError("data has no batches") from None


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


def _warm_up(bound: Module, batch: Batch) -> list[Parameter]:
    """Parameters of model and guide, which exist only after the ELBO's first call."""
    with torch.no_grad(), _quiet():
        bound(*batch)
    refuse_stray_parameters()
    parameters = [p for p in bound.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("model and guide have no parameters to train")
    return parameters


def _build_optimizer(
    optimizer: Callable[[Iterable[Parameter]], Optimizer] | None, parameters: list[Parameter]
) -> Optimizer:
    """The optimiser over all parameters."""
    built = optimizer(parameters) if optimizer else Adam(parameters, lr=LEARNING_RATE)
    if not isinstance(built, Optimizer):
        raise ValueError(f"optimizer must build a torch optimiser, got {type(built).__name__}")
    return built


def _train(
    bound: Module,
    optimiser: Optimizer,
    epoch: Callable[[], Iterator[Batch]],
    epochs: int,
    progress: bool,
) -> Tensor:
    """Mean loss (epochs,) per epoch of the training loop."""
    losses = torch.empty(epochs, dtype=torch.float64)
    with tqdm(total=epochs, desc="fit", disable=None if progress else True) as line, _quiet():
        for i in range(epochs):
            steps = [_step(bound, optimiser, batch, i, j) for j, batch in enumerate(epoch())]
            losses[i] = sum(steps) / len(steps)
            line.set_postfix(loss=f"{losses[i]:.4g}", refresh=False)
            line.update()
    optimiser.zero_grad()
    return losses


def _step(bound: Module, optimiser: Optimizer, batch: Batch, epoch: int, index: int) -> float:
    """One optimiser step; the loss before it."""
    where = f"at epoch {epoch}, batch {index}"
    optimiser.zero_grad()
    try:
        loss = bound(*batch)
    except ValueError as error:  # a law refused its parameters: they are no longer finite
        raise ValueError(f"the loss cannot be computed {where}: {error}") from error
    value = float(loss.detach())
    if not torch.isfinite(torch.tensor(value)):
        raise ValueError(
            f"the loss is {value} {where}; check the data, or lower the learning rate"
        )
    loss.backward()
    optimiser.step()
    return value


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Pyro's warning of a loss that is not finite: here that is an error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Encountered (NaN|[+-]?inf)")
        yield
