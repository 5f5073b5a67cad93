"""What the chapter measures on both networks.

Symbols: x (N, D) raw activations, a their directions; y (N,) labels; C classes; kappa (S, C) draws
of the concentrations of vMF(mu_i, kappa_i).
"""

import warnings
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from probact.analysis import DirectionalFit, directional_fit
from probact.capturing import Features
from probact.inference import draws, sample
from probact.law_comparison import compare_by_posterior, concentration_prior
from probact.models import (
    ActivationLaw,
    ClassRelations,
    HeldOut,
    VMFClassifier,
    fit_activation_laws,
    held_out_log_density,
)
from probact.study import Study, TrainedNet

__all__ = ["Measures", "NetMeasures", "labelled", "measure", "numbers"]

_SAMPLES = 100  # activations drawn per class
_RELATION_DRAWS = 10_000


class NetMeasures(NamedTuple):
    """Laws of one network's activations, fitted and scored on different halves."""

    net: TrainedNet
    dim: int
    laws: dict[str, ActivationLaw]
    scores: dict[str, HeldOut]
    readings: DirectionalFit  # of the scoring half against the tied vMF

    @property
    def kappa(self) -> float:
        """Concentration of the tied vMF."""
        return float(self.laws["tied vMF"].parameters[1][0])


class Measures(NamedTuple):
    """Everything the chapter shows."""

    planar: NetMeasures
    wide: NetMeasures
    loo: pd.DataFrame  # of inference.compare, wide network
    posterior: Any  # ArviZ object, one kappa per class, wide network
    relations: ClassRelations
    samples: Tensor  # (C, samples, D) posterior predictive activations
    bayes_accuracy: float  # of the fitted law on the scoring half
    own_class_share: float  # of the samples, by the head


def labelled(features: Features) -> tuple[Tensor, Tensor]:
    """Unit activations a (N, D) and labels y (N,)."""
    unit = features.unit()
    assert unit.labels is not None
    return unit.x, unit.labels


def measure(study: Study) -> Measures:
    """Fit and score the laws, draw the posterior, relate the classes, sample activations."""
    planar, wide = (_measure_net(net, study) for net in (study.planar, study.wide))
    a, y = labelled(study.wide.fitting)
    weight, names = study.wide.weight, study.class_names
    with warnings.catch_warnings():  # Pareto k is a column of the table
        warnings.filterwarnings("ignore", message="Estimated shape parameter of Pareto")
        loo = compare_by_posterior(a, y, weight, draws=500, seed=study.seed).table
    study.say("laws compared by leave-one-out; sampling kappa with NUTS")
    prior = concentration_prior(wide.dim).expand([len(weight)])
    model = VMFClassifier(weight, prior, class_names=names)
    posterior = sample(
        model, (a, y), draws=500, tune=300, chains=2, seed=study.seed, progress=False
    )
    kappa = draws(posterior, "concentration")
    study.say(f"posterior of kappa: {len(kappa)} draws")
    vmf = VMFClassifier(weight, kappa.mean(0), class_names=names)
    relations = vmf.estimate_class_relations(_RELATION_DRAWS, seed=study.seed)
    study.say(f"class relations from {_RELATION_DRAWS} draws a class")
    samples = _predictive_samples(vmf, kappa, study.seed)
    scored, truth = labelled(study.wide.scoring)
    assigned = (samples @ weight.T).argmax(-1)  # (C, samples)
    own = assigned == torch.arange(len(weight)).unsqueeze(1)
    right = vmf.class_posterior(scored, kappa).argmax(1) == truth
    shares = float(right.double().mean()), float(own.double().mean())
    return Measures(planar, wide, loo, posterior, relations, samples, *shares)


def _measure_net(net: TrainedNet, study: Study) -> NetMeasures:
    laws = fit_activation_laws(*labelled(net.fitting), net.weight)
    scores = held_out_log_density(laws, *labelled(net.scoring))
    kappa = float(laws["tied vMF"].parameters[1][0])
    assert net.scoring.labels is not None
    readings = directional_fit(net.scoring.x, net.scoring.labels, net.weight, kappa)
    dim = int(net.weight.shape[1])
    study.say(f"D = {dim}: {len(laws)} laws fitted and scored")
    return NetMeasures(net, dim, laws, scores, readings)


def _predictive_samples(vmf: VMFClassifier, kappa: Tensor, seed: int) -> Tensor:
    """Activations (C, samples, D), each from its own draw of kappa."""
    chosen = kappa[torch.linspace(0, len(kappa) - 1, _SAMPLES).long()]
    labels = torch.arange(vmf.num_classes)
    drawn = vmf.sample_activations(labels, _SAMPLES, concentration=chosen, seed=seed)
    return drawn.transpose(0, 1).contiguous()


def numbers(m: Measures) -> dict[str, Any]:
    """The chapter's part of numbers.json."""
    nets = {f"D={net.dim}": net for net in (m.planar, m.wide)}
    return {
        "accuracy": {name: net.net.accuracy for name, net in nets.items()},
        "kappa": {name: net.kappa for name, net in nets.items()},
        "held_out": {
            name: {law: score._asdict() for law, score in net.scores.items()}
            for name, net in nets.items()
        },
        "readings": {name: net.readings._asdict() for name, net in nets.items()},
        "elpd_loo": {str(law): float(value) for law, value in m.loo["elpd"].items()},
        "kappa_by_class": draws(m.posterior, "concentration").mean(0).tolist(),
        "bayes_accuracy": m.bayes_accuracy,
        "samples_of_own_class": m.own_class_share,
        "class_relations_largest_error": float(m.relations.standard_error.max()),
    }
