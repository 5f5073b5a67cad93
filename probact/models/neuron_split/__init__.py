"""A class's neurons split by their weights, and what the parts see."""

from probact.models.neuron_split.blur import blurred
from probact.models.neuron_split.bootstrap import Interval, bootstrap_mean
from probact.models.neuron_split.faithfulness import (
    ConfidenceChange,
    area_under,
    confidence_change,
    deletion_curve,
    insertion_curve,
)
from probact.models.neuron_split.gap_cam import gap_cam
from probact.models.neuron_split.neuron_tree import NeuronTree, Node
from probact.models.neuron_split.node_cam import node_cam
from probact.models.neuron_split.pruning import (
    PRUNING_METHODS,
    keep_only,
    prune_head,
    pruning_scores,
)
from probact.models.neuron_split.split_tree import CUTS, STOPS, split_tree
from probact.models.neuron_split.token_grid import token_grid

__all__ = [
    "CUTS",
    "PRUNING_METHODS",
    "STOPS",
    "ConfidenceChange",
    "Interval",
    "NeuronTree",
    "Node",
    "area_under",
    "blurred",
    "bootstrap_mean",
    "confidence_change",
    "deletion_curve",
    "gap_cam",
    "insertion_curve",
    "keep_only",
    "node_cam",
    "prune_head",
    "pruning_scores",
    "split_tree",
    "token_grid",
]
