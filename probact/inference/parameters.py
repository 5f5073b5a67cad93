"""Keep Pyro's global parameter store out of inference.

The store is keyed by name: two guides with a site `w` share one entry, and a module that meets a
foreign entry of its name takes it over. Both contexts below leave the store as it was; values in
it are not read.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyro
from pyro.nn import PyroModule
from torch.nn import Module

__all__ = ["empty_store", "local_parameters", "refuse_stray_parameters"]


@contextmanager
def empty_store() -> Iterator[None]:
    """Run a block on an empty store of its own: enough where nothing is trained.

    >>> import torch
    >>> with empty_store():
    ...     w = pyro.param("w", torch.ones(1))
    >>> "w" in pyro.get_param_store()
    False
    """
    with pyro.get_param_store().scope():
        yield


@contextmanager
def local_parameters(*parts: Any) -> Iterator[None]:
    """Run a block in which each module among `parts` owns its parameters, whatever their names.

    Raises: ValueError when a module of the block has a `pyro.param` statement.
    >>> with local_parameters(PyroModule()):
    ...     pyro.settings.get("module_local_params")
    True
    """
    for part in parts:
        _adopt(part)
    with pyro.settings.context(module_local_params=True), empty_store():
        try:
            yield
        except NotImplementedError as error:
            if "pyro.param" not in str(error):
                raise
            raise ValueError("pyro.param statements are not trained; use PyroParam") from error


def refuse_stray_parameters() -> None:
    """Refuse `pyro.param` statements met so far, which no optimiser of modules would train.

    Raises: ValueError naming them.
    >>> with local_parameters():
    ...     refuse_stray_parameters()
    """
    stray = sorted(pyro.get_param_store().keys())
    if stray:
        raise ValueError(f"pyro.param statements {stray} are not trained; make them PyroParam")


def _adopt(part: Any) -> None:
    """Give Pyro modules born outside the local setting the private slot it looks for."""
    for module in part.modules() if isinstance(part, Module) else ():
        if isinstance(module, PyroModule) and not hasattr(module._pyro_context, "param_state"):
            module._pyro_context.param_state = {"params": {}, "constraints": {}}
