r"""Independence Metropolis for a handful of parameters: proposals that do not see the chain.

Symbols: theta (S, p) points; q multivariate t with 5 degrees of freedom, fitted to the target by
importance sampling (population Monte Carlo, Cappe et al. 2004); w = target / q. A proposal theta'
is accepted with probability min(1, w' / w) (Tierney 1994, 2.3.3), which leaves the target
invariant whatever q is; a good q makes draws almost independent. All proposals are scored in one
call.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Generator, Tensor

__all__ = ["IndependenceDraws", "independence_chains"]

_DF = 5.0
_ROUNDS = 6
_TRIALS = 500
_WARM_UP = 100


class IndependenceDraws(NamedTuple):
    """Draws of several chains and the share of proposals that they accepted."""

    theta: Tensor  # (chains, draws, p)
    acceptance: Tensor  # (chains,)


class _Proposal(NamedTuple):
    mean: Tensor  # (p,)
    factor: Tensor  # (p, p), lower triangular


def independence_chains(
    log_target: Callable[[Tensor], Tensor],
    start: Tensor,
    covariance: Tensor,
    *,
    draws: int,
    chains: int,
    generator: Generator,
) -> IndependenceDraws:
    """Chains of a density known up to a constant, on R^p with one mode and tails below q's.

    Args:
        log_target: points (S, p) to nats (S,).
        start, covariance: a first guess of the target's mean (p,) and covariance (p, p).

    Raises:
        ValueError: covariance is not positive definite, or the target is nowhere finite around
            the guess.

    >>> normal = lambda theta: -0.5 * theta.square().sum(-1)
    >>> zero, eye = torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)
    >>> found = independence_chains(
    ...     normal, zero, eye, draws=50, chains=2, generator=Generator().manual_seed(0)
    ... )
    >>> found.theta.shape, bool((found.acceptance > 0.6).all())
    (torch.Size([2, 50, 2]), True)
    """
    proposal = _proposal(start, covariance)
    for _ in range(_ROUNDS):
        trial, log_weight = _weighted(log_target, proposal, _TRIALS, generator)
        weight = log_weight.softmax(0)
        mean = weight @ trial
        centred = trial - mean
        spread = (weight.unsqueeze(-1) * centred).T @ centred
        useful = 1.0 / weight.square().sum()  # few of them: keep some of the old spread
        share = useful / (useful + 5.0 * len(start))
        old = proposal.factor @ proposal.factor.T
        proposal = _proposal(mean, share * spread + (1.0 - share) * old)
    steps = _WARM_UP + draws
    theta, log_weight = _weighted(log_target, proposal, chains * (steps + 1), generator)
    noise = torch.rand(chains, steps, dtype=theta.dtype, device=theta.device, generator=generator)
    at, accepted = _walk(log_weight.reshape(chains, -1), noise.log())
    kept = theta.reshape(chains, steps + 1, -1).gather(
        1, at[:, _WARM_UP:, None].expand(-1, -1, theta.shape[-1])
    )
    return IndependenceDraws(kept, accepted[:, _WARM_UP:].double().mean(1))


def _proposal(mean: Tensor, covariance: Tensor) -> _Proposal:
    factor, wrong = torch.linalg.cholesky_ex(covariance)
    if bool(wrong > 0) or not bool(factor.isfinite().all()):
        raise ValueError("covariance must be finite and positive definite")
    return _Proposal(mean, factor)


def _weighted(
    log_target: Callable[[Tensor], Tensor], proposal: _Proposal, num: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Draws (S, p) of the proposal and log target less log q, up to a constant; -inf for NaN."""
    mean, factor = proposal
    noise = torch.randn(num, len(mean), dtype=mean.dtype, device=mean.device, generator=generator)
    squares = torch.randn(
        num, int(_DF), dtype=mean.dtype, device=mean.device, generator=generator
    ).square()
    z = noise * (_DF / squares.sum(-1, keepdim=True)).sqrt()  # (S, p), standard t
    theta = mean + z @ factor.T
    log_q = -0.5 * (_DF + len(mean)) * torch.log1p(z.square().sum(-1) / _DF)
    log_weight = (log_target(theta) - log_q).nan_to_num(nan=-torch.inf, posinf=-torch.inf)
    if not bool(log_weight.isfinite().any()):
        raise ValueError("log_target is not finite at any of the points around start")
    return theta, log_weight


def _walk(log_weight: Tensor, log_noise: Tensor) -> tuple[Tensor, Tensor]:
    """Index (chains, steps) of the proposal each chain stands at, and whether it moved there."""
    weight, noise = log_weight.tolist(), log_noise.tolist()
    rows, moves = [], []
    for own, uniform in zip(weight, noise, strict=True):
        at, row, moved = 0, [], []
        for step, level in enumerate(uniform, start=1):
            better = level < own[step] - own[at] if own[at] > -torch.inf else True
            at = step if better else at
            row.append(at)
            moved.append(better)
        rows.append(row)
        moves.append(moved)
    device = log_weight.device
    return torch.tensor(rows, device=device), torch.tensor(moves, device=device)
