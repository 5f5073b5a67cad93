"""Generative models, one per file: symbols, Pyro program, readings."""

from probact.models.activation_laws import (
    ActivationLaw,
    HeldOut,
    fit_activation_laws,
    held_out_log_density,
)
from probact.models.class_relations import ClassRelations
from probact.models.directional_model import DirectionalModel
from probact.models.dpgmm import DPGMM, LogScore
from probact.models.truncated_dpgmm import TruncatedDPGMM
from probact.models.vmf_classifier import VMFClassifier

__all__ = [
    "DPGMM",
    "ActivationLaw",
    "ClassRelations",
    "DirectionalModel",
    "HeldOut",
    "LogScore",
    "TruncatedDPGMM",
    "VMFClassifier",
    "fit_activation_laws",
    "held_out_log_density",
]
