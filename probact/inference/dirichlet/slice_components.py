r"""Gaussian components drawn from their laws, and the densities of points under many of them.

Symbols: x (N, D) data; K components with mean mu_k and precision Lambda_k = W_k^T W_k. The mean is
kept as W_k mu_k, so no W is inverted:

    log N(x; mu, Lambda^-1) = log|W| - |W x - W mu|^2 / 2 + constant.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from probact.inference.dirichlet.conjugate import ComponentLaws, factor
from probact.inference.dirichlet.problem import Problem

__all__ = ["Components", "draw_components", "scorer", "standard_gamma", "uniform"]

_ROUNDING = 1e-8  # nats that the expanded square may lose


class Components(NamedTuple):
    """Gaussian components; for a diagonal problem W is its (K, D) diagonal."""

    root: Tensor  # (K, D, D) W, or (K, D)
    shift: Tensor  # (K, D) W mu
    log_det: Tensor  # (K,) log |W|


def uniform(like: Tensor, count: int, generator: Generator) -> Tensor:
    """Uniforms (count,) in [0, 1), drawn where the generator lives and put beside `like`."""
    u = torch.rand(count, generator=generator, dtype=torch.float64, device=generator.device)
    return u.to(like.device)


def standard_gamma(shape: Tensor, generator: Generator) -> Tensor:
    """Gamma(shape, 1) draws, beside `shape`."""
    draws = torch._standard_gamma(shape.to(generator.device), generator=generator)
    return draws.to(shape.device)


def _normal(like: Tensor, generator: Generator) -> Tensor:
    device = generator.device
    e = torch.randn(like.shape, generator=generator, dtype=torch.float64, device=device)
    return e.to(like.device)


def draw_components(laws: ComponentLaws, generator: Generator) -> Components:
    """One (mu, Lambda) of each law.

    Lambda = L^-T A A^T L^-1 with S = L L^T and Bartlett's lower A, whose squared diagonal is
    chi-squared with nu - j degrees of freedom, j = 0, ..., D - 1; W = A^T L^-1.
    W mu = W m + e / sqrt(kappa) for standard normal e, since mu ~ N(m, (kappa Lambda)^-1).
    """
    if laws.scale.ndim == 2:
        shape = (0.5 * laws.df).unsqueeze(1).expand_as(laws.loc)
        root = (2 * standard_gamma(shape, generator) / laws.scale).sqrt()
        shift, log_det = root * laws.loc, root.log().sum(1)
    else:
        j = torch.arange(laws.loc.shape[1], dtype=torch.float64, device=laws.df.device)
        chi = (2 * standard_gamma(0.5 * (laws.df.unsqueeze(1) - j), generator)).sqrt()
        upper = torch.triu(_normal(laws.scale, generator), 1) + torch.diag_embed(chi)
        lower = factor(laws.scale)
        root = torch.linalg.solve_triangular(lower, upper, upper=False, left=False)
        shift = (root @ laws.loc.unsqueeze(-1)).squeeze(-1)
        log_det = chi.log().sum(1) - lower.diagonal(dim1=1, dim2=2).log().sum(1)
    shift = shift + _normal(laws.loc, generator) / laws.kappa.sqrt().unsqueeze(1)
    return Components(root, shift, log_det)


def scorer(problem: Problem, components: Components) -> Callable[[Tensor, int], Tensor]:
    """A function of rows (n, D) and k: log densities (k, n) of the first k components.

    The square is expanded into one product of quadratic features with coefficients, half the work
    of the residuals W x - W mu, unless that would cancel by more than 1e-8 nats.
    """
    root = components.root
    precision = root * root if root.ndim == 2 else root.mT @ root
    spread = (root * root).flatten(1).sum(1).amax() * torch.stack(
        [(rows * rows).sum(1).amax() for rows in problem.x.split(1 << 14)]
    ).amax()
    if bool(torch.finfo(torch.float64).eps * spread > _ROUNDING):
        return lambda rows, k: _residual_scores(components, rows, k)
    slope = _transposed(root, components.shift)
    offset = components.log_det - 0.5 * (components.shift**2).sum(1)
    if root.ndim == 2:
        square = -0.5 * precision
    else:
        i, j = torch.triu_indices(root.shape[1], root.shape[1], device=root.device)
        square = torch.where(i == j, -0.5, -1.0) * precision[:, i, j]
    coefficients = torch.cat([square, slope], 1)  # (K, F)
    features = _squares if root.ndim == 2 else _products

    def score(rows: Tensor, k: int) -> Tensor:
        return torch.addmm(offset[:k].unsqueeze(1), coefficients[:k], features(rows))

    return score


def _transposed(root: Tensor, shift: Tensor) -> Tensor:
    """W^T W mu (K, D)."""
    if root.ndim == 2:
        return root * shift
    return (root.mT @ shift.unsqueeze(-1)).squeeze(-1)


def _squares(rows: Tensor) -> Tensor:
    """x_d^2 and x_d (2 D, n)."""
    x = rows.T
    return torch.cat([x * x, x])


def _products(rows: Tensor) -> Tensor:
    """x_d x_e for d <= e, and x_d (D (D + 1) / 2 + D, n)."""
    x = rows.T.contiguous()
    return torch.cat([*(x[d:] * x[d] for d in range(len(x))), x])


def _residual_scores(components: Components, rows: Tensor, k: int) -> Tensor:
    x = rows.T
    scores = []
    for root, shift, log_det in zip(*(value[:k] for value in components), strict=True):
        y = (root.unsqueeze(1) * x if root.ndim == 1 else root @ x) - shift.unsqueeze(1)
        scores.append(log_det - 0.5 * (y * y).sum(0))
    return torch.stack(scores)
