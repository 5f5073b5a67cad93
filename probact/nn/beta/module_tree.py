r"""A second network on the same parameters: its own tree of modules, the tensors shared."""

import copy
from collections.abc import Callable
from types import MethodType
from typing import Any

from torch import nn

__all__ = ["carry_hooks", "shared_copy"]

Replace = Callable[[nn.Module], nn.Module | None]


def shared_copy(net: nn.Module, replace: Replace) -> nn.Module:
    """A network with modules, hooks and attributes of its own and the same tensors.

    Modules that occur twice in net occur twice in the copy. Modules in lists, tuples and
    dictionaries among the attributes, and bound methods of modules, are those of the copy; all
    else is shared. Hooks stay the same callables.

    Args:
        net: the network, unchanged.
        replace: the module to put in place of another one with what is below it, or None.

    Raises: TypeError for TorchScript.

    >>> net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    >>> twin = shared_copy(net, lambda m: nn.SiLU() if isinstance(m, nn.ReLU) else None)
    >>> twin[0].weight is net[0].weight, twin[1]
    (True, SiLU())
    """
    inside = {id(module) for module in net.modules()}
    return _copied(net, replace, inside, {})


def _copied(
    module: nn.Module, replace: Replace, inside: set[int], done: dict[int, nn.Module]
) -> nn.Module:
    if id(module) in done:
        return done[id(module)]
    other = replace(module)
    if other is not None:
        carry_hooks(module, other)
        done[id(module)] = other
        return other
    twin = done[id(module)] = type(module).__new__(type(module))

    def mapped(value: Any) -> Any:
        if isinstance(value, nn.Module):
            return _copied(value, replace, inside, done) if id(value) in inside else value
        if isinstance(value, MethodType) and isinstance(value.__self__, nn.Module):
            return MethodType(value.__func__, mapped(value.__self__))
        if isinstance(value, list | tuple):
            items = [mapped(item) for item in value]
            same = all(a is b for a, b in zip(items, value, strict=True))
            if same and isinstance(value, tuple):
                return value
            named = hasattr(value, "_fields")
            return type(value)(*items) if named else type(value)(items)
        if isinstance(value, dict):
            twin_dict = copy.copy(value)
            twin_dict.update({key: mapped(item) for key, item in value.items()})
            return twin_dict
        return value

    for name, value in vars(module).items():
        # hooks of one module may be methods of another one, outside or inside: left alone
        vars(twin)[name] = copy.copy(value) if "hook" in name else mapped(value)
    return twin


def carry_hooks(source: nn.Module, target: nn.Module) -> None:
    """Give target the hooks, the same callables, and the mode of source."""
    for name, value in vars(source).items():
        if "hook" in name:
            vars(target)[name] = copy.copy(value)
    target.train(source.training)
