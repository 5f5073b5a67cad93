r"""Activation patterns whose units have probit-normal probabilities.

Symbols: a (N, n) patterns; z (n,) ~ N(0, 1) latent, one a unit; p_i = Phi(sqrt(v) z_i); v > 0
`variance`; c_i the rows in which unit i is one.

    v ~ LogNormal(0, s^2),   z_i ~ N(0, 1),   a_i ~ Bernoulli(Phi(sqrt(v) z_i))

In a random layer whose pre-activations are normal, v = r / (1 - r) with r the correlation of a
unit's pre-activation between two independent inputs; then Var p = asin(r) / (2 pi), and p is
uniform at v = 1.
"""

import math
from functools import cache
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from scipy.optimize import minimize_scalar
from torch import Tensor

from probact.arrays import as_number, check_count, check_seed
from probact.models.pattern_rows import num_rows, pattern_rows
from probact.models.posterior_draws import posterior_draws

__all__ = ["ProbitPatterns"]

_BISECTIONS = 80
_DROP = 45.0  # nats below the mode at which the integrand is left out
_LEVELS, _NODES = 16, 12  # panels that halve towards the mode, and Gauss nodes in each


class ProbitPatterns(PyroModule):
    """Independent units with a common law of their probabilities, float64.

    Args:
        num_units: n.
        prior_scale: s of the prior of v.

    Raises: ValueError, TypeError for a count below one or a scale not above 0.
    >>> ProbitPatterns(2).log_evidence([[0, 1], [1, 1]], 1.0)  # v = 1: p is uniform
    tensor(-2.8904, dtype=torch.float64)
    """

    def __init__(self, num_units: int, *, prior_scale: float = 2.0) -> None:
        super().__init__()
        check_count(num_units, "num_units")
        self.num_units, self.prior_scale = num_units, as_number(prior_scale, "prior_scale")
        self.dims = {"a": ("unit",)}

    def forward(self, a: Any = None, *, num_points: int | None = None) -> Tensor:
        """Sites "variance" (), "z" (n,), "a" (N, n); without a, num_points patterns are drawn.

        Raises: ValueError or TypeError for anything but zeros and ones in n columns.
        """
        rows = None if a is None else pattern_rows(a, self.num_units).double()
        size = num_rows(rows, num_points)
        zero = torch.zeros((), dtype=torch.float64, device=None if rows is None else rows.device)
        variance = pyro.sample("variance", dist.LogNormal(zero, self.prior_scale))
        with pyro.plate("unit", self.num_units):
            z = pyro.sample("z", dist.Normal(zero, 1.0))
        logits = _logit_of_phi(variance.sqrt() * z)
        with pyro.plate("obs", size):
            law = dist.Bernoulli(logits=logits).to_event(1)
            drawn: Tensor = pyro.sample("a", law, obs=rows)
        return drawn

    def log_evidence(self, a: Any, variance: Any) -> Tensor:
        """log p(a | v) in nats, the z integrated out by quadrature about each unit's mode.

        Raises: ValueError or TypeError for anything but zeros and ones in n columns, or v <= 0.
        """
        rows = pattern_rows(a, self.num_units)
        v = as_number(variance, "variance")
        return _log_evidence(rows.double().sum(0).cpu(), len(rows), v)

    def fit_variance(self, a: Any) -> float:
        """The v in [1e-8, 1e8] that makes the data likeliest.

        Raises: as `log_evidence`; ValueError for one row, which is as likely under every v.
        """
        rows = pattern_rows(a, self.num_units)
        if len(rows) < 2:
            raise ValueError("a must have two rows at least, one is as likely under every v")
        on, size = rows.double().sum(0).cpu(), len(rows)
        grid = np.linspace(-18.0, 18.0, 37)
        costs = [-float(_log_evidence(on, size, math.exp(t))) for t in grid]
        k = int(np.argmin(costs))
        bounds = grid[max(0, k - 1)], grid[min(len(grid) - 1, k + 1)]
        best = minimize_scalar(
            lambda t: -float(_log_evidence(on, size, math.exp(t))),
            bounds=bounds,
            method="bounded",
            options={"xatol": 1e-9},
        )
        return math.exp(float(best.x))

    def replicates(
        self, posterior: Any, num_points: int, *, max_draws: int = 100, seed: int = 0
    ) -> Tensor:
        """Data sets (draws, num_points, n), uint8, under draws of what `probact.sample` returned.

        Raises: ValueError for a posterior of another model, a variance that is not above 0, or
            counts below one.
        """
        check_count(num_points, "num_points")
        check_seed(seed)
        shapes: dict[str, tuple[int, ...]] = {"variance": (), "z": (self.num_units,)}
        found = posterior_draws(posterior, shapes, max_draws=max_draws)
        if not bool((found["variance"] > 0).all()):
            raise ValueError("variance must be above 0 in the posterior")
        probs = torch.special.ndtr(found["variance"].sqrt().unsqueeze(1) * found["z"])
        stream = torch.Generator().manual_seed(int(seed))
        shape = num_points, self.num_units
        draws = [torch.rand(shape, dtype=probs.dtype, generator=stream) < p for p in probs]
        return torch.stack(draws).to(torch.uint8)


def _logit_of_phi(x: Tensor) -> Tensor:
    """log Phi(x) - log Phi(-x), which loses nothing in the tails."""
    value: Tensor = torch.special.log_ndtr(x) - torch.special.log_ndtr(-x)
    return value


def _log_evidence(on: Tensor, size: int, variance: float) -> Tensor:
    """sum_i log int Phi(s z)^c_i Phi(-s z)^(N - c_i) phi(z) dz."""
    s, size_of = math.sqrt(variance), len(on)
    on, repeats = on.unique(return_counts=True)
    off = size - on
    z = _mode(on, off, s)
    at_mode, total = _log_integrand(z, on, off, s), []
    for side in (-1.0, 1.0):
        low, high = torch.zeros_like(z), torch.full_like(z, 10.0)
        for _ in range(_BISECTIONS):  # the distance at which the integrand has vanished
            middle = 0.5 * (low + high)
            there = _log_integrand(z + side * middle, on, off, s) > at_mode - _DROP
            low, high = torch.where(there, middle, low), torch.where(there, high, middle)
        nodes, log_weights = _graded_rule()
        at = z.unsqueeze(1) + side * high.unsqueeze(1) * nodes  # (n, nodes)
        terms = _log_integrand(at, on.unsqueeze(1), off.unsqueeze(1), s) + log_weights
        total.append(terms.logsumexp(1) + high.log())
    found: Tensor = (torch.logaddexp(*total) * repeats).sum() - 0.5 * math.log(
        2.0 * math.pi
    ) * size_of
    return found


def _log_integrand(z: Tensor, on: Tensor, off: Tensor, s: float) -> Tensor:
    up, down = torch.special.log_ndtr(s * z), torch.special.log_ndtr(-s * z)
    value: Tensor = on * up + off * down - 0.5 * z.square()
    return value


@cache
def _graded_rule() -> tuple[Tensor, Tensor]:
    """Nodes in (0, 1) and logs of weights: a Gauss rule on each of [1/2, 1], [1/4, 1/2], ..."""
    nodes, weights = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(_NODES))
    edges = torch.tensor([0.0, *(2.0**-k for k in range(_LEVELS, -1, -1))], dtype=torch.float64)
    half = 0.5 * edges.diff().unsqueeze(1)
    middle = 0.5 * (edges[1:] + edges[:-1]).unsqueeze(1)
    return (middle + half * nodes).flatten(), (half * weights).log().flatten()


def _mode(on: Tensor, off: Tensor, s: float) -> Tensor:
    """Where the log integrand, which is concave, is highest: between 0 and the likeliest z."""
    likeliest = torch.special.ndtri(on / (on + off)) / s
    farthest = (on - off) * s  # of a unit always on or off: |z| < phi(0) / Phi(0) s N
    end = torch.where(torch.isfinite(likeliest), likeliest, farthest)
    low, high = torch.zeros_like(end), torch.ones_like(end)  # as shares of the end
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        z = middle * end
        slope = s * (on * _hazard(s * z) - off * _hazard(-s * z)) - z
        before = slope * end.sign() > 0
        low, high = torch.where(before, middle, low), torch.where(before, high, middle)
    mode: Tensor = 0.5 * (low + high) * end
    return mode


def _hazard(x: Tensor) -> Tensor:
    """phi(x) / Phi(x)."""
    log_density = -0.5 * x.square() - 0.5 * math.log(2.0 * math.pi)
    value: Tensor = torch.exp(log_density - torch.special.log_ndtr(x))
    return value
