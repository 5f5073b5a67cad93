"""Log joint density of a Bayesian last layer and its data: the `log_prob_sum` of the program."""

import torch
from torch import Tensor
from torch.distributions import Gamma, InverseGamma, Normal

from probact.distributions.asymmetric_laplace import AsymmetricLaplace
from probact.distributions.head_likelihood import target_log_prob
from probact.inference.laplace.head_problem import HeadState

__all__ = ["head_log_joint"]


def head_log_joint(state: HeadState) -> Tensor:
    """log p(m, r, l, theta, b, s2, y | x), (...), nats; m, r and l where they are learned."""
    problem, laws = state.problem, state.parameters
    columns = (v.unsqueeze(-1) for v in laws)
    total = AsymmetricLaplace.from_rates(*columns).log_prob(state.weight).sum(-1)  # (..., R)
    total = total + Normal(torch.zeros_like(state.bias), problem.bias_scale).log_prob(state.bias)
    prior = problem.hyperprior
    if prior is not None:
        right, left = Gamma(prior[0], prior[1]), Gamma(prior[2], prior[3])
        total = total + right.log_prob(laws.rate_right) + left.log_prob(laws.rate_left)
        total = total - (prior.high - prior.low).log()
    if state.variance is not None:
        shape, rate = (state.variance.new_tensor(v) for v in problem.noise_prior)
        total = total + InverseGamma(shape, rate).log_prob(state.variance)
    psi = problem.phi @ torch.cat([state.weight, state.bias.unsqueeze(-1)], -1).mT
    fit = target_log_prob(
        psi,
        problem.y,
        problem.likelihood,
        variance=state.variance,
        class_order=problem.class_order,
    )
    whole: Tensor = total.sum(-1) + fit.sum(-1)
    return whole
