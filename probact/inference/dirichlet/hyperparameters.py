r"""Draws of alpha and of the factor s on the prior's scale, given the partition.

Symbols: alpha ~ Gamma(a, b) concentration; N points, K components, n_k their sizes; s factor on
S_0; A_k centred scatter of X_k, v the mean of X_k minus m_0; lambda_kj eigenvalues of
S_0^-1/2 (A_k + kappa_0 n_k/(kappa_0 + n_k) v v^T) S_0^-1/2.

    alpha | eta, K: eta ~ Beta(alpha + 1, N), then Gamma(a + K, b - log eta) with odds
        (a + K - 1) : N (b - log eta), else Gamma(a + K - 1, b - log eta)
        (Escobar & West 1995, eq. 14)
    log p(s | z, x) = log p(s) + sum_kj [nu_0/2 log s - nu_k/2 log(s + lambda_kj)] + const
"""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.distributions import Distribution, Gamma

from probact.inference.dirichlet.problem import Problem
from probact.inference.dirichlet.state import DPState

__all__ = ["resample_hyperparameters"]

_LEAST_SCALE = 1e-15  # of s: below it the members' scatter leaves no digit of s S_0
_SMALLEST = 1e-300  # of alpha: a draw may underflow where a + K - 1 is near zero
_MOST_STEPS = 100  # of stepping out, each one nat of log s


def resample_hyperparameters(state: DPState, generator: Generator) -> DPState:
    """The state with alpha and s drawn given z, each where it has a prior.

    Raises: ValueError where s falls towards 0: data on fewer than D dimensions, as D > N or many
    equal rows, can make its posterior improper.
    """
    problem = state.problem
    if isinstance(problem.concentration, Distribution):
        state = state._replace(alpha=_draw_alpha(state, problem.concentration, generator))
    if problem.scale_factor is not None:
        log_density = _scale_density(problem, state.z, problem.scale_factor)
        log_s = _slice(log_density, math.log(float(state.scale_factor)), generator)
        if log_s < math.log(_LEAST_SCALE):
            raise ValueError(
                "scale_factor must be bounded below by its prior for these data: it fell to"
                f" {math.exp(log_s):.1g}, since components spread over fewer than D dimensions"
            )
        state = state._replace(scale_factor=state.scale_factor.new_tensor(math.exp(log_s)))
    return state


def _draw_alpha(state: DPState, prior: Distribution, generator: Generator) -> Tensor:
    assert isinstance(prior, Gamma)  # `pose` takes no other
    shape, rate = float(prior.concentration), float(prior.rate)
    n, k = len(state.z), len(state.z.unique())
    one = _gamma(float(state.alpha) + 1, generator)
    rate = rate - math.log(one / (one + _gamma(n, generator)))  # b - log eta
    odds = (shape + k - 1) / (n * rate)
    extra = _uniform(generator) < odds / (1 + odds)
    alpha = _gamma(shape + k - (0 if extra else 1), generator) / rate
    return state.alpha.new_tensor(max(alpha, _SMALLEST))


def _gamma(shape: float, generator: Generator) -> float:
    """One draw of Gamma(shape, 1)."""
    value = torch.tensor(shape, dtype=torch.float64, device=generator.device)
    return float(torch._standard_gamma(value, generator=generator))


def _uniform(generator: Generator) -> float:
    device = generator.device
    return float(torch.rand((), dtype=torch.float64, generator=generator, device=device))


def _scale_density(problem: Problem, z: Tensor, prior: Distribution) -> Callable[[float], float]:
    """Log density of log s given z, nats, up to a constant."""
    slots, sizes = z.unique(return_counts=True)
    spectra = _diagonal_spectrum if problem.diagonal else _full_spectrum
    lam = torch.stack([spectra(problem, problem.x[z == k]) for k in slots]).cpu()  # (K, D)
    k, d = lam.shape
    df = problem.df - d + 1 if problem.diagonal else problem.df
    half = 0.5 * (df + sizes.cpu().double().unsqueeze(1))

    def log_density(log_s: float) -> float:
        s = torch.tensor(log_s, dtype=torch.float64).exp()
        if not (0 < float(s) < math.inf and bool(prior.support.check(s))):  # type: ignore[union-attr]
            return -math.inf
        likelihood = 0.5 * df * k * d * log_s - (half * (s + lam).log()).sum()
        return float(likelihood + prior.log_prob(s) + log_s)

    return log_density


def _full_spectrum(problem: Problem, rows: Tensor) -> Tensor:
    """lambda (D,) of rows (n, D); singular values of the rows, since their Gram matrix cancels."""
    n, d = rows.shape
    mean = rows.mean(0)
    weight = math.sqrt(problem.kappa * n / (problem.kappa + n))
    stacked = torch.cat([rows - mean, weight * (mean - problem.loc).unsqueeze(0)])
    inner = torch.linalg.cholesky(problem.scale)
    white = torch.linalg.solve_triangular(inner, stacked.T, upper=False).T
    values = torch.linalg.svdvals(torch.linalg.qr(white, mode="r").R)
    return torch.nn.functional.pad(values**2, (0, d - len(values)))


def _diagonal_spectrum(problem: Problem, rows: Tensor) -> Tensor:
    """lambda (D,) of rows (n, D), each coordinate by itself."""
    n, mean = len(rows), rows.mean(0)
    weight = problem.kappa * n / (problem.kappa + n)
    return (((rows - mean) ** 2).sum(0) + weight * (mean - problem.loc) ** 2) / problem.scale


def _slice(log_density: Callable[[float], float], here: float, generator: Generator) -> float:
    """One univariate slice update with stepping out, width one (Neal 2003, figures 3 and 5)."""
    level = log_density(here) + math.log(max(_uniform(generator), _SMALLEST))
    left = here - _uniform(generator)
    right = left + 1
    below = int(_MOST_STEPS * _uniform(generator))
    above = _MOST_STEPS - 1 - below
    while below > 0 and log_density(left) > level:
        left, below = left - 1, below - 1
    while above > 0 and log_density(right) > level:
        right, above = right + 1, above - 1
    while True:
        there = left + (right - left) * _uniform(generator)
        if log_density(there) > level or there == here:
            return there
        left, right = (there, right) if there < here else (left, there)
