"""Compiled loops over packed bits."""
