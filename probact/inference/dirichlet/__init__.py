"""Kernels of Dirichlet-process Gaussian mixtures, their components summed out."""

from probact.inference.dirichlet.collapsed_gibbs import CollapsedGibbs
from probact.inference.dirichlet.components import Components, components
from probact.inference.dirichlet.slice_gibbs import SliceGibbs
from probact.inference.dirichlet.split_merge import SplitMerge

__all__ = ["CollapsedGibbs", "Components", "SliceGibbs", "SplitMerge", "components"]
