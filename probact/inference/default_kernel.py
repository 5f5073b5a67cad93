"""Which kernel samples a model when the caller names none.

`default_kernel` dispatches on the class of the model. Models and inference do not import each
other, so a model's own kernel is registered where the two meet, above both, once at import:

    default_kernel.register(DPGMM, lambda model: CollapsedGibbs())
"""

from functools import singledispatch
from typing import Any

from pyro.infer import NUTS
from pyro.infer.mcmc.mcmc_kernel import MCMCKernel

from probact.inference.gibbs import GibbsKernel

__all__ = ["default_kernel"]


@singledispatch
def default_kernel(model: Any) -> MCMCKernel | GibbsKernel:
    """The kernel of `model`: NUTS (Hoffman and Gelman 2014) unless its class has its own.

    >>> type(default_kernel(lambda: None)).__name__
    'NUTS'
    """
    return NUTS(model)
