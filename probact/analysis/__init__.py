"""Tensors in, numbers out."""

from probact.analysis.directional import DirectionalFit, directional_fit

__all__ = ["DirectionalFit", "directional_fit"]
