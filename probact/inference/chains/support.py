"""Trajectories that leave the support of a site."""

from collections.abc import Iterator
from contextlib import contextmanager

from pyro.ops import integrator

__all__ = ["outside_support_diverges"]

_NAME = "probact: outside the support"
_VALIDATION = ("to be within the support", "to satisfy the constraint")  # torch's own words


@contextmanager
def outside_support_diverges() -> Iterator[None]:
    """In the block, a leapfrog step that a distribution's validation refuses is a divergence.

    Steps leave the support, or floating point's range, in the search for a first step size; there
    the density is zero, but a distribution that was built with validation raises.
    """
    integrator.register_exception_handler(_NAME, _is_validation, warn_on_overwrite=False)
    try:
        yield
    finally:
        integrator._EXCEPTION_HANDLERS.pop(_NAME, None)  # Pyro has no public way back


def _is_validation(error: Exception) -> bool:
    return isinstance(error, ValueError) and any(words in str(error) for words in _VALIDATION)
