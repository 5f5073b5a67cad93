"""Compiled loops over rows of float32 inputs of a soft gate, one steepness for each row."""
