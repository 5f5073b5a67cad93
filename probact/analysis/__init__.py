"""Tensors in, numbers out."""

from probact.analysis import patterns
from probact.analysis.directional import DirectionalFit, directional_fit
from probact.analysis.frechet_distance import (
    FrechetDistance,
    extrapolated_frechet_distance,
    frechet_distance,
)
from probact.analysis.frequency_regression import FrequencyRegression, frequency_regression
from probact.analysis.information import (
    Complexity,
    Reading,
    complexity,
    relative_entropy,
    total_correlation,
)
from probact.analysis.memorisation import Memorisation, memorisation
from probact.analysis.partition_uncertainty import (
    ChainAgreement,
    CredibleBall,
    assignment_entropy,
    chain_agreement,
    credible_ball,
)
from probact.analysis.partitions import (
    adjusted_rand_index,
    binder_loss,
    random_rows,
    similarity_matrix,
    variation_of_information,
)
from probact.analysis.point_partition import PointPartition, point_partition
from probact.analysis.precision_recall import PrecisionRecall, Share, precision_recall
from probact.analysis.projection import Projection, singular_projection

__all__ = [
    "ChainAgreement",
    "Complexity",
    "CredibleBall",
    "DirectionalFit",
    "FrechetDistance",
    "FrequencyRegression",
    "Memorisation",
    "PointPartition",
    "PrecisionRecall",
    "Projection",
    "Reading",
    "Share",
    "adjusted_rand_index",
    "assignment_entropy",
    "binder_loss",
    "chain_agreement",
    "complexity",
    "credible_ball",
    "directional_fit",
    "extrapolated_frechet_distance",
    "frechet_distance",
    "frequency_regression",
    "memorisation",
    "patterns",
    "point_partition",
    "precision_recall",
    "random_rows",
    "relative_entropy",
    "similarity_matrix",
    "singular_projection",
    "total_correlation",
    "variation_of_information",
]
