"""Probability distributions that Pyro lacks, one per file."""

from probact.distributions.angular_gaussian import AngularGaussian
from probact.distributions.power_spherical import PowerSpherical
from probact.distributions.sphere_uniform import SphereUniform
from probact.distributions.von_mises_fisher import VonMisesFisher

__all__ = ["AngularGaussian", "PowerSpherical", "SphereUniform", "VonMisesFisher"]
