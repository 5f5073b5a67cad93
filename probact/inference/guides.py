"""Which variational guide a fit uses, and the name under which `load` builds it again.

Recipes: "model" for the model's own `guide`, the class name of one of Pyro's autoguides, or
"custom" for the caller's object.
"""

from collections.abc import Callable, Mapping
from typing import Any

from pyro.infer import autoguide
from torch.nn import Module

from probact.inference.layout import Model, Site, latent_sites

__all__ = ["build_guide", "guide_from_recipe"]


def build_guide(
    model: Model, guide: Module | Callable[[Any], Any] | None, sites: Mapping[str, Site]
) -> tuple[str, Callable[..., Any]]:
    """Recipe and guide: the given one or what it builds, else the model's own, else AutoNormal.

    Raises: ValueError for a model without latent sites, a discrete site under AutoNormal, or a
    guide that is no module.
    >>> import pyro, pyro.distributions as dist
    >>> from probact.inference.layout import read_sites
    >>> model = lambda: pyro.sample("mu", dist.Normal(0.0, 1.0))
    >>> build_guide(model, None, read_sites(model, ()))[0]
    'AutoNormal'
    """
    latent = latent_sites(sites)
    if not latent:
        raise ValueError("model has no latent sites: there is nothing for a guide to fit")
    if guide is None:
        guide = getattr(model, "guide", None) or autoguide.AutoNormal
        if guide is not autoguide.AutoNormal:
            return "model", guide
        discrete = [name for name, site in latent.items() if site.fn.support.is_discrete]
        if discrete:
            raise ValueError(
                f"AutoNormal cannot fit the discrete sites {discrete}; pass guide= and an"
                " enumerating loss=, or use sample with a kernel"
            )
    if isinstance(guide, Module):
        return "custom", guide
    if not callable(guide):
        raise ValueError(f"guide must be a module or build one, got {type(guide).__name__}")
    built = guide(model)
    if not isinstance(built, Module):
        raise ValueError(f"guide must build a torch module, it built {type(built).__name__}")
    return _recipe(guide), built


def _recipe(guide: Any) -> str:
    """Name of an autoguide class that takes the model alone; "custom" for other functions."""
    name = str(getattr(guide, "__name__", ""))
    return name if getattr(autoguide, name, None) is guide else "custom"


def guide_from_recipe(recipe: str, model: Model, guide: Any) -> Any:
    """The guide of a saved fit, its parameters not yet loaded.

    Raises: ValueError when the recipe is custom and no guide is given, or is unknown.
    >>> type(guide_from_recipe("AutoDelta", lambda: None, None)).__name__
    'AutoDelta'
    """
    if recipe == "model":
        built = getattr(model, "guide", None)
    elif recipe == "custom":
        built = guide if guide is None or isinstance(guide, Module) else guide(model)
    else:
        built = getattr(autoguide, recipe)(model) if recipe in autoguide.__all__ else None
    if not callable(built):
        where = {"model": "the model has none", "custom": "pass guide= as to fit"}
        raise ValueError(f"the saved fit needs a guide ({recipe}): {where.get(recipe, 'unknown')}")
    return built
