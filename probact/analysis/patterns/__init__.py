"""Activation patterns: the 0/1 code of a network, recorded, replayed, packed and compared."""

from probact.analysis.patterns.activation_probabilities import (
    ActivationProbabilities,
    LayerActivity,
    activation_probabilities,
)
from probact.analysis.patterns.adversarial import (
    AdversarialLayer,
    adversarial_report,
    fast_gradient_sign,
)
from probact.analysis.patterns.bernoulli_tests import (
    BernoulliTest,
    MarginalTest,
    bernoulli_test,
    marginal_test,
)
from probact.analysis.patterns.collecting import collect
from probact.analysis.patterns.constellations import (
    Constellations,
    constellations,
    strict_constellations,
)
from probact.analysis.patterns.dependence import DependenceTest, dependence_test
from probact.analysis.patterns.gates import Gate, Pattern
from probact.analysis.patterns.hamming import (
    condensed_hamming,
    hamming,
    hamming_blocks,
    hamming_counts,
    weighted_hamming,
)
from probact.analysis.patterns.hyperplanes import (
    HyperplaneTest,
    expected_sign_agreement,
    hyperplane_distances,
    hyperplane_test,
    sign_agreement,
)
from probact.analysis.patterns.mean_field import (
    InputMoments,
    input_moments,
    mean_field_correlations,
)
from probact.analysis.patterns.normalisation import (
    NORMALISATIONS,
    NormalisedLayer,
    normalisation_report,
    normalised_mlp,
)
from probact.analysis.patterns.packed_patterns import PackedPatterns, PatternLayer
from probact.analysis.patterns.pattern_neighbours import (
    NeighbourAgreement,
    hamming_neighbours,
    neighbour_agreement,
)
from probact.analysis.patterns.predictive_checks import PredictiveCheck, predictive_check
from probact.analysis.patterns.probability_law import ProbabilityLaw, distance_to_uniform
from probact.analysis.patterns.recording import Recording, pattern_at, record
from probact.analysis.patterns.replaying import Replay, check_affine, frozen, replay
from probact.analysis.patterns.score_moments import ScoreMoments, score_moments

__all__ = [
    "ActivationProbabilities",
    "AdversarialLayer",
    "BernoulliTest",
    "Constellations",
    "DependenceTest",
    "Gate",
    "HyperplaneTest",
    "InputMoments",
    "LayerActivity",
    "MarginalTest",
    "NORMALISATIONS",
    "NeighbourAgreement",
    "NormalisedLayer",
    "PackedPatterns",
    "Pattern",
    "PatternLayer",
    "PredictiveCheck",
    "ProbabilityLaw",
    "Recording",
    "Replay",
    "ScoreMoments",
    "activation_probabilities",
    "adversarial_report",
    "bernoulli_test",
    "check_affine",
    "collect",
    "condensed_hamming",
    "constellations",
    "dependence_test",
    "distance_to_uniform",
    "expected_sign_agreement",
    "fast_gradient_sign",
    "frozen",
    "hamming",
    "hamming_blocks",
    "hamming_counts",
    "hamming_neighbours",
    "hyperplane_distances",
    "hyperplane_test",
    "input_moments",
    "marginal_test",
    "mean_field_correlations",
    "neighbour_agreement",
    "normalisation_report",
    "normalised_mlp",
    "pattern_at",
    "predictive_check",
    "record",
    "replay",
    "score_moments",
    "sign_agreement",
    "strict_constellations",
    "weighted_hamming",
]
