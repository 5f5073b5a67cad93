"""Inference: Markov chains, variational fits, and the one exit of their draws, to ArviZ."""

from probact.inference.arviz_bridge import compare, draws, from_draws, from_netcdf, to_netcdf
from probact.inference.default_kernel import default_kernel
from probact.inference.diagnosis import SamplingWarning
from probact.inference.fit_result import Fit, load
from probact.inference.likelihood import log_likelihood
from probact.inference.sampling import sample
from probact.inference.svi import fit

__all__ = [
    "Fit",
    "SamplingWarning",
    "compare",
    "default_kernel",
    "draws",
    "fit",
    "from_draws",
    "from_netcdf",
    "load",
    "log_likelihood",
    "sample",
    "to_netcdf",
]
