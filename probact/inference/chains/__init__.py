"""Markov chains: which kernel, how they run, in one process or several, and what is kept."""
