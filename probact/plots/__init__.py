"""Figures: arrays and an Axes in, the Axes out; nothing is computed, shown or saved."""

from probact.plots.calibration import plot_against_size, plot_reliability, plot_scores
from probact.plots.cam import cam_grid
from probact.plots.circle import CircleStage, plot_circle_activations, plot_training_stages
from probact.plots.class_rates import plot_rates_across_classes
from probact.plots.comparison import plot_law_comparison
from probact.plots.complexity import plot_complexity
from probact.plots.concentration import plot_concentration_posterior
from probact.plots.cosines import plot_cosine_marginal
from probact.plots.images import image_grid
from probact.plots.linear_regions import (
    plot_line_flips,
    plot_map_spectra,
    plot_noise_angles,
    plot_plane_slice,
    plot_region_sizes,
)
from probact.plots.pattern_models import (
    plot_component_probabilities,
    plot_count_law,
    plot_predictive_checks,
)
from probact.plots.patterns import (
    plot_active_values,
    plot_constellations,
    plot_distance_counts,
    plot_layer_distances,
    plot_probabilities,
    plot_probability_variances,
)
from probact.plots.projection import plot_projected_activations
from probact.plots.pruning import plot_pruning
from probact.plots.regions import plot_against_beta, plot_region_prior, plot_soft_partition
from probact.plots.relations import plot_class_relations
from probact.plots.similarity import plot_similarity
from probact.plots.split_tree import plot_split_tree
from probact.plots.weight_ranks import plot_log_survival, plot_rank_log
from probact.plots.weights import plot_pit_ecdf, plot_weight_density, plot_weight_qq

__all__ = [
    "CircleStage",
    "cam_grid",
    "image_grid",
    "plot_active_values",
    "plot_against_beta",
    "plot_against_size",
    "plot_circle_activations",
    "plot_class_relations",
    "plot_complexity",
    "plot_component_probabilities",
    "plot_concentration_posterior",
    "plot_count_law",
    "plot_constellations",
    "plot_cosine_marginal",
    "plot_distance_counts",
    "plot_law_comparison",
    "plot_layer_distances",
    "plot_line_flips",
    "plot_log_survival",
    "plot_map_spectra",
    "plot_noise_angles",
    "plot_pit_ecdf",
    "plot_plane_slice",
    "plot_probabilities",
    "plot_predictive_checks",
    "plot_probability_variances",
    "plot_projected_activations",
    "plot_pruning",
    "plot_rank_log",
    "plot_rates_across_classes",
    "plot_region_prior",
    "plot_region_sizes",
    "plot_reliability",
    "plot_scores",
    "plot_similarity",
    "plot_soft_partition",
    "plot_split_tree",
    "plot_training_stages",
    "plot_weight_density",
    "plot_weight_qq",
]
