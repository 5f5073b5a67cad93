"""Tensors in, numbers out."""

from probact.analysis import patterns, regions
from probact.analysis.calibration import (
    CalibrationError,
    ReliabilityCurve,
    calibration_error,
    calibration_error_difference,
    reliability_curve,
)
from probact.analysis.directional import DirectionalFit, directional_fit
from probact.analysis.frechet_distance import (
    FrechetDistance,
    extrapolated_frechet_distance,
    frechet_distance,
)
from probact.analysis.frequency_regression import (
    FrequencyRegression,
    frequency_regression,
    norm_regression,
)
from probact.analysis.information import (
    Complexity,
    Reading,
    complexity,
    relative_entropy,
    total_correlation,
)
from probact.analysis.memorisation import Memorisation, memorisation
from probact.analysis.out_of_distribution import (
    auroc,
    auroc_difference,
    energy_score,
    false_positive_rate,
    max_logit_score,
    max_probability_score,
    mutual_information,
    predictive_entropy,
)
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
from probact.analysis.prediction_scores import (
    Estimate,
    PredictionScores,
    crossed_mean,
    mean_over_rows,
    prediction_scores,
    row_scores,
    score_differences,
)
from probact.analysis.projection import Projection, singular_projection
from probact.analysis.rectified_fits import (
    ActiveSums,
    RectifiedFit,
    RectifiedTest,
    active_sums,
    fit_hurdle_folded,
    fit_hurdle_truncated,
    fit_rectified,
    rectified_test,
)

__all__ = [
    "ActiveSums",
    "CalibrationError",
    "ChainAgreement",
    "Complexity",
    "CredibleBall",
    "DirectionalFit",
    "Estimate",
    "FrechetDistance",
    "FrequencyRegression",
    "Memorisation",
    "PointPartition",
    "PrecisionRecall",
    "PredictionScores",
    "Projection",
    "Reading",
    "RectifiedFit",
    "RectifiedTest",
    "ReliabilityCurve",
    "Share",
    "active_sums",
    "adjusted_rand_index",
    "assignment_entropy",
    "auroc",
    "auroc_difference",
    "binder_loss",
    "calibration_error",
    "calibration_error_difference",
    "chain_agreement",
    "complexity",
    "credible_ball",
    "crossed_mean",
    "directional_fit",
    "energy_score",
    "extrapolated_frechet_distance",
    "false_positive_rate",
    "fit_hurdle_folded",
    "fit_hurdle_truncated",
    "fit_rectified",
    "frechet_distance",
    "frequency_regression",
    "max_logit_score",
    "max_probability_score",
    "mean_over_rows",
    "memorisation",
    "mutual_information",
    "norm_regression",
    "patterns",
    "point_partition",
    "precision_recall",
    "prediction_scores",
    "predictive_entropy",
    "random_rows",
    "rectified_test",
    "regions",
    "relative_entropy",
    "reliability_curve",
    "row_scores",
    "score_differences",
    "similarity_matrix",
    "singular_projection",
    "total_correlation",
    "variation_of_information",
]
