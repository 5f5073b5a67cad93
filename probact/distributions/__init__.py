"""Probability distributions that Pyro lacks, one per file."""

from probact.distributions.angular_gaussian import AngularGaussian
from probact.distributions.asymmetric_laplace import AsymmetricLaplace
from probact.distributions.chinese_restaurant_process import ChineseRestaurantProcess
from probact.distributions.geodesic import geodesic
from probact.distributions.harmonium import Harmonium
from probact.distributions.inverse_wishart import InverseWishart
from probact.distributions.laplace_hyperprior import LaplaceHyperprior, weak_hyperprior
from probact.distributions.normal_inverse_wishart import NormalInverseWishart
from probact.distributions.polya_gamma import PolyaGamma
from probact.distributions.posterior_predictive import PosteriorPredictive
from probact.distributions.power_spherical import PowerSpherical
from probact.distributions.product_partition import ProductPartition
from probact.distributions.rate_regression import RateRegressionPrior
from probact.distributions.rectified_normal import (
    HurdleFoldedNormal,
    HurdleTruncatedNormal,
    RectifiedNormal,
)
from probact.distributions.sphere_latent import rsample_with_kl
from probact.distributions.sphere_uniform import SphereUniform
from probact.distributions.student_t import DiagonalStudentT, MultivariateStudentT
from probact.distributions.student_t_mixture import DiagonalStudentTMixture, StudentTMixture
from probact.distributions.von_mises_fisher import VonMisesFisher

__all__ = [
    "AngularGaussian",
    "AsymmetricLaplace",
    "ChineseRestaurantProcess",
    "DiagonalStudentT",
    "DiagonalStudentTMixture",
    "Harmonium",
    "InverseWishart",
    "LaplaceHyperprior",
    "HurdleFoldedNormal",
    "HurdleTruncatedNormal",
    "MultivariateStudentT",
    "RectifiedNormal",
    "NormalInverseWishart",
    "PolyaGamma",
    "PosteriorPredictive",
    "PowerSpherical",
    "ProductPartition",
    "RateRegressionPrior",
    "SphereUniform",
    "StudentTMixture",
    "VonMisesFisher",
    "geodesic",
    "rsample_with_kl",
    "weak_hyperprior",
]
