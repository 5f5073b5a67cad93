r"""Softmax regression with a Gaussian prior: its mode, and the curvature there.

Symbols: z (N, d) rows with a last column of ones, d = p + 1; y (N,) labels of K classes; theta
(K, d) weights and bias; lambda (d,) prior precision of each column; P (N, K) softmax(z theta').

    log p(theta, y) = sum_i log P_i,y_i - 1/2 sum_kj lambda_j theta_kj^2 + const    (Bishop 2006,
    H_kl = sum_i P_ik ([k = l] - P_il) z_i z_i' + [k = l] diag(lambda)              section 4.3.4)

The negative log density is strictly convex for lambda > 0, so its minimum is unique. Newton's
method with step halving finds it: directly where H is small, by conjugate gradients elsewhere.
"""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["neg_log_joint", "softmax_hessian", "softmax_hessian_blocks", "softmax_map"]

DIRECT_LIMIT = 2048  # K d up to which Newton's system is solved by Cholesky
_NEWTON_STEPS = 200


def neg_log_joint(theta: Tensor, z: Tensor, y: Tensor, precision: Tensor) -> Tensor:
    """-log p(y | theta) + theta' Lambda theta / 2 in nats, (); the prior's constant is left out.

    >>> zero = torch.zeros(2, 1, dtype=torch.float64)
    >>> neg_log_joint(zero, torch.ones(3, 1).double(), torch.tensor([0, 1, 0]), torch.ones(1))
    tensor(2.0794, dtype=torch.float64)
    """
    logits = z @ theta.T  # (N, K)
    own = logits.gather(1, y[:, None]).squeeze(1)
    return (logits.logsumexp(1) - own).sum() + 0.5 * (precision * theta.square()).sum()


def softmax_map(
    z: Tensor,
    y: Tensor,
    num_classes: int,
    precision: Tensor,
    *,
    start: Tensor | None = None,
    tolerance: float = 1e-9,
) -> Tensor:
    """theta (K, d) at the mode, from `start` or zero.

    Done when the Newton decrement, g' H^-1 g / 2 in nats, is below `tolerance`. z float64.

    Raises:
        ValueError: no convergence in 200 steps (features of wild scale); standardise them.

    >>> z = torch.tensor([[1.0, 1.0], [-1.0, 1.0]], dtype=torch.float64)
    >>> softmax_map(z, torch.tensor([0, 1]), 2, torch.ones(2).double())[:, 0]
    tensor([ 0.5213, -0.5213], dtype=torch.float64)
    """
    shape = num_classes, z.shape[1]
    theta = z.new_zeros(shape) if start is None else start.to(z, copy=True)
    target = torch.nn.functional.one_hot(y, num_classes).to(z)
    value = neg_log_joint(theta, z, y, precision)
    for _ in range(_NEWTON_STEPS):
        probs = torch.softmax(z @ theta.T, 1)
        gradient = (probs - target).T @ z + precision * theta
        step = _newton_direction(z, probs, precision, gradient)
        decrement = 0.5 * (gradient * step).sum()
        if decrement < tolerance:
            return theta - step
        theta, value = _descend(theta, value, step, decrement, z, y, precision)
    raise ValueError(f"the mode was not found in {_NEWTON_STEPS} Newton steps: standardise x")


def softmax_hessian(z: Tensor, probs: Tensor, precision: Tensor) -> Tensor:
    """H (K d, K d) of the negative log density, classes in the outer order.

    >>> half = torch.full((1, 2), 0.5, dtype=torch.float64)
    >>> softmax_hessian(torch.ones(1, 1).double(), half, torch.ones(1).double())
    tensor([[ 1.2500, -0.2500],
            [-0.2500,  1.2500]], dtype=torch.float64)
    """
    num_classes, dim = probs.shape[1], z.shape[1]
    hessian = z.new_empty(num_classes, dim, num_classes, dim)
    for k in range(num_classes):
        for j in range(k + 1):
            weight = probs[:, k] * ((1.0 if j == k else 0.0) - probs[:, j])
            block = (z * weight[:, None]).T @ z  # symmetric
            hessian[k, :, j, :] = block
            hessian[j, :, k, :] = block
    flat = hessian.reshape(num_classes * dim, num_classes * dim)
    flat.diagonal().add_(precision.repeat(num_classes))
    return flat


def softmax_hessian_blocks(z: Tensor, probs: Tensor, precision: Tensor) -> Tensor:
    """Blocks (K, d, d) on the diagonal of H, one a class.

    >>> half = torch.full((1, 2), 0.5, dtype=torch.float64)
    >>> softmax_hessian_blocks(torch.ones(1, 1).double(), half, torch.ones(1).double()).flatten()
    tensor([1.2500, 1.2500], dtype=torch.float64)
    """
    weight = probs * (1.0 - probs)
    blocks = torch.stack([(z * w[:, None]).T @ z for w in weight.T])
    return blocks + torch.diag(precision)


def _descend(
    theta: Tensor,
    value: Tensor,
    step: Tensor,
    decrement: Tensor,
    z: Tensor,
    y: Tensor,
    precision: Tensor,
) -> tuple[Tensor, Tensor]:
    """theta - t step with t = 1, 1/2, ... until a tenth of the promised decrease is there."""
    size = 1.0
    while size > 1e-10:
        found = theta - size * step
        new = neg_log_joint(found, z, y, precision)
        if new <= value - 0.2 * size * decrement:
            return found, new
        size *= 0.5
    raise ValueError("Newton's method found no descent: x is too badly scaled; standardise it")


def _newton_direction(z: Tensor, probs: Tensor, precision: Tensor, gradient: Tensor) -> Tensor:
    """H^-1 gradient, (K, d)."""
    if gradient.numel() <= DIRECT_LIMIT:
        factor, info = torch.linalg.cholesky_ex(softmax_hessian(z, probs, precision))
        if int(info) == 0:
            solved = torch.cholesky_solve(gradient.reshape(-1, 1), factor)
            return solved.reshape(gradient.shape)
    diagonal = (probs * (1.0 - probs)).T @ z.square() + precision

    def product(v: Tensor) -> Tensor:
        moved = z @ v.T  # (N, K)
        curved = probs * (moved - (probs * moved).sum(1, keepdim=True))
        return curved.T @ z + precision * v

    return _conjugate_gradients(product, gradient, diagonal)


def _conjugate_gradients(
    product: Callable[[Tensor], Tensor], target: Tensor, diagonal: Tensor
) -> Tensor:
    """H^-1 target up to a relative residual of 1e-4, preconditioned by the diagonal of H."""
    solution, residual = torch.zeros_like(target), target.clone()
    scaled = residual / diagonal
    direction, energy = scaled, (residual * scaled).sum()
    stop = 1e-8 * energy
    for _ in range(10 * int(target.numel() ** 0.5) + 100):
        if energy <= stop:
            break
        image = product(direction)
        size = energy / (direction * image).sum()
        solution, residual = solution + size * direction, residual - size * image
        scaled = residual / diagonal
        before, energy = energy, (residual * scaled).sum()
        direction = scaled + (energy / before) * direction
    return solution
