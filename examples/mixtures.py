"""
Fitting a Dirichlet-process mixture, and how complex it is
==========================================================

What the examples with Gaussian mixtures share: a short run of the default sampler under the prior
of Jamroz, Kurdziel & Opala (2020), and the readings of a posterior. Readings are taken from every
kept draw, and come as mean, smallest and largest over the draws: that is the spread of the
posterior, not an error of the data or of the networks behind it.
"""

import warnings
from typing import Any, NamedTuple

import arviz as az
import numpy as np
from torch import Tensor

import probact as pa
from probact.inference import CollapsedGibbs, SplitMerge, Sweep
from probact.inference.diagnosis import SamplingWarning

__all__ = ["Fitted", "Run", "complexity", "fit", "rhat_in_words", "spread"]


class Run(NamedTuple):
    """Length of the chains, and how much is read from them."""

    draws: int = 500
    tune: int = 500
    chains: int = 2
    kept: int = 25  # draws that are read
    num_samples: int = 20_000  # points drawn from each of them
    moves: int | None = None  # split-merge moves a sweep, None for the default kernel
    likeliest: bool = False  # read only the chain of the highest mean log joint density
    seed: int = 0


class Fitted(NamedTuple):
    """A posterior, and the predictive mixtures of its kept draws."""

    model: Any
    posterior: Any
    predictive: Any
    rhat: float | None  # of the number of components; None for one chain


def fit(x: Tensor, run: Run, **options: Any) -> Fitted:
    """The DP-GMM of rows x (N, D) with the prior from the data; disagreeing chains do not stop it.

    `options` go to `pa.sample`.
    """
    model = pa.models.DPGMM(pa.distributions.NormalInverseWishart.from_data(x))
    if run.moves is not None:
        options["kernel"] = Sweep([CollapsedGibbs(), SplitMerge(moves=run.moves)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SamplingWarning)  # R-hat is reported instead
        posterior = pa.sample(
            model, x, draws=run.draws, tune=run.tune, chains=run.chains, seed=run.seed, **options
        )
    rhat = _rhat(posterior)
    if run.likeliest:
        best = int(posterior["sample_stats"]["lp"].mean("draw").values.argmax())
        posterior = posterior.isel(chain=[best])
    predictive = model.predictive(posterior, max_draws=run.kept)
    return Fitted(model, posterior, predictive, rhat)


def _rhat(posterior: Any) -> float | None:
    values = posterior.posterior["num_components"].values
    if len(values) < 2:
        return None
    return 1.0 if np.ptp(values) == 0 else float(az.rhat(values))


def complexity(fitted: Fitted, x: Tensor, run: Run) -> dict[str, Any]:
    """Relative entropy and total correlation (nats) of the mixture of every kept draw.

    They are those of the occupied components, as in the paper. The term of a component not seen
    yet, alpha / (alpha + N) of the predictive law, has a spread hundreds of times that of the
    data; with few points it alone would make most of the relative entropy, which is given beside.
    """
    options = {"num_samples": run.num_samples, "seed": run.seed}
    known = fitted.model.predictive(fitted.posterior, max_draws=run.kept, new_component=False)
    found = pa.analysis.complexity(known, x, **options)
    whole = pa.analysis.relative_entropy(fitted.predictive, x, **options)
    draws = fitted.posterior.posterior
    return {
        "relative_entropy": spread(found.relative_entropy.per_draw),
        "total_correlation": spread(found.total_correlation.per_draw),
        "relative_entropy_with_new": spread(whole.per_draw),
        "num_components": spread(draws["num_components"].values.ravel()),
        "alpha": spread(draws["alpha"].values.ravel()),
        "rhat": fitted.rhat,
    }


def spread(values: Any) -> dict[str, float]:
    """Mean, smallest and largest.

    >>> spread([1.0, 2.0, 6.0])
    {'mean': 3.0, 'min': 1.0, 'max': 6.0}
    """
    array = np.asarray(values, dtype=float)
    low, high = float(array.min()), float(array.max())
    return {"mean": min(max(float(array.mean()), low), high), "min": low, "max": high}


def rhat_in_words(rhat: float | None) -> str:
    """R-hat for a table.

    >>> rhat_in_words(None)
    '-'
    """
    return "-" if rhat is None else f"{rhat:.2f}"
