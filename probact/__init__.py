"""What is the distribution of a network's activations, weights and latent codes?

Hand in a network or tensors; get a generative model as a Pyro program, its posterior as ArviZ
reads it, and new activations or codes.
"""

from importlib.metadata import version as _version

import probact.default_kernels  # noqa: F401, registers
from probact import analysis, datasets, distributions, inference, models, nn, plots
from probact.inference import fit, load, sample
from probact.networks import Features, Head, capture, find_head

__version__ = _version("probact")

__all__ = [
    "Features",
    "Head",
    "__version__",
    "analysis",
    "capture",
    "datasets",
    "distributions",
    "find_head",
    "fit",
    "inference",
    "load",
    "models",
    "nn",
    "plots",
    "sample",
]
