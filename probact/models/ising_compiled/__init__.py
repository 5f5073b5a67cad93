"""Compiled loops of the Ising model; functions here call only those of this folder."""
