"""Inference: Markov chains, variational fits, and the one exit of their draws, to ArviZ."""

from probact.inference.annealed_importance import (
    AnnealedEstimate,
    annealed_evidence,
    annealed_log_normalizer,
)
from probact.inference.arviz_bridge import compare, draws, from_draws, from_netcdf, to_netcdf
from probact.inference.chains.interrupts import Interrupted
from probact.inference.chains.pyro_kernel import as_pyro_kernel
from probact.inference.default_kernel import default_kernel
from probact.inference.diagnosis import SamplingWarning
from probact.inference.dirichlet import (
    CollapsedGibbs,
    Components,
    SliceGibbs,
    SplitMerge,
    components,
)
from probact.inference.factorial_gibbs import FactorialGibbs
from probact.inference.fit_result import Fit, load
from probact.inference.gibbs import GibbsKernel, Sweep
from probact.inference.harmonium_gibbs import HarmoniumGibbs
from probact.inference.laplace import LaplaceGibbs
from probact.inference.laplace.head_gibbs import LaplaceHeadGibbs
from probact.inference.laplace.head_guide import laplace_head_guide
from probact.inference.likelihood import log_likelihood
from probact.inference.pattern_gibbs import PatternGibbs
from probact.inference.sampling import resume, sample
from probact.inference.svi import fit
from probact.inference.training.failures import NonFiniteLoss

__all__ = [
    "AnnealedEstimate",
    "CollapsedGibbs",
    "Components",
    "FactorialGibbs",
    "Fit",
    "GibbsKernel",
    "HarmoniumGibbs",
    "Interrupted",
    "LaplaceGibbs",
    "LaplaceHeadGibbs",
    "NonFiniteLoss",
    "PatternGibbs",
    "SamplingWarning",
    "SliceGibbs",
    "SplitMerge",
    "Sweep",
    "annealed_evidence",
    "annealed_log_normalizer",
    "as_pyro_kernel",
    "compare",
    "components",
    "default_kernel",
    "draws",
    "fit",
    "from_draws",
    "from_netcdf",
    "laplace_head_guide",
    "load",
    "log_likelihood",
    "resume",
    "sample",
    "to_netcdf",
]
