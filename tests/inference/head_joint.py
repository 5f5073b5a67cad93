"""Joint-distribution test (Geweke 2004) of the sweep over a Bayesian last layer, many chains."""

from typing import NamedTuple

import torch

from probact.distributions.head_likelihood import stick_log_probs
from probact.distributions.laplace_hyperprior import LaplaceHyperprior, LaplaceParameters
from probact.inference.laplace.head_problem import HeadState, pose_head, with_targets
from probact.inference.laplace.head_sweep import sweep_head
from probact.models.laplace_head import LaplaceHead

__all__ = ["LIKELIHOODS", "joint_scores"]

LIKELIHOODS = ("gaussian", "softmax", "bernoulli", "stick_breaking")
#      asymmetric on purpose
RIGHT, LEFT, BOUNDS = (6.0, 3.0), (7.0, 5.0), (-0.5, 1.0)
NOISE, BIAS_SCALE, ORDER = (6.0, 4.0), 0.7, [2, 0, 1]
K = 3


class Prior(NamedTuple):
    """Draws of all sites but y, the chains first."""

    weight: torch.Tensor  # (C, R, p)
    bias: torch.Tensor  # (C, R)
    laws: LaplaceParameters
    variance: torch.Tensor | None


def gamma(shape, law, generator):
    concentration = torch.full(shape, law[0], dtype=torch.float64)
    return torch._standard_gamma(concentration, generator=generator) / law[1]


def prior_draws(likelihood, chains, features, generator):
    """Exact draws, from exponential variables, without the code under test."""
    rows = (chains, K - (likelihood == "stick_breaking"))
    uniform = torch.rand(rows, dtype=torch.float64, generator=generator)
    loc = BOUNDS[0] + (BOUNDS[1] - BOUNDS[0]) * uniform
    right, left = gamma(rows, RIGHT, generator), gamma(rows, LEFT, generator)
    e = torch.empty(2, *rows, features, dtype=torch.float64).exponential_(generator=generator)
    weight = loc[..., None] + e[0] / right[..., None] - e[1] / left[..., None]
    bias = BIAS_SCALE * torch.randn(rows, dtype=torch.float64, generator=generator)
    variance = 1.0 / gamma(rows, NOISE, generator) if likelihood == "gaussian" else None
    return Prior(weight, bias, LaplaceParameters(loc, right, left), variance)


def draw_y(likelihood, x, draws, generator):
    psi = x @ draws.weight.mT + draws.bias.unsqueeze(-2)
    if likelihood == "gaussian":
        noise = torch.randn(psi.shape, dtype=psi.dtype, generator=generator)
        return psi + draws.variance.unsqueeze(-2).sqrt() * noise
    if likelihood == "bernoulli":
        return torch.bernoulli(torch.sigmoid(psi), generator=generator)
    log_probs = psi if likelihood == "softmax" else stick_log_probs(psi, torch.tensor(ORDER))
    probs = torch.softmax(log_probs, -1)
    flat = torch.multinomial(probs.reshape(-1, K), 1, generator=generator)
    return flat.reshape(probs.shape[:-1])


def statistics(draws, y):
    """Moments (C, n) of one point of the joint law, cross moments among them.

    Weights, variances and real targets have heavy tails: they come squashed.
    """
    w, b, (m, r, left) = draws.weight.tanh(), draws.bias, draws.laws
    answer = torch.tanh((y[:, 0, 0] if y.ndim == 3 else (y[:, 0] == 0)).double())
    columns = {
        "w00": w[:, 0, 0],
        "w11": w[:, 1, 1],
        "w00^2": w[:, 0, 0] ** 2,
        "w11^2": w[:, 1, 1] ** 2,
        "w00 w01": w[:, 0, 0] * w[:, 0, 1],
        "w00 w10": w[:, 0, 0] * w[:, 1, 0],
        "last row": w[:, -1, 0] ** 2,
        "m": m[:, 0],
        "r": r[:, 0],
        "l": left[:, 0],
        "m r": m[:, 1] * r[:, 1],
        "r l": r[:, 0] * left[:, 0],
        "w m": w[:, 0, 0] * m[:, 0],
        "w r": w[:, 1, 0] * r[:, 1],
        "b": b[:, 0],
        "b^2": b[:, 0] ** 2,
        "b0 b1": b[:, 0] * b[:, 1],
        "b w": b[:, 1] * w[:, 1, 0],
        "y": answer,
        "y w": answer * w[:, 0, 0],
        "y b": answer * b[:, 0],
    }
    if draws.variance is not None:
        s2 = draws.variance[:, 0].log()
        columns |= {"s2": s2, "s2 w": s2 * w[:, 0, 0], "s2 y^2": s2 * answer**2}
    return list(columns), torch.stack(list(columns.values()), -1)


def joint_scores(likelihood, *, chains=600, rounds=40, points=5, features=2, seed=0):
    """z (n,) by name: means over chains from exact starts against exact draws of the joint law."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(points, features, dtype=torch.float64, generator=generator)
    prior = LaplaceHyperprior(*map(torch.tensor, (*RIGHT, *LEFT, *BOUNDS)))
    sticks = likelihood == "stick_breaking"
    model = LaplaceHead(
        features,
        K,
        likelihood,
        prior=prior,
        bias_scale=BIAS_SCALE,
        noise_prior=NOISE,
        class_order=ORDER if sticks else None,
    )
    exact = prior_draws(likelihood, 200_000, features, generator)
    names, marginal = statistics(exact, draw_y(likelihood, x, exact, generator))
    now = prior_draws(likelihood, chains, features, generator)
    first = draw_y(likelihood, x, now, generator)
    bare = pose_head(model, (x, first[0]))
    total = torch.zeros(chains, len(names), dtype=torch.float64)
    for _ in range(rounds):
        y = draw_y(likelihood, x, now, generator)
        problem = with_targets(bare, y, K)
        state = HeadState(now.weight, now.bias, now.laws, now.variance, problem)
        state = sweep_head(state, generator)
        now = Prior(state.weight, state.bias, state.parameters, state.variance)
        total += statistics(now, y)[1]
    means = total / rounds
    error = (marginal.var(0) / len(marginal) + means.var(0) / chains).sqrt()
    z = (means.mean(0) - marginal.mean(0)) / error
    return dict(zip(names, z.tolist(), strict=True))
