"""The distribution of a network's activations, weights and latent codes."""

__version__ = "0.1.0"
