"""`Fit`, what `fit` returns, and `load`, which opens a saved one."""

import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyro.poutine as poutine
import torch
from numpy.random import SeedSequence
from torch import Tensor
from torch.nn import Module

from probact.arrays import check_seed
from probact.capturing.passes import usable
from probact.inference.arviz_bridge import Posterior, run_attributes, to_arviz
from probact.inference.batches import to_device
from probact.inference.fit_files import read_fit, write_fit
from probact.inference.groups import constant_group, observed_group, posterior_group
from probact.inference.guides import guide_from_recipe
from probact.inference.layout import latent_sites, observed_sites, read_sites
from probact.inference.parameters import local_parameters
from probact.inference.randomness import seeded

__all__ = ["Fit", "load", "resolve_device"]


@dataclass(frozen=True)
class Fit:
    """A fitted model: losses (epochs,) in nats, and the guide whose draws stand for the posterior.

    batch holds the first batch of the data, on which the guide is rebuilt and its draws are made;
    whole says that it is all of the data. recipe names the guide (see `guides`). For a model with
    an objective of its own batch has at most 100 rows, and guide may be None. validation_losses
    (epochs,) in nats and best_epoch, whose parameters are in the model, are None without
    validation data.

    >>> import pyro, pyro.distributions as dist
    >>> from probact.inference.svi import fit
    >>> class Coin(pyro.nn.PyroModule):
    ...     def forward(self):
    ...         pyro.sample("p", dist.Beta(2.0, 2.0))
    >>> done = fit(Coin(), None, epochs=2, device="cpu", progress=False)
    >>> done.recipe, done.to_arviz(draws=50).posterior["p"].shape
    ('AutoNormal', (1, 50))
    """

    model: Module
    guide: Any
    losses: Tensor
    recipe: str
    batch: tuple[Any, ...]
    whole: bool
    seed: int
    device: str
    seconds: float
    validation_losses: Tensor | None = None
    best_epoch: int | None = None

    def to_arviz(self, draws: int = 1000, *, seed: int = 0) -> Posterior:
        """Independent draws of the guide as a posterior of one chain, axes named as by `sample`.

        Raises: ValueError for draws < 1, a bad seed or a fit without a guide.
        """
        if self.guide is None:
            raise ValueError(f"{type(self.model).__name__} has no guide to draw from")
        if isinstance(draws, bool) or not isinstance(draws, int) or draws < 1:
            raise ValueError(f"draws must be a positive integer, got {draws!r}")
        check_seed(seed)
        run = run_attributes(seed=seed, device=self.device, seconds=self.seconds, tune=0)
        attributes = {**run, "fit_seed": self.seed, "epochs": len(self.losses)}
        with local_parameters(self.model, self.guide), seeded(SeedSequence(seed)), torch.no_grad():
            sites = read_sites(self.model, self.batch)
            rows = [self._draw(set(latent_sites(sites))) for _ in range(draws)]
        values = {name: torch.stack([row[name] for row in rows])[None] for name in rows[0]}
        observed = observed_sites(sites) if self.whole else {}
        return to_arviz(
            {
                "posterior": posterior_group(self.model, sites, values, attributes),
                "observed_data": observed_group(self.model, observed, attributes),
                "constant_data": constant_group(self.model, attributes),
            }
        )

    def save(self, directory: str | os.PathLike[str]) -> Path:
        """Write config.json and one safetensors file; a crash leaves the earlier fit, or none.

        The files hold one batch of the data, so that `load` can rebuild the guide. The caller's
        own guide, and a model without a JSON-ready attribute `config` (its constructor's
        arguments), must be given to `load` again.
        Raises: ValueError for a batch or config that JSON cannot hold, or a directory that holds
        something else.
        """
        config = {
            "model": {"class": _class_name(self.model), "config": _config(self.model)},
            "guide": self.recipe,
            "batch": [None if isinstance(arg, Tensor) else {"value": arg} for arg in self.batch],
            "whole": self.whole,
            "seed": self.seed,
            "seconds": self.seconds,
            "best_epoch": self.best_epoch,
        }
        tensors = {"losses": self.losses, **_prefixed("model.", self.model)}
        if self.validation_losses is not None:
            tensors["validation_losses"] = self.validation_losses
        if isinstance(self.guide, Module) and self.recipe != "model":
            tensors |= _prefixed("guide.", self.guide)
        tensors |= {
            f"batch.{i}": arg for i, arg in enumerate(self.batch) if isinstance(arg, Tensor)
        }
        return write_fit(Path(directory), config, tensors)

    def _draw(self, names: set[str]) -> dict[str, Tensor]:
        """One draw of the model's latent sites from the guide."""
        trace = poutine.trace(self.guide).get_trace(*self.batch)
        return {k: node["value"].cpu() for k, node in trace.nodes.items() if k in names}


def load(
    directory: str | os.PathLike[str],
    *,
    model: Module | None = None,
    guide: Module | Callable[[Any], Any] | None = None,
    device: str = "auto",
) -> Fit:
    """Open what `Fit.save` wrote, loading the parameters into `model` or into a new one.

    Only probact's own classes are built anew. A class from elsewhere is never imported because a
    file says so: pass `model=`, and `guide=` where `fit` got one.
    Raises: ValueError for a damaged or foreign file, another class of model, or parameters of
    another shape or dtype.
    >>> load("no/such/directory")
    Traceback (most recent call last):
    ValueError: no/such/directory/config.json is not a file
    """
    where = resolve_device(device)
    config, tensors = read_fit(Path(directory))
    built = _rebuild(config["model"]) if model is None else model
    if _class_name(built) != config["model"]["class"]:
        raise ValueError(f"model must be a {config['model']['class']}, got {_class_name(built)}")
    built.to(where)
    batch = to_device(_saved_batch(config["batch"], tensors), where)
    with local_parameters(built, guide), seeded(SeedSequence(config["seed"])):
        _load_state("model.", built, tensors)
        without = config["guide"] == "none"
        q = None if without else guide_from_recipe(config["guide"], built, guide)
        if isinstance(q, Module) and config["guide"] != "model":
            with torch.no_grad():
                q.to(where)(*batch)  # an autoguide has no parameters before its first call
            _load_state("guide.", q, tensors)
    return Fit(
        built,
        q,
        tensors["losses"],
        config["guide"],
        batch,
        config["whole"],
        config["seed"],
        str(where),
        config["seconds"],
        tensors.get("validation_losses"),
        config["best_epoch"],
    )


def resolve_device(device: str) -> torch.device:
    """The named device; "auto" is CUDA where there is one, else the CPU.

    Raises: ValueError for a device that torch does not know or have.
    >>> resolve_device("cpu")
    device(type='cpu')
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    where = usable(device)
    if where.type == "cuda":
        torch.cuda.init()  # only streams that exist can be seeded and put back
    return where


def _class_name(model: Any) -> str:
    """Where a class lives: module:qualname."""
    return f"{type(model).__module__}:{type(model).__qualname__}"


def _config(model: Module) -> dict[str, Any] | None:
    """The model's constructor arguments; None where it tells none."""
    config = getattr(model, "config", None)
    return dict(config) if isinstance(config, Mapping) else None


def _rebuild(saved: Mapping[str, Any]) -> Module:
    """A new model of one of probact's own classes."""
    home, _, name = saved["class"].partition(":")
    if not home.startswith("probact.") or saved["config"] is None:
        raise ValueError(f"model= is needed to load a fit of {saved['class']}")
    kind = getattr(importlib.import_module(home), name, None)
    if not (isinstance(kind, type) and issubclass(kind, Module)):
        raise ValueError(f"the saved fit names {saved['class']}, which is no model of probact")
    return kind(**saved["config"])


def _saved_batch(marks: list[Any], tensors: Mapping[str, Tensor]) -> tuple[Any, ...]:
    """The stored arguments of the model."""
    return tuple(
        tensors[f"batch.{i}"] if mark is None else mark["value"] for i, mark in enumerate(marks)
    )


def _prefixed(prefix: str, module: Module) -> dict[str, Tensor]:
    """The module's state under a prefix."""
    return {prefix + name: value for name, value in module.state_dict().items()}


def _load_state(prefix: str, module: Module, tensors: Mapping[str, Tensor]) -> None:
    """Load a module's state; other names, shapes or dtypes, which torch would convert, fail."""
    saved = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
    own = module.state_dict()
    if set(saved) != set(own):
        odd = sorted(set(saved) ^ set(own))
        raise ValueError(f"the saved {prefix[:-1]} and the given one differ in parameters {odd}")
    for name, value in own.items():
        if saved[name].shape != value.shape or saved[name].dtype != value.dtype:
            raise ValueError(
                f"{prefix}{name} was saved as {saved[name].dtype} {tuple(saved[name].shape)},"
                f" the given one is {value.dtype} {tuple(value.shape)}"
            )
    module.load_state_dict(saved)
