"""Orthogonal filters throughout a network, and a record of where they could not be had."""

from collections.abc import Collection
from typing import Literal, NamedTuple, get_args

from torch import nn
from torch.nn.utils import parametrize

from probact.nn.orthogonal.filters import Level, Norm, check_one_of, orthogonalize

__all__ = ["OrthogonalNetwork", "orthogonalize_network"]


class OrthogonalNetwork(NamedTuple):
    """What `orthogonalize_network` did, by the names of `named_modules`."""

    taken: tuple[str, ...]
    left: dict[str, str]  # why each other module that holds a matrix was left as it is


def orthogonalize_network(
    net: nn.Module,
    *,
    skip: Collection[str] = (),
    level: Level = "filters",
    norm: Norm = "residual",
    groups: int | Literal["auto"] | None = None,
) -> OrthogonalNetwork:
    """Orthogonalize every linear and convolutional layer of a network that can be.

    Args:
        skip: names of modules that stay as they are, with all that is inside them: the
            classifier, as a rule.
        level, norm, groups: as in `orthogonalize`.

    Returns: names of the layers taken, and of all others that hold a matrix with the reason:
    skipped, not a linear or convolutional layer, a weight shared with another layer, or what
    `orthogonalize` says. Read it: a layer with K > D is left unless `groups` is given.

    Raises: TypeError if net is no module; ValueError for a name in `skip` that no module has, and
    for an unknown option.

    >>> net = nn.Sequential(nn.Conv2d(1, 12, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 10))
    >>> orthogonalize_network(net, skip=["3"]).left["0"]
    'weight has 12 rows of 9 dimensions, which cannot be orthogonal: pass groups="auto"'
    """
    if not isinstance(net, nn.Module):
        raise TypeError(f"net must be a torch.nn.Module, got {type(net).__name__}")
    if isinstance(skip, str):
        raise TypeError(f"skip must be a list of names, got {skip!r}")
    check_one_of(norm, get_args(Norm), "norm")
    check_one_of(level, get_args(Level), "level")
    modules = dict(net.named_modules())
    unknown = sorted(set(skip) - set(modules))
    if unknown:
        raise ValueError(f"skip names {', '.join(unknown)}: the network has no such module")
    shared = _shared(modules)
    taken, left = [], {}
    for name, module in modules.items():
        if not _holds_matrix(module) or isinstance(module, parametrize.ParametrizationList):
            continue
        if any(name == s or name.startswith(f"{s}.") for s in skip):
            left[name] = "skipped"
        elif name in shared:
            left[name] = f"shares its weight with {shared[name]}"
        else:
            try:
                orthogonalize(module, level=level, norm=norm, groups=groups)
                taken.append(name)
            except (TypeError, ValueError) as error:
                left[name] = str(error)
    return OrthogonalNetwork(tuple(taken), left)


def _holds_matrix(module: nn.Module) -> bool:
    own = any(p.ndim > 1 for p in module.parameters(recurse=False))
    return own or parametrize.is_parametrized(module, "weight")


def _shared(modules: dict[str, nn.Module]) -> dict[str, str]:
    """For every module whose weight another one holds too, that one's name."""
    owners: dict[int, list[str]] = {}
    for name, module in modules.items():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(name)
    pairs = [names for names in owners.values() if len(names) > 1]
    return {name: names[1 if i == 0 else 0] for names in pairs for i, name in enumerate(names)}
