r"""How a layer's asymmetric Laplace fits go with the frequency of the classes, in two stages.

Symbols: J layers (models) of weights theta_k, K classes of n weights; n_k training examples of
class k; r and l right and left rate, lambda = sqrt(r l), kappa = sqrt(r / l).

First the fits, whose logarithms have the sampling variances (see `laplace_fits.fisher`)

    log r: 1 / (n p_R),  log l: 1 / (n p_L),  log lambda and log kappa: (1/p_R + 1/p_L) / (4 n)

then a meta-regression of each on log n_k, with an intercept for each model and a variance between
classes (`meta_regression`). The logarithm of the norm |theta_k| stands beside them always: that
norms grow with frequency is known (Kang et al. 2020; Alshammari et al. 2022), and a scale that
falls as the norm grows says nothing more. Its sampling variance is by the delta method,
(mean theta^4 / (mean theta^2)^2 - 1) / (4 n). All of them take the weights of a row as draws.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from probact.analysis.laplace_fits import fit_asymmetric_laplace
from probact.analysis.laplace_fits.weight_rows import as_weight_rows
from probact.analysis.meta_regression import Floats, MetaRegression, meta_regression
from probact.arrays import as_number, as_tensor, check_count, check_finite, check_seed

__all__ = ["FrequencyRegression", "frequency_regression", "norm_regression"]

_LEAST_VARIANCE = 1e-12  # of log |theta_k|: where all weights of a row are of one size
RESPONSES = ("log_rate_right", "log_rate_left", "log_lambda", "log_kappa", "log_norm")


@dataclass(frozen=True, eq=False)
class FrequencyRegression:
    """Slopes of five responses on log n_k; `log_norm` is the baseline."""

    fits: dict[str, MetaRegression]
    r_squared: dict[str, float]  # share of the spread within models, by plain least squares
    p_value: dict[str, float]  # of no slope, by permuting the classes
    estimates: pd.DataFrame  # a row per model and class: count, responses, their se_
    level: float

    def to_frame(self) -> pd.DataFrame:
        """A row per response: slope, standard error, interval, R^2, p-value, spreads."""
        rows = {
            name: {
                "slope": fit.slope,
                "se": fit.standard_error,
                "low": fit.low,
                "high": fit.high,
                "r_squared": self.r_squared[name],
                "p_value": self.p_value[name],
                "sd_between": fit.sd_between,
                "sd_class": fit.sd_class,
            }
            for name, fit in self.fits.items()
        }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("response")

    def rates(self, counts: Any, model: int = 0) -> tuple[Tensor, Tensor]:
        """r and l (K,) that the slopes and a model's intercepts give for counts (K,) > 0.

        They are what `probact.nn.ald_penalty` takes to penalise classes by their frequency.

        Raises: ValueError for counts that are not (K,) and positive, or no such model.
        """
        log_counts = _log_counts([counts])[0]
        right, left = (self.fits[name] for name in RESPONSES[:2])
        if not 0 <= model < len(right.intercepts):
            raise ValueError(f"model must be in [0, {len(right.intercepts)}), got {model}")
        curves = (np.exp(f.intercepts[model] + f.slope * log_counts) for f in (right, left))
        one, other = (torch.from_numpy(curve) for curve in curves)
        return one, other


def frequency_regression(
    weights: Any,
    counts: Any,
    *,
    level: float = 0.95,
    permutations: int = 9999,
    seed: int = 0,
    min_spread: float = 0.05,
) -> FrequencyRegression:
    """Regress log r, log l, log lambda, log kappa and log |theta_k| on log n_k.

    The permutation p-value exchanges classes, in the same way in all models, and compares the
    slope within models: it holds whatever the errors, and also where models share their data.

    Args:
        weights: (K, n), or a list of J such matrices of the same classes, n may differ.
        counts: (K,) examples of each class, positive; for several models also a list of J.
        level: of the intervals.
        permutations: drawn for the p-values, which are at least 1 / (permutations + 1).
        min_spread: smallest standard deviation of log n_k within models that is accepted.

    Raises:
        TypeError: weights or counts are no arrays.
        ValueError: fewer than three classes, shapes that differ, counts that are not positive, a
            degenerate row, weights that are not finite, or counts spread by less than
            `min_spread`: nearly balanced classes say nothing about frequency.

    Warns: UserWarning where a one-sided law fits a row better than the asymmetric Laplace law, so
    that its sampling variances do not hold.

    >>> from probact.distributions import AsymmetricLaplace
    >>> counts = torch.arange(10, 210, 10)
    >>> rate = 30.0 * (counts / 100.0) ** -0.2
    >>> weights = AsymmetricLaplace.from_rates(0.0, rate, rate).sample((4000,), seed=0).mT
    >>> table = frequency_regression(weights, counts, permutations=99).to_frame()
    >>> table.loc["log_lambda", ["slope", "low", "high"]].round(2).to_list()
    [-0.2, -0.21, -0.19]
    """
    layers = _layers(weights)
    log_counts = _log_counts(_per_model(counts, len(layers)))
    _check(layers, log_counts, as_number(min_spread, "min_spread", 0.0, inclusive=True))
    check_count(permutations, "permutations")
    check_seed(seed)
    if not 0.0 < as_number(level, "level") < 1.0:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    stages = [_estimates(layer) for layer in layers]
    values = {name: np.stack([stage[name] for stage in stages]) for name in RESPONSES}
    errors = {name: np.stack([stage[f"se_{name}"] for stage in stages]) for name in RESPONSES}
    fits = {
        name: meta_regression(values[name], errors[name] ** 2, log_counts, level)
        for name in RESPONSES
    }
    r_squared, p_value = _within(values, log_counts, permutations, seed)
    frame = _frame(stages, log_counts)
    return FrequencyRegression(fits, r_squared, p_value, frame, level)


def norm_regression(weights: Any, log_counts: Any, *, level: float = 0.95) -> MetaRegression:
    """The baseline alone: log |theta_k| of one layer (K, n) regressed on log n_k (K,).

    Raises: TypeError, ValueError for weights or a level that `frequency_regression` refuses, a
    row of zeros, or other than one finite logarithm per class.

    >>> fit = norm_regression(torch.tensor([[1.0, 2, 2], [2, 4, 4], [4, 8, 8]]), [0.0, 1.0, 2.0])
    >>> round(fit.slope, 4)  # log 2
    0.6931
    """
    rows = as_weight_rows(weights, "weights")
    check_finite(rows, "weights")
    x = as_tensor(log_counts, "log_counts").double().cpu()
    if x.shape != rows.shape[:1] or not bool(torch.isfinite(x).all()) or len(x) < 3:
        got = tuple(x.shape)
        raise ValueError(f"log_counts must be finite, ({len(rows)},) of 3 or more, got {got}")
    if not 0.0 < as_number(level, "level") < 1.0:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    if bool((rows == 0).all(1).any()):
        raise ValueError(f"weights has a row of zeros: row {int((rows == 0).all(1).nonzero()[0])}")
    value, variance = (v.cpu().numpy()[None] for v in _log_norms(rows))
    variance = np.maximum(variance / rows.shape[1], _LEAST_VARIANCE)
    return meta_regression(value, variance, x.numpy()[None], level)


def _layers(weights: Any) -> list[Tensor]:
    """The weights of each model; a list of rows of numbers is one matrix."""
    several = isinstance(weights, list | tuple) and all(np.ndim(w) == 2 for w in weights)
    given: Sequence[Any] = weights if several and len(weights) else [weights]
    names = [f"weights[{j}]" for j in range(len(given))] if several else ["weights"]
    return [as_weight_rows(w, name) for w, name in zip(given, names, strict=True)]


def _per_model(counts: Any, models: int) -> list[Any]:
    if isinstance(counts, list | tuple) and len(counts) and np.ndim(counts[0]) == 1:
        if len(counts) not in (1, models):
            raise ValueError(f"counts must be one for each of {models} models, got {len(counts)}")
        several: list[Any] = list(counts)
        return several * models if len(several) == 1 else several
    return [counts] * models


def _log_counts(counts: list[Any]) -> Floats:
    """(J, K)."""
    rows = []
    for one in counts:
        row = as_tensor(one, "counts").double().cpu()
        if row.ndim != 1 or len(row) == 0:
            raise ValueError(f"counts must be (K,), got shape {tuple(row.shape)}")
        wrong = ~((row > 0) & torch.isfinite(row))
        if bool(wrong.any()):
            k = int(wrong.nonzero()[0])
            raise ValueError(f"counts must be positive, got {row[k].item():g} for class {k}")
        rows.append(row.log().numpy())
    if len({len(row) for row in rows}) > 1:
        raise ValueError(f"counts must have one length, got {[len(row) for row in rows]}")
    return np.stack(rows)


def _check(layers: list[Tensor], log_counts: Floats, min_spread: float) -> None:
    classes = log_counts.shape[1]
    for j, layer in enumerate(layers):
        if len(layer) != classes:
            raise ValueError(f"weights of model {j} have {len(layer)} rows, counts {classes}")
    if classes < 3:
        raise ValueError(f"three classes or more are needed, got {classes}")
    spread = float(np.sqrt((_centred(log_counts) ** 2).mean()))
    if spread < max(min_spread, 1e-12):
        raise ValueError(
            f"counts are nearly balanced: log n_k has standard deviation {spread:.3g} within "
            f"models, at least {min_spread:g} (min_spread) is needed"
        )


def _estimates(layer: Tensor) -> dict[str, NDArray[Any]]:
    """First stage of one model: the five responses and their standard errors, each (K,)."""
    fit = fit_asymmetric_laplace(layer)
    fit.require_laws("frequency_regression")
    if bool(fit.boundary.any()):
        rows = fit.boundary.nonzero()[:, 0]
        warnings.warn(
            f"{len(rows)} rows (first: row {int(rows[0])}) are better fitted by a one-sided law: "
            "their sampling variances do not hold",
            stacklevel=3,
        )
    (right, left), n, law = fit.rates, layer.shape[1], fit.dist()
    both = (1.0 / law.prob_right + 1.0 / law.prob_left) / 4.0
    found = {
        "log_rate_right": (right.log(), 1.0 / law.prob_right),
        "log_rate_left": (left.log(), 1.0 / law.prob_left),
        "log_lambda": (0.5 * (right.log() + left.log()), both),
        "log_kappa": (0.5 * (right.log() - left.log()), both),
        "log_norm": _log_norms(layer),
    }
    columns = {name: value for name, (value, _) in found.items()}
    columns |= {f"se_{name}": (each / n).sqrt() for name, (_, each) in found.items()}
    return {name: value.numpy(force=True) for name, value in columns.items()}


def _log_norms(layer: Tensor) -> tuple[Tensor, Tensor]:
    """log |theta_k| (K,) of rows that are not zero, and n times its sampling variance."""
    size = layer.double().abs().amax(1, keepdim=True)
    square = (layer.double() / size).square()  # whose sums neither overflow nor underflow
    mean_square = square.mean(1)
    curtosis = square.square().mean(1) / mean_square.square()
    value = size[:, 0].log() + 0.5 * (layer.shape[1] * mean_square).log()
    return value, (curtosis - 1.0) / 4.0


def _frame(stages: list[dict[str, NDArray[Any]]], log_counts: Floats) -> pd.DataFrame:
    parts = [
        pd.DataFrame({"model": j, "class": range(len(row)), "count": np.exp(row), **stage})
        for j, (stage, row) in enumerate(zip(stages, log_counts, strict=True))
    ]
    return pd.concat(parts, ignore_index=True).set_index(["model", "class"])


def _centred(values: Floats) -> Floats:
    centred: Floats = values - values.mean(-1, keepdims=True)
    return centred


def _within(
    values: dict[str, Floats], log_counts: Floats, permutations: int, seed: int
) -> tuple[dict[str, float], dict[str, float]]:
    """R^2 within models, and the share of permutations with as large a slope."""
    x = _centred(log_counts)  # (J, K)
    y = np.stack([_centred(values[name]) for name in RESPONSES])  # (5, J, K)
    moments = np.einsum("pjk,jk->p", y, x)
    r_squared = moments**2 / ((x**2).sum() * np.maximum((y**2).sum((1, 2)), 1e-300))
    rng = np.random.default_rng(seed)
    pairs = np.einsum("pjk,jl->pkl", y, x) if x.shape[1] <= 256 else None  # (5, K, K)
    above = np.ones(len(RESPONSES))
    for _ in range(permutations):
        order = rng.permutation(x.shape[1])
        if pairs is not None:
            moved = pairs[:, np.arange(len(order)), order].sum(-1)
        else:
            moved = np.einsum("pjk,jk->p", y, x[:, order])
        above += np.abs(moved) >= np.abs(moments) * (1.0 - 1e-12)
    p_values = above / (permutations + 1.0)
    names = RESPONSES
    return dict(zip(names, r_squared.tolist(), strict=True)), dict(
        zip(names, p_values.tolist(), strict=True)
    )
