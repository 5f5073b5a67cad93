"""The kernel of each model that has one of its own: where models and inference meet."""

from probact.inference.default_kernel import default_kernel
from probact.inference.dirichlet import CollapsedGibbs, SplitMerge
from probact.inference.gibbs import GibbsKernel, Sweep
from probact.models import DPGMM

__all__: list[str] = []


@default_kernel.register
def _(model: DPGMM) -> GibbsKernel:
    """Collapsed Gibbs, then split-merge moves: single sites alone hardly open clusters."""
    return Sweep([CollapsedGibbs(), SplitMerge()])
