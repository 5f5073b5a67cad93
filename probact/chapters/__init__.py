"""The chapters of the demo report: a module or package each, found by being here.

A chapter module has ORDER, a number that places it, and write(study) -> Chapter. Adding a chapter
is adding one here.
"""

import importlib
import pkgutil
from types import ModuleType

__all__ = ["all_chapters"]


def all_chapters() -> list[ModuleType]:
    """The chapter modules in the order of the report.

    >>> [module.__name__.rpartition(".")[2] for module in all_chapters()]
    ['penultimate', 'mixture', 'codes', 'regions', 'weights', 'patterns']
    """
    names = [info.name for info in pkgutil.iter_modules(__path__)]
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return sorted(modules, key=lambda module: float(module.ORDER))
