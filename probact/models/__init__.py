"""Generative models, one per file: symbols, Pyro program, readings."""

from probact.models import distillation, neuron_split
from probact.models.activation_laws import (
    ActivationLaw,
    HeldOut,
    fit_activation_laws,
    held_out_log_density,
)
from probact.models.aggregate_posterior import AggregatePosterior
from probact.models.beta_bernoulli_patterns import BetaBernoulliPatterns
from probact.models.class_relations import ClassRelations
from probact.models.code_densities import CodeLaw, code_laws, product_of_marginals
from probact.models.dichotomised_gaussian import DichotomisedGaussian
from probact.models.directional_model import DirectionalModel
from probact.models.dpgmm import DPGMM, LogScore
from probact.models.evidence import ElboTerms, ImportanceEstimate
from probact.models.factorial_mixture import FactorialMixture
from probact.models.gaussian_head import GaussianHead
from probact.models.gaussian_vae import GaussianVAE
from probact.models.harmonium_model import HarmoniumModel
from probact.models.ising_patterns import IsingFit, IsingPatterns
from probact.models.laplace_head import LaplaceHead
from probact.models.laplace_weights import LaplaceWeights
from probact.models.layer_patches import layer_patches
from probact.models.pattern_mixture import PatternFit, PatternMixture
from probact.models.probit_patterns import ProbitPatterns
from probact.models.region_prior import (
    RegionPrior,
    gauge_from_offsets,
    offsets_from_weights,
    weights_from_offsets,
)
from probact.models.sphere_vae import SphereVAE
from probact.models.spline_mixture import SplineMixture
from probact.models.truncated_dpgmm import TruncatedDPGMM
from probact.models.vmf_classifier import VMFClassifier

__all__ = [
    "DPGMM",
    "ActivationLaw",
    "AggregatePosterior",
    "BetaBernoulliPatterns",
    "ClassRelations",
    "CodeLaw",
    "DichotomisedGaussian",
    "DirectionalModel",
    "ElboTerms",
    "FactorialMixture",
    "GaussianHead",
    "GaussianVAE",
    "HarmoniumModel",
    "HeldOut",
    "ImportanceEstimate",
    "IsingFit",
    "IsingPatterns",
    "LaplaceHead",
    "LaplaceWeights",
    "LogScore",
    "PatternFit",
    "PatternMixture",
    "ProbitPatterns",
    "RegionPrior",
    "SphereVAE",
    "SplineMixture",
    "TruncatedDPGMM",
    "VMFClassifier",
    "code_laws",
    "distillation",
    "fit_activation_laws",
    "gauge_from_offsets",
    "held_out_log_density",
    "layer_patches",
    "neuron_split",
    "offsets_from_weights",
    "product_of_marginals",
    "weights_from_offsets",
]
