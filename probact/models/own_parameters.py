r"""Parameters that stay the module's own when its program runs.

Pyro keys the parameters of a program by name, in a store of the whole process: of two programs
with a parameter `slopes` the later one takes over the values of the earlier one. Here a parameter
read in a running program is a `param` statement of Pyro, so that `SVI` trains it and `lift` puts a
prior on it, but its value is the module's and nothing enters the store.
"""

import weakref
from typing import Any

from pyro.nn import PyroModule
from pyro.poutine.runtime import effectful
from torch import Tensor
from torch.distributions import constraints
from torch.nn import Parameter

__all__ = ["OwnParameters"]


class OwnParameters(PyroModule):
    """Abstract: a program whose parameters are plain ones, unconstrained, of shape as they are.

    >>> import pyro, torch
    >>> class Shift(OwnParameters):
    ...     def __init__(self, value):
    ...         super().__init__()
    ...         self.shift = Parameter(torch.tensor(value))
    ...     def forward(self):
    ...         return self.shift * 2.0
    >>> [Shift(value)().item() for value in (1.0, 3.0)], len(pyro.get_param_store())
    ([2.0, 6.0], 0)
    """

    def __getattr__(self, name: str) -> Any:
        held = self.__dict__.get("_parameters", {}).get(name)
        if held is None:
            return super().__getattr__(name)
        if not self._pyro_context.active:
            return held
        return _stated(self._pyro_get_fullname(name), held)


def _stated(name: str, held: Parameter) -> Any:
    """The parameter through Pyro's handlers, as Pyro does for parameters local to a module."""
    value: Any = held.view_as(held)  # what follows would keep the parameter itself from pickling
    value.unconstrained = weakref.ref(held)

    def own(*_: Any, **__: Any) -> Tensor:
        stated: Tensor = value
        return stated

    statement = effectful(own, type="param")
    return statement(name, constraint=constraints.real, event_dim=None, name=name)
