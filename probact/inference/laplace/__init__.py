"""Gibbs kernels of asymmetric Laplace laws."""

from probact.inference.laplace.head_gibbs import LaplaceHeadGibbs
from probact.inference.laplace.laplace_gibbs import LaplaceGibbs
from probact.inference.laplace.sweep import draw_parameters

__all__ = ["LaplaceGibbs", "LaplaceHeadGibbs", "draw_parameters"]
