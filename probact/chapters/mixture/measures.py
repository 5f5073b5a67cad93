"""What the chapter measures on the wide network.

Symbols: x (N, D) activations in their first D principal axes; y (N,) classes; z (N,) clusters.
"""

import math
import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor

from probact.analysis import (
    ChainAgreement,
    Complexity,
    Projection,
    Reading,
    adjusted_rand_index,
    chain_agreement,
    complexity,
    point_partition,
    relative_entropy,
    similarity_matrix,
    singular_projection,
)
from probact.distributions import NormalInverseWishart, PosteriorPredictive
from probact.inference import SamplingWarning, draws, sample
from probact.inference.arviz_bridge import convergence, groups_of
from probact.models import DPGMM, LogScore
from probact.study import Study

__all__ = ["Measures", "measure", "numbers"]

_VARIANCE_KEPT = 0.95
_SAMPLES = 1000


class Measures(NamedTuple):
    """Everything the chapter shows."""

    x: Tensor  # (N, D) of the fitting half
    labels: Tensor  # (N,) their classes
    variance_kept: float
    posterior: Any  # ArviZ object
    num_components: Tensor  # (S,) draws of K
    alpha: Tensor  # (S,)
    similarity: Tensor  # (N, N)
    partition: Tensor  # (N,) point estimate
    agreement: ChainAgreement
    rhat: float  # of K
    effective_draws: float  # of K
    rand_index: float  # of the point estimate with the classes
    scores: dict[str, LogScore]  # held-out log density by model
    complexity: Complexity  # of the occupied components
    with_new_component: Reading  # relative entropy of the predictive law of a next row
    scored: Tensor  # (M, D) of the scoring half
    scored_labels: Tensor  # (M,)
    samples: Tensor  # (samples, D)
    sample_labels: Tensor  # (samples,) by the network's head


def measure(study: Study) -> Measures:
    """Project, sample the posterior, read it, score it."""
    fitting, scoring = study.wide.fitting, study.wide.scoring
    assert fitting.labels is not None
    assert scoring.labels is not None
    mean = fitting.x.double().mean(0)
    projection = _principal_axes(fitting.x.double() - mean)
    axes, x = projection.directions.T, projection.scores  # (features, D), (N, D)
    scored = (scoring.x.double() - mean) @ axes
    model = DPGMM(NormalInverseWishart.from_data(x))
    posterior = _sample(model, x, study)
    rhat, ess = convergence(groups_of(posterior)["posterior"][["num_components"]].astype(float))
    z = draws(posterior, "z")
    partition = point_partition(z, loss="vi").labels
    predictive = model.predictive(posterior)
    occupied = model.predictive(posterior, new_component=False)
    samples = predictive.sample((_SAMPLES,), seed=study.seed)
    study.say("clusters compared with classes, held-out half scored")
    return Measures(
        x=x,
        labels=fitting.labels,
        variance_kept=projection.share,
        posterior=posterior,
        num_components=draws(posterior, "num_components"),
        alpha=draws(posterior, "alpha"),
        similarity=similarity_matrix(z),
        partition=partition,
        agreement=chain_agreement(posterior),
        rhat=float(rhat["num_components"]),
        effective_draws=float(ess["num_components"]),
        rand_index=adjusted_rand_index(partition, fitting.labels),
        scores=_scores(model, predictive, x, fitting.labels, scored),
        complexity=complexity(occupied, x, seed=study.seed),
        with_new_component=relative_entropy(predictive, x, seed=study.seed),
        scored=scored,
        scored_labels=scoring.labels,
        samples=samples,
        sample_labels=((samples @ axes.T + mean) @ study.wide.weight.double().T).argmax(1),
    )


def _sample(model: DPGMM, x: Tensor, study: Study) -> Any:
    """The posterior; R-hat and the effective sample size of K are in the text, not a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SamplingWarning)
        posterior = sample(
            model, x, draws=250, tune=150, thin=2, chains=2, seed=study.seed, progress=False
        )
    study.say(f"mixture of {len(x)} activations in {x.shape[1]} axes: 2 chains of 250 draws")
    return posterior


def _scores(
    model: DPGMM, predictive: PosteriorPredictive, x: Tensor, labels: Tensor, scored: Tensor
) -> dict[str, LogScore]:
    """Held-out log densities of the mixture and of what it should beat."""
    one = model.mixture(x, torch.zeros_like(labels), 1.0, new_component=False)
    classes = model.mixture(x, labels, 1.0, new_component=False)
    laws = {
        "one Gaussian": one,
        "one Gaussian per class": classes,
        "Dirichlet-process mixture": predictive,
    }
    return {name: _score(law.log_prob(scored)) for name, law in laws.items()}


def _principal_axes(centred: Tensor) -> Projection:
    """The first principal axes of centred rows (N, features) that hold the wanted variance."""
    share = torch.linalg.svdvals(centred).square().cumsum(0)
    dim = int((share < _VARIANCE_KEPT * share[-1]).sum()) + 1
    return singular_projection(centred, dim)


def _score(log_prob: Tensor) -> LogScore:
    return LogScore(float(log_prob.mean()), float(log_prob.std()) / len(log_prob) ** 0.5)


def numbers(m: Measures) -> dict[str, Any]:
    """The chapter's part of numbers.json."""
    return {
        "points": len(m.x),
        "axes": m.x.shape[1],
        "variance_kept": m.variance_kept,
        "num_components_rhat": m.rhat if math.isfinite(m.rhat) else None,
        "num_components_ess": m.effective_draws,
        "num_components_mean": float(m.num_components.double().mean()),
        "alpha_mean": float(m.alpha.mean()),
        "clusters_of_the_point_estimate": int(m.partition.max()) + 1,
        "rand_index_with_classes": m.rand_index,
        "rand_index_between_chains": float(m.agreement.rand_index[0, 1]),
        "held_out": {name: score._asdict() for name, score in m.scores.items()},
        "relative_entropy": _reading(m.complexity.relative_entropy),
        "relative_entropy_with_new_component": _reading(m.with_new_component),
        "total_correlation": _reading(m.complexity.total_correlation),
    }


def _reading(reading: Any) -> dict[str, float]:
    return {
        "mean": reading.mean,
        "minimum": reading.minimum,
        "maximum": reading.maximum,
        "standard_error": reading.standard_error,
    }
