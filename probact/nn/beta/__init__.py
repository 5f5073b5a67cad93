"""Soft versions of the usual activations and poolings, and how to put them into a network."""
