"""Probability distributions that Pyro lacks, one per file."""

from probact.distributions.sphere_uniform import SphereUniform
from probact.distributions.von_mises_fisher import VonMisesFisher

__all__ = ["SphereUniform", "VonMisesFisher"]
