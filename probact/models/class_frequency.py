"""How often classes occur in training, and how the tails of their weights follow it."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from probact.analysis.meta_regression import MetaRegression
from probact.arrays import as_tensor
from probact.models.posterior_draws import posterior_draws

__all__ = ["as_log_frequency", "frequency_effects"]

_SMALLEST_SPREAD = 0.05  # of log n_k: below it a slope says nothing


def as_log_frequency(counts: Any, num_classes: int) -> Tensor:
    """log n_k less its mean (K,), float64, of counts (K,) > 0.

    Raises:
        TypeError: no array.
        ValueError: another shape, not finite or not > 0, or classes so even (a standard deviation
            of log n_k below 0.05) that their counts explain nothing.

    >>> as_log_frequency([1, 10, 100], 3)
    tensor([-2.3026,  0.0000,  2.3026], dtype=torch.float64)
    """
    n = as_tensor(counts, "counts").double()
    if n.shape != (num_classes,):
        got = tuple(n.shape)
        raise ValueError(f"counts must be one per class, ({num_classes},), got shape {got}")
    wrong = ~(torch.isfinite(n) & (n > 0))
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise ValueError(f"counts must be finite and > 0, got {n[row].item()!r} for class {row}")
    z = n.log() - n.log().mean()
    if float(z.std(correction=0)) < _SMALLEST_SPREAD:
        raise ValueError(
            f"counts vary too little to explain anything: the standard deviation of their "
            f"logarithms is {float(z.std(correction=0)):.3g}, at least {_SMALLEST_SPREAD} is "
            "needed; leave counts out"
        )
    return z


def frequency_effects(posterior: Any, prob: float, norms: MetaRegression) -> pd.DataFrame:
    """Rows log r, log l, log lambda, log kappa, and log norm as regressed already.

    See `LaplaceWeights.frequency_effects`.
    """
    found = posterior_draws(posterior, {"slope_right": (), "slope_left": ()})
    right, left = (x.numpy() for x in found.values())
    if len(right) < 2:
        raise ValueError(f"posterior must hold at least two draws, got {len(right)}")
    effects = {
        "log_rate_right": right,
        "log_rate_left": left,
        "log_lambda": 0.5 * (right + left),
        "log_kappa": 0.5 * (right - left),
    }
    tail = 50.0 * (1.0 - prob)
    rows = {
        name: (x.mean(), x.std(ddof=1), *np.percentile(x, [tail, 100.0 - tail]))
        for name, x in effects.items()
    }
    rows["log_norm"] = norms.slope, norms.standard_error, norms.low, norms.high
    return pd.DataFrame.from_dict(rows, orient="index", columns=["mean", "sd", "low", "high"])
