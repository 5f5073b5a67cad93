"""The kernel of each model that has one of its own: where models and inference meet."""

from probact.inference.default_kernel import default_kernel
from probact.inference.dirichlet import CollapsedGibbs, SplitMerge
from probact.inference.factorial_gibbs import FactorialGibbs
from probact.inference.gibbs import GibbsKernel, Sweep
from probact.inference.harmonium_gibbs import HarmoniumGibbs
from probact.inference.laplace import LaplaceGibbs
from probact.inference.laplace.head_gibbs import LaplaceHeadGibbs
from probact.inference.pattern_gibbs import PatternGibbs
from probact.models import (
    DPGMM,
    FactorialMixture,
    HarmoniumModel,
    LaplaceHead,
    LaplaceWeights,
    PatternMixture,
)

__all__: list[str] = []


@default_kernel.register
def _(model: DPGMM) -> GibbsKernel:
    """Collapsed Gibbs, then split-merge moves: single sites alone hardly open clusters."""
    return Sweep([CollapsedGibbs(), SplitMerge()])


@default_kernel.register
def _(model: FactorialMixture) -> GibbsKernel:
    """Codes given data, units that do not interact at once."""
    return FactorialGibbs()


@default_kernel.register
def _(model: HarmoniumModel) -> GibbsKernel:
    """Codes and inputs in turn."""
    return HarmoniumGibbs()


@default_kernel.register
def _(model: LaplaceHead) -> GibbsKernel:
    """Weights, their laws and the augmentation variables in turn, all exact."""
    return LaplaceHeadGibbs()


@default_kernel.register
def _(model: LaplaceWeights) -> GibbsKernel:
    """Rates and modes of all classes, and their regression where there is one."""
    return LaplaceGibbs()


@default_kernel.register
def _(model: PatternMixture) -> GibbsKernel:
    """Labels of all patterns at once, then weights and probabilities."""
    return PatternGibbs()
