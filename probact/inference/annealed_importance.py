r"""Evidence of layers with too many codes to enumerate: annealed importance sampling (Neal 2001).

Symbols: 0 = b_0 < .. < b_T = 1; f_j tempered densities, f_0 with known normaliser Z_0; a chain
makes one Gibbs sweep that leaves f_j invariant at each temperature, from an exact draw of f_0.

    w = Z_0 prod_{j=1..T} f_j(s_{j-1}) / f_{j-1}(s_{j-1}),   E w = Z_T exactly, for any T

Factorial mixture: f_j = p(t) p(x | t)^{b_j}, Z_T = p(x). Harmonium: f_j has slopes b_j A, and
Z_0 = (2 pi s2)^{D/2} prod_k sum_r exp(B_kr / s2). log of the mean weight is below log Z_T on
average, by about half its squared standard error.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from probact.arrays import check_count, check_seed
from probact.distributions.code_enumeration import code_means, draw_regions
from probact.distributions.factorial_code import log_base
from probact.distributions.harmonium import Harmonium
from probact.inference.factorial_sweep import Colours, FactorialProblem, check_colours, pose, sweep

__all__ = ["AnnealedEstimate", "annealed_evidence", "annealed_log_normalizer"]

_ENTRIES = 2**23  # of chains x rows x dimensions or units held at a time
_POWER = 2.0  # temperatures (j/T)^2: closest together where the likelihood sets in


class AnnealedEstimate(NamedTuple):
    """Estimates in nats, of shape (N,), or () for one constant."""

    log_evidence: Tensor
    standard_error: Tensor  # over the chains: sd(w) / (mean(w) sqrt(S)), fair where it is small
    effective_chains: Tensor  # of S: (sum w)^2 / sum w^2


@torch.no_grad()
def annealed_evidence(
    model: Any,
    x: Any,
    *,
    num_chains: int = 100,
    num_temperatures: int = 200,
    colours: Colours = "auto",
    seed: int = 0,
) -> AnnealedEstimate:
    """log p(x) (N,) of every row under a factorial mixture, for any number of codes.

    num_chains: S >= 2 independent chains a row; num_temperatures: T; colours: as in
    `FactorialGibbs`. Costs S N T Gibbs sweeps.

    Raises: ValueError for another model, data that do not fit it, or wrong options.
    >>> from probact import models
    >>> model = models.FactorialMixture([[[0.0], [2.0]], [[0.0], [3.0]]], [[0.5, 0.5]] * 2, 1.0)
    >>> found = annealed_evidence(model, torch.tensor([[1.0]]), seed=0)
    >>> bool((found.log_evidence - model.log_evidence(torch.tensor([[1.0]]))).abs() < 0.1)
    True
    """
    problem = pose(model, x, check_colours(colours), 1e-9)
    generator = _checked(num_chains, num_temperatures, seed, problem.x.device)
    wide = max(problem.x.shape[1], problem.parameters.num_units)
    step = max(1, _ENTRIES // (num_chains * wide))
    steps = _temperatures(num_temperatures)
    parts = [
        _factorial_log_weights(problem._replace(x=rows), num_chains, steps, generator)
        for rows in problem.x.split(step)
    ]
    return _estimate(torch.cat(parts, 1))


@torch.no_grad()
def annealed_log_normalizer(
    law: Harmonium, *, num_chains: int = 1000, num_temperatures: int = 200, seed: int = 0
) -> AnnealedEstimate:
    """log Z () of a harmonium with any number of codes: what its `log_prob` may lack.

    Raises: TypeError for another law; ValueError for wrong options.
    >>> law = Harmonium([[[0.0], [1.0]]], [[0.0, -0.5]], 1.0)
    >>> found = annealed_log_normalizer(law, num_chains=400, num_temperatures=20, seed=0)
    >>> bool((found.log_evidence - law.log_normalizer).abs() < 0.1)
    True
    """
    if not isinstance(law, Harmonium):
        raise TypeError(f"law must be a Harmonium, got {type(law).__name__}")
    generator = _checked(num_chains, num_temperatures, seed, law.slopes.device)
    slopes, offsets, s2 = law.slopes.detach(), law.offsets.detach(), law.noise.detach()
    slopes, offsets, s2 = slopes.double(), offsets.double(), s2.double()

    def at(b: float) -> Harmonium:
        return Harmonium(b * slopes, offsets, s2)

    def free(x: Tensor, tempered: Harmonium) -> Tensor:
        return tempered.logits(x).logsumexp(-1).sum(-1)

    steps = _temperatures(num_temperatures)
    before = at(0.0)
    start = 0.5 * law.dim * math.log(2.0 * math.pi * float(s2))
    log_weights = slopes.new_full((num_chains,), start)
    log_weights = log_weights + (offsets / s2).logsumexp(-1).sum()
    x = before.sample_given(
        torch.zeros(num_chains, law.num_units, dtype=torch.int64, device=slopes.device),
        generator=generator,
    )
    for b in steps:
        now = at(b)
        log_weights = log_weights + free(x, now) - free(x, before)
        x = now.sample_given(now.sample_codes(x, generator=generator), generator=generator)
        before = now
    return _estimate(log_weights)


def _factorial_log_weights(
    problem: FactorialProblem, chains: int, steps: list[float], generator: Generator
) -> Tensor:
    """log w (S, N)."""
    p, rows = problem.parameters, len(problem.x)
    problem = problem._replace(x=problem.x.repeat(chains, 1))
    x = problem.x  # (S N, D)
    shape = len(x), p.num_units
    uniforms = torch.rand(shape, dtype=x.dtype, device=x.device, generator=generator)
    codes = draw_regions(p.log_weights.expand(*shape, -1), uniforms)
    mean = code_means(p.slopes, codes)
    log_weights, before = x.new_zeros(len(x)), 0.0
    for b in steps:
        log_weights = log_weights + (b - before) * log_base(x - mean, p)
        codes, mean = sweep(problem, codes, mean, b / p.noise, generator)
        before = b
    return log_weights.reshape(chains, rows)


def _estimate(log_weights: Tensor) -> AnnealedEstimate:
    """From log w (S, ...)."""
    count = len(log_weights)
    first = log_weights.logsumexp(0)
    second = (2.0 * log_weights).logsumexp(0)
    effective = torch.exp(2.0 * first - second)
    spread = (count / effective - 1.0).clamp_min(0.0)  # squared variation of w
    return AnnealedEstimate(first - math.log(count), torch.sqrt(spread / (count - 1)), effective)


def _temperatures(count: int) -> list[float]:
    return [(j / count) ** _POWER for j in range(1, count + 1)]


def _checked(chains: int, temperatures: int, seed: int, device: torch.device) -> Generator:
    check_count(chains, "num_chains", smallest=2)
    check_count(temperatures, "num_temperatures")
    check_seed(seed)
    return Generator(device).manual_seed(seed)
