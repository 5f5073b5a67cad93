"""Compiled draws of Polya-Gamma laws, one tilt for each."""
