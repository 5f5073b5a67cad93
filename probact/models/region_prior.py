r"""Bias and prior of a layer read as mixtures (paper 2, Theorem 2 and Appendix C).

Symbols: slopes A (K, R, D), unit k, region r; offsets B (K, R); weights pi (K, R), each row on the
simplex; noise sigma^2 () or (K,); gauge g (K,).

    B_kr = -|A_kr|^2 / 2 + sigma^2 log pi_kr + g_k
    pi_k = softmax_r((B_kr + |A_kr|^2 / 2) / sigma^2)
    g_k  = sigma^2 logsumexp_r((B_kr + |A_kr|^2 / 2) / sigma^2)

g cancels in every selection of a region, but not in the values of the layer. A ReLU layer has
g_k > 0: its inactive region alone puts exp(0) into the sum, so no prior gives its biases with
g = 0. Without a bias its prior of the active region is sigmoid(|w|^2 / (2 sigma^2)), more than one
half: the prior favours the active region, and tends to one half for small weights. The paper's
text has the opposite sign, against its Theorem 2. A bias below -|w|^2 / 2 favours inactivity.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from probact.distributions.layer_parameters import as_max_affine, as_noise
from probact.distributions.sphere_parameters import as_real_tensor

__all__ = [
    "RegionPrior",
    "describe_prior",
    "gauge_from_offsets",
    "offsets_from_log_weights",
    "offsets_from_weights",
    "weights_from_offsets",
]


_ROUNDING = 1e-10  # of scores, in units of the squared distances that they come from


class RegionPrior(NamedTuple):
    """What the prior of a layer's regions says, unit by unit, and whether data agree.

    The last four fields are None without data. Under a calibrated prior `selection`, the posterior
    averaged over the data, equals `probs`; `calibration_error` is their total variation distance,
    0 to 1. `frequency` is the share of the data in each region of the layer itself, which differs
    from both where regions overlap. `partition_equal` says whether the most probable region of
    every point under the mixture is the layer's.
    """

    probs: Tensor  # (K, R)
    entropy: Tensor  # (K,) of probs, nats, at most log R
    gauge: Tensor  # (K,) g, in units of the layer's output
    frequency: Tensor | None  # (K, R)
    selection: Tensor | None  # (K, R)
    calibration_error: Tensor | None  # (K,)
    partition_equal: bool | None

    def to_frame(self) -> pd.DataFrame:
        """A row per unit, a column per number; regions count from 0.

        >>> from probact.models.spline_mixture import SplineMixture
        >>> layer = torch.nn.Linear(3, 2)
        >>> list(SplineMixture.from_layer(layer, "relu").region_prior().to_frame())
        ['entropy', 'gauge', 'prob_0', 'prob_1']
        """
        columns: dict[str, Any] = {"entropy": self.entropy, "gauge": self.gauge}
        for name, table in (("prob", self.probs), ("frequency", self.frequency)):
            regions = [] if table is None else table.unbind(1)
            columns |= {f"{name}_{r}": column for r, column in enumerate(regions)}
        if self.calibration_error is not None:
            columns["calibration_error"] = self.calibration_error
        rows = {name: column.detach().cpu().numpy() for name, column in columns.items()}
        return pd.DataFrame(rows).rename_axis("unit")


def weights_from_offsets(slopes: Any, offsets: Any, noise: Any) -> Tensor:
    """Weights pi (K, R) of the mixtures whose selection is that of slopes and offsets.

    Paper 2, Theorem 2 solved for pi. For a ReLU unit without bias sigmoid(|w|^2 / (2 sigma^2)).

    Raises: TypeError or ValueError for other shapes, numbers that are not finite, or a noise that
    is no variance.

    >>> slopes = torch.tensor([[[0.0, 0.0], [0.6, 0.8]]])
    >>> weights_from_offsets(slopes, torch.zeros(1, 2), 1.0)
    tensor([[0.3775, 0.6225]])
    """
    return torch.softmax(_log_masses(*_checked(slopes, offsets, noise)), -1)


def gauge_from_offsets(slopes: Any, offsets: Any, noise: Any) -> Tensor:
    """Gauge g (K,): what the offsets hold beyond -|A|^2 / 2 + sigma^2 log pi.

    Raises: as `weights_from_offsets`.

    >>> slopes = torch.tensor([[[0.0, 0.0], [0.6, 0.8]]])
    >>> gauge_from_offsets(slopes, torch.zeros(1, 2), 1.0)  # log(1 + exp(1 / 2))
    tensor([0.9741])
    """
    a, b, sigma2 = _checked(slopes, offsets, noise)
    return sigma2 * _log_masses(a, b, sigma2).logsumexp(-1)


def offsets_from_weights(slopes: Any, weights: Any, noise: Any, gauge: Any = 0.0) -> Tensor:
    """Offsets B (K, R) whose selection is the posterior of the mixtures (paper 2, Theorem 2).

    -inf where a weight is zero. gauge: () or (K,). Raises: as `weights_from_offsets`; ValueError
    for weights that are no probabilities.

    >>> slopes, noise = torch.tensor([[[0.0, 0.0], [0.6, 0.8]]]), 0.5
    >>> offsets = torch.tensor([[0.0, -0.3]])
    >>> weights = weights_from_offsets(slopes, offsets, noise)
    >>> gauge = gauge_from_offsets(slopes, offsets, noise)
    >>> torch.allclose(offsets_from_weights(slopes, weights, noise, gauge), offsets, atol=1e-6)
    True
    """
    a, pi, sigma2 = _checked(slopes, weights, noise, "weights")
    if bool((pi < 0.0).any()) or bool(((pi.sum(-1) - 1.0).abs() > 1e-6).any()):
        raise ValueError("weights must be >= 0 and sum to one over the regions")
    g = as_real_tensor(gauge, "gauge", like=a).to(a.dtype)
    if g.shape not in ((), a.shape[:1]):
        raise ValueError(f"gauge must be () or ({len(a)},), got shape {tuple(g.shape)}")
    return offsets_from_log_weights(a, pi.log(), sigma2.unsqueeze(-1), g)


def offsets_from_log_weights(
    slopes: Tensor, log_weights: Tensor, noise: Tensor, gauge: Tensor
) -> Tensor:
    """The same from log pi (K, R), which holds priors that pi rounds to 0 or 1."""
    return gauge.unsqueeze(-1) + noise * log_weights - 0.5 * slopes.square().sum(-1)


def describe_prior(mixture: Any, x: Tensor | None) -> RegionPrior:
    """The report of a `SplineMixture` on inputs x (..., D), or without any."""
    probs, gauge = mixture.weights, mixture.gauge()
    entropy = torch.special.entr(probs).sum(-1)
    if x is None:
        return RegionPrior(probs, entropy, gauge, None, None, None, None)
    rows = x.reshape(-1, x.shape[-1])
    if not len(rows):
        raise ValueError("x must hold a point or more")
    regions = mixture.regions(rows)  # (M, K)
    frequency = torch.stack([(regions == r).double().mean(0) for r in range(probs.shape[1])], -1)
    selection = mixture.selection(rows).mean(0)
    error = 0.5 * (selection - probs).abs().sum(-1)
    same = _same_as_posterior_mode(mixture, rows)
    return RegionPrior(probs, entropy, gauge, frequency, selection, error, same)


def _same_as_posterior_mode(mixture: Any, rows: Tensor) -> bool:
    """Whether the layer's score is largest, up to rounding, where weight and distance say so."""
    slopes, noise = mixture.slopes, mixture.noise.unsqueeze(-1)
    log_weights = noise * mixture.log_weights.log_softmax(-1)
    scores = mixture.scores(rows)  # (M, K, R)
    for k in range(len(slopes)):  # (M, K, R) distances by units: no (M, K, R, D)
        square = torch.cdist(rows, slopes[k], compute_mode="donot_use_mm_for_euclid_dist").square()
        mode = (log_weights[k] - 0.5 * square).argmax(-1, keepdim=True)  # (M, 1)
        short = scores[:, k].amax(-1) - scores[:, k].gather(1, mode)[:, 0]
        if bool((short > _ROUNDING * (1.0 + square.amax(-1))).any()):
            return False
    return True


def _checked(
    slopes: Any, table: Any, noise: Any, name: str = "offsets"
) -> tuple[Tensor, Tensor, Tensor]:
    """Slopes (K, R, D), table (K, R) and noise () or (K,)."""
    a, b = as_max_affine(slopes, table, name)
    return a, b, as_noise(noise, a, per_unit=True)


def _log_masses(slopes: Tensor, offsets: Tensor, noise: Tensor) -> Tensor:
    """(B + |A|^2 / 2) / sigma^2, (K, R)."""
    return (offsets + 0.5 * slopes.square().sum(-1)) / noise.unsqueeze(-1)
