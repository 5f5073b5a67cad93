"""Compiled loops over patterns; functions here call only those of this folder."""
