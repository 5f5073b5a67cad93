"""Asymmetric Laplace fits of a layer's weights, one row per class."""

from probact.analysis.laplace_fits.ald_fit import ALDFit
from probact.analysis.laplace_fits.bootstrap import bootstrap_covariance
from probact.analysis.laplace_fits.family_comparison import (
    FAMILIES,
    FamilyComparison,
    compare_families,
)
from probact.analysis.laplace_fits.family_fits import FamilyFit, family_law, fit_family
from probact.analysis.laplace_fits.fisher import asymptotic_covariance, fisher_information
from probact.analysis.laplace_fits.fit_distance import FitDistance, fit_distance
from probact.analysis.laplace_fits.goodness_of_fit import (
    GoodnessOfFit,
    distance_quantile,
    goodness_of_fit,
)
from probact.analysis.laplace_fits.mle import fit_asymmetric_laplace
from probact.analysis.laplace_fits.rank_regression import RankRegression, rank_log_regression
from probact.analysis.laplace_fits.spikes import (
    RepeatedValue,
    dead_features,
    most_repeated_value,
)

__all__ = [
    "FAMILIES",
    "ALDFit",
    "FamilyComparison",
    "FamilyFit",
    "FitDistance",
    "GoodnessOfFit",
    "RankRegression",
    "RepeatedValue",
    "asymptotic_covariance",
    "bootstrap_covariance",
    "compare_families",
    "dead_features",
    "distance_quantile",
    "family_law",
    "fisher_information",
    "fit_asymmetric_laplace",
    "fit_distance",
    "fit_family",
    "goodness_of_fit",
    "most_repeated_value",
    "rank_log_regression",
]
