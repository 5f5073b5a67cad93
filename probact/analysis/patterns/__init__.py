"""Activation patterns: the 0/1 code of a network, recorded, replayed, packed and compared."""

from probact.analysis.patterns.activation_probabilities import (
    ActivationProbabilities,
    LayerActivity,
    activation_probabilities,
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
from probact.analysis.patterns.packed_patterns import PackedPatterns, PatternLayer
from probact.analysis.patterns.predictive_checks import PredictiveCheck, predictive_check
from probact.analysis.patterns.recording import Recording, pattern_at, record
from probact.analysis.patterns.replaying import Replay, check_affine, frozen, replay

__all__ = [
    "ActivationProbabilities",
    "BernoulliTest",
    "Constellations",
    "DependenceTest",
    "Gate",
    "LayerActivity",
    "MarginalTest",
    "PackedPatterns",
    "Pattern",
    "PatternLayer",
    "PredictiveCheck",
    "Recording",
    "Replay",
    "activation_probabilities",
    "bernoulli_test",
    "check_affine",
    "collect",
    "condensed_hamming",
    "constellations",
    "dependence_test",
    "frozen",
    "hamming",
    "hamming_blocks",
    "hamming_counts",
    "marginal_test",
    "pattern_at",
    "predictive_check",
    "record",
    "replay",
    "strict_constellations",
    "weighted_hamming",
]
