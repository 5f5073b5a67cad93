"""Inputs between others in the space of activation patterns: midpoints and paths."""

from probact.analysis.midpoints.gate_scores import gate_scores
from probact.analysis.midpoints.midpoint_search import ALGORITHMS, Midpoints, find_midpoints
from probact.analysis.midpoints.pattern_paths import (
    PatternPath,
    conditional_geodesic,
    halved_path,
    path_of,
)
from probact.analysis.midpoints.realise import Realised, realise

__all__ = [
    "ALGORITHMS",
    "Midpoints",
    "PatternPath",
    "Realised",
    "conditional_geodesic",
    "find_midpoints",
    "gate_scores",
    "halved_path",
    "path_of",
    "realise",
]
