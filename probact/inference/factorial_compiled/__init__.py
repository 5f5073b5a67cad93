"""Compiled loops of the kernels on codes."""
