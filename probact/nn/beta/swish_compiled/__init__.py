"""Compiled loops over rows of float32 inputs of a swish, one inverse temperature for each row."""
