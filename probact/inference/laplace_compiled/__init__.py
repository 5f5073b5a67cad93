"""Compiled loops of the kernels on asymmetric Laplace laws."""
