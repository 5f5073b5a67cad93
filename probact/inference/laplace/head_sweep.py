r"""One Gibbs sweep over a Bayesian last layer; leading axes (...) of a state are chains.

Symbols: Phi (N, q) features with a column of ones; theta (R, q) weights and, last, the bias;
psi (N, R) = Phi theta'; m, r, l (R,) mode and rates; b0 = m + (s_R - s_L) W and D mean and
variance of the normal prior given W; omega Polya-Gamma.

    (1) m, r, l | theta            W integrated out; where they are learned
    (2) shifts of all rows         softmax: see `translation_draw`; W integrated out
    (3) W | theta, m, r, l         afresh after (1) and (2), before (5)
    (4) omega_k | theta            PG(1, psi_k - c_k)
    (5) m_k, theta_k | W, omega, y, r, l
                                   theta_k ~ N(P^-1 (Phi' u_k + D^-1 b0), P^-1), with
                                   P = Phi' Omega Phi + D^-1, and m_k with theta_k integrated out
    (6) s2 | theta, y              gaussian

with u = y - 1/2 + omega c. softmax: c_ik = log sum_{j != k} exp psi_ij, so (4) and (5) run row by
row (Holmes & Held 2006; Polson, Scott & Windle 2013). bernoulli: c = 0. stick_breaking: c = 0 and
only points that reached the stick (Linderman, Johnson & Adams 2015). gaussian: omega = 1 / s2,
u = y / s2. Without m in (5), modes and weights would move together in small steps only.
"""

from types import EllipsisType

import torch
from torch import Generator, Tensor

from probact.distributions.bounded_normal import within
from probact.distributions.laplace_hyperprior import LaplaceHyperprior, LaplaceParameters
from probact.distributions.polya_gamma import PolyaGamma
from probact.inference.laplace.head_problem import HeadProblem, HeadState
from probact.inference.laplace.mixing_draw import draw_normal_prior
from probact.inference.laplace.normal_draw import NormalPrior, draw_normal
from probact.inference.laplace.rate_draw import draw_gamma
from probact.inference.laplace.sweep import draw_parameters
from probact.inference.laplace.translation_draw import draw_level, draw_shift

__all__ = ["sweep_head"]

Row = tuple[Tensor, Tensor | None]  # theta (..., q) and m (...), where it is learned


def sweep_head(state: HeadState, generator: Generator) -> HeadState:
    """The next state."""
    problem = state.problem
    laws = _parameters(state, generator)
    weight, bias = state.weight, state.bias
    if problem.likelihood == "softmax":
        if problem.hyperprior is not None:
            level = draw_level(laws.loc, problem.hyperprior, generator)
            laws = laws._replace(loc=within(laws.loc + level, *problem.hyperprior[-2:]))
            weight = weight + level.unsqueeze(-1)
        weight = weight + draw_shift(weight, laws, generator).unsqueeze(-2)
        bias = bias + _bias_shift(bias, problem.bias_scale, generator)
    prior = _prior(draw_normal_prior(weight, laws, generator), laws, problem)
    theta, variance = torch.cat([weight, bias.unsqueeze(-1)], -1), state.variance
    if problem.likelihood == "softmax":
        theta, loc = _one_versus_rest(theta, prior, problem, generator)
    elif variance is None:
        theta, loc = _by_sticks(theta, prior, problem, generator)
    else:
        theta, loc = _gaussian(prior, variance, problem, generator)
        variance = _variances(theta, problem, generator)
    laws = laws if loc is None else laws._replace(loc=loc)
    return HeadState(theta[..., :-1], theta[..., -1], laws, variance, problem)


def _parameters(state: HeadState, generator: Generator) -> LaplaceParameters:
    """m, r, l (..., R) given the weights; as they are where they are fixed."""
    prior, weight = state.problem.hyperprior, state.weight
    if prior is None:
        return state.parameters
    chains = weight.shape[:-1]
    rows = weight.reshape(-1, weight.shape[-1])
    current = LaplaceParameters(*(v.reshape(-1) for v in state.parameters))
    wide = LaplaceHyperprior(*(v.expand(chains).reshape(-1) for v in prior))
    drawn = draw_parameters(rows, current, wide, generator)
    return LaplaceParameters(*(v.reshape(chains) for v in drawn))


def _bias_shift(bias: Tensor, scale: float, generator: Generator) -> Tensor:
    """A common shift (..., 1) of the biases of a softmax layer, from their prior."""
    count, mean = bias.shape[-1], bias.mean(-1, keepdim=True)
    z = torch.randn(mean.shape, dtype=bias.dtype, device=bias.device, generator=generator)
    shift: Tensor = scale / count**0.5 * z - mean
    return shift


def _prior(centred: NormalPrior, laws: LaplaceParameters, problem: HeadProblem) -> NormalPrior:
    """The prior of theta (..., R, q), less m where that is drawn; of the bias N(0, scale^2)."""
    learned = problem.hyperprior is not None
    mean = centred.mean if learned else centred.mean + laws.loc.unsqueeze(-1)
    column = torch.zeros_like(mean[..., :1])
    variance = torch.cat([centred.variance, column + problem.bias_scale**2], -1)
    return NormalPrior(torch.cat([mean, column], -1), variance)


def _one_versus_rest(
    theta: Tensor, prior: NormalPrior, problem: HeadProblem, generator: Generator
) -> Row:
    """(4) and (5) row by row, each given the rows drawn before it and the old ones after it."""
    phi, rows = problem.phi, theta.shape[-2]
    psi = phi @ theta.mT  # (..., N, R)
    after = psi.flip(-1).logcumsumexp(-1).flip(-1)  # log sum exp of psi_k and all later ones
    before = torch.full_like(psi[..., 0], -torch.inf)
    thetas, modes = [], []
    for k in range(rows):
        rest = before if k + 1 == rows else torch.logaddexp(before, after[..., k + 1])
        omega = _polya_gamma(psi[..., k] - rest, generator)
        u = problem.answers[..., k] - 0.5 + omega * rest
        own = NormalPrior(*(v[..., k, :] for v in prior))
        row, loc = _draw(problem, omega, u, own, k, generator)
        before = torch.logaddexp(before, (phi @ row.unsqueeze(-1)).squeeze(-1))
        thetas.append(row)
        modes.append(loc)
    drawn = [loc for loc in modes if loc is not None]
    return torch.stack(thetas, -2), torch.stack(drawn, -1) if drawn else None


def _by_sticks(
    theta: Tensor, prior: NormalPrior, problem: HeadProblem, generator: Generator
) -> Row:
    """(4) and (5) of independent 0/1 answers, all rows at once."""
    psi = (problem.phi @ theta.mT).mT  # (..., R, N)
    answers = problem.answers.mT
    if problem.reached is None:
        omega, u = _polya_gamma(psi, generator), answers - 0.5
    else:
        reached = problem.reached.mT
        omega = torch.zeros_like(psi)
        omega[reached] = _polya_gamma(psi[reached], generator)
        u = answers - 0.5 * reached
    return _draw(problem, omega, u, prior, ..., generator)


def _gaussian(
    prior: NormalPrior, variance: Tensor, problem: HeadProblem, generator: Generator
) -> Row:
    """(5) of a gaussian layer; its Gram matrix is that of the features over s2."""
    precision = 1.0 / variance.unsqueeze(-1)  # (..., R, 1)
    answers = problem.answers.mT * precision  # (..., R, N)
    return _draw(problem, precision, answers, prior, ..., generator)


def _variances(theta: Tensor, problem: HeadProblem, generator: Generator) -> Tensor:
    """(6) s2 (..., R) ~ InverseGamma(a + N / 2, b + sum of squares / 2)."""
    shape, rate = problem.noise_prior
    squares = (problem.answers - problem.phi @ theta.mT).square().sum(-2)  # (..., R)
    half = torch.full_like(squares, shape + 0.5 * len(problem.phi))
    return 1.0 / draw_gamma(half, rate + 0.5 * squares, generator)


def _polya_gamma(tilt: Tensor, generator: Generator) -> Tensor:
    return PolyaGamma(tilt, validate_args=False).sample(generator=generator)


def _draw(
    problem: HeadProblem,
    omega: Tensor,
    u: Tensor,
    prior: NormalPrior,
    rows: EllipsisType | int,
    generator: Generator,
) -> Row:
    """`draw_normal` over all leading axes of prior (..., q), of these rows of the layer."""
    shape, bounds = prior.mean.shape, None
    flat = NormalPrior(*(v.reshape(-1, shape[-1]) for v in prior))
    if problem.hyperprior is not None:
        ends = (v[rows].expand(shape[:-1]) for v in problem.hyperprior[-2:])
        low, high = (v.reshape(-1) for v in ends)
        bounds = low, high
    theta, loc = draw_normal(
        problem.phi,
        omega.reshape(-1, omega.shape[-1]),
        u.reshape(-1, u.shape[-1]),
        flat,
        generator,
        bounds=bounds,
        square=problem.square,
    )
    return theta.reshape(shape), None if loc is None else loc.reshape(shape[:-1])
